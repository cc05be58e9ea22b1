package storetest

import (
	"errors"
	"sync"
)

// ErrCrash is what every operation of a device returns once its Power is out: the process is dead and only does not know.
var ErrCrash = errors.New("crashed on purpose")

// ErrFault is what one operation returns in FailOnce mode.
var ErrFault = errors.New("failed on purpose")

// Mode is what happens at the operation that was chosen.
type Mode int

// The modes.
const (
	Kill      Mode = iota // the operation is not done, and nothing works after it
	Tear                  // like Kill, but half of it is done if it is a write
	FailOnce              // the operation returns ErrFault without being done; later ones work
	KillPanic             // like Kill, but the code is left by a panic; see Survive
)

// Power runs the devices that share it. It counts the operations that could change something durable (writes, syncs,
// creations) and cuts itself off at the one chosen. The zero Power never fails.
type Power struct {
	mu   sync.Mutex
	ops  int
	at   int
	mode Mode
	out  bool
}

// FailAt makes the n-th operation from now on (counted from 1) the one that fails; 0 means never.
func (p *Power) FailAt(n int, m Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ops, p.at, p.mode, p.out = 0, n, m, false
}

// Ops tells how many operations there were since FailAt.
func (p *Power) Ops() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ops
}

// Out tells whether the power is out.
func (p *Power) Out() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out
}

// crashed is what KillPanic panics with.
type crashed struct{}

// op counts one operation. half asks the device to do half of a write before it returns err.
func (p *Power) op() (half bool, err error) {
	if p == nil {
		return false, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out {
		return false, ErrCrash
	}
	p.ops++
	if p.at == 0 || p.ops != p.at {
		return false, nil
	}
	if p.mode == FailOnce {
		return false, ErrFault
	}
	p.out = true
	if p.mode == KillPanic {
		panic(crashed{})
	}
	return p.mode == Tear, ErrCrash
}

// alive is for operations that change nothing.
func (p *Power) alive() error {
	if p != nil && p.Out() {
		return ErrCrash
	}
	return nil
}

// Survive runs f and turns a KillPanic into ErrCrash. Other panics go through.
func Survive(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crashed); !ok {
				panic(r)
			}
			err = ErrCrash
		}
	}()
	return f()
}

// Fate is what becomes of one write that was not synced when the power went out.
type Fate int

// The fates.
const (
	Lost Fate = iota
	Kept
	Half
)

// tear is what half of a write of after over before leaves.
func tear(before, after []byte) []byte {
	k := (len(after) + 1) / 2
	out := append([]byte{}, after[:k]...)
	if k < len(before) {
		out = append(out, before[k:]...)
	}
	return out
}
