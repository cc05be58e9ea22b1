package livepool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"fettle/internal/fault"
	"fettle/internal/format/thinmeta"
)

// ErrHeld is wrapped by the error that says that somebody else holds the pool's only metadata snapshot.
var ErrHeld = errors.New("somebody else holds a metadata snapshot of the pool")

// ErrUnreadable is wrapped by the error that says that a pool in this mode cannot be read.
var ErrUnreadable = errors.New("the pool is in no state to be read")

// ErrChanged says that a pool that was read-only is not any more, so that what was read of it means nothing.
var ErrChanged = errors.New("the pool was made writable while it was read")

// WithSnapshot lets fn read the pool's metadata as it is at one moment. It takes a metadata snapshot, opens the metadata device,
// and releases the snapshot when fn has returned or panicked; while it is held, a process waits that releases it if this one is
// killed. stateDir, an absolute path that is the same for all runs, keeps the note by which a later run knows a snapshot that is
// left over as ours. fn must be quick, heed ctx by itself, and not keep the file.
//
// A pool in mode ReadOnly takes no snapshot and does not change: fn gets the metadata as it is, and f.Super().HeldRoot says
// nothing. An error of fn comes back as it is, joined with those of releasing.
func (p *Pool) WithSnapshot(ctx context.Context, stateDir string, fn func(f *thinmeta.File) error) error {
	return p.withStill(ctx, stateDir, func(f *thinmeta.File, _ bool) error { return fn(f) })
}

// withStill is WithSnapshot; fn also hears whether the pool is frozen instead of held.
func (p *Pool) withStill(ctx context.Context, stateDir string, fn func(f *thinmeta.File, frozen bool) error) (err error) {
	h := hold{pool: p}
	defer func() { err = errors.Join(err, h.end()) }()
	if err := h.begin(ctx, stateDir); err != nil {
		return err
	}
	f, err := h.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := fn(f, h.frozen); err != nil {
		return err
	}
	if h.frozen {
		return p.stillFrozen(ctx, f)
	}
	return nil
}

// hold is a pool whose metadata does not change, because a snapshot is held or because it is read-only.
type hold struct {
	pool   *Pool
	desk   desk
	lock   *os.File
	dog    *watchdog
	held   uint64 // block of the snapshot
	asked  bool   // a snapshot was or may have been taken
	frozen bool   // nothing was taken: the pool is read-only
}

// begin takes the snapshot. end must be called whatever begin returns.
func (h *hold) begin(ctx context.Context, stateDir string) (err error) {
	if os.Getenv(watchEnv) != "" {
		return errors.New("a watchdog of a metadata snapshot takes none itself") // a program that does not know its hidden verb
	}
	if h.desk, err = newDesk(stateDir, h.pool.Name); err != nil {
		return err
	}
	if h.lock, err = h.desk.lock(ctx); err != nil {
		return err
	}
	s, err := h.pool.settle(ctx, h.desk)
	if err != nil {
		return err
	}
	switch {
	case s.Mode == Failed || s.Mode == Errored:
		return &fault.Error{Op: "read the metadata of pool", Where: h.pool.Name, Err: fmt.Errorf("%w: its status is %s", ErrUnreadable, s.Mode),
			Hint: "the kernel gave the pool up; dmesg says why. Deactivate it and check a copy of its metadata device"}
	case s.Mode == ReadOnly:
		h.frozen = true
		return nil
	case s.HeldRoot != 0:
		return h.pool.foreign(s.HeldRoot)
	}
	if i, err := h.pool.own(ctx); err != nil || i.suspended {
		if err == nil {
			err = &fault.Error{Op: "read the metadata of pool", Where: h.pool.Name, Err: fmt.Errorf("%w: it is suspended", ErrUnreadable),
				Hint: "somebody changes the pool at this moment, or forgot it: dmsetup info " + h.pool.Name}
		}
		return err
	}
	return h.reserve(ctx)
}

// foreign is the refusal to touch a snapshot that is not ours.
func (p *Pool) foreign(block uint64) error {
	return &fault.Error{Op: "take a metadata snapshot of pool", Where: p.Name, Err: fmt.Errorf("%w (at metadata block %d)", ErrHeld, block),
		Hint: "thin_ls, thin_dump -m, thin_delta, a backup tool or a fettle with another state directory may be at work; when none is, " +
			"it was left over: dmsetup message " + p.Name + " 0 release_metadata_snap"}
}

// settle releases a snapshot that an earlier process of ours left over, and gives the status after that. The lock is held.
func (p *Pool) settle(ctx context.Context, d desk) (Status, error) {
	s, err := p.Status(ctx)
	if err != nil {
		return s, err
	}
	m, err := d.read()
	if err != nil || m == nil {
		return s, err
	}
	if s.HeldRoot == 0 && s.Mode != Failed && s.Mode != Errored {
		return s, d.remove()
	}
	if s.Mode != ReadWrite && s.Mode != OutOfDataSpace {
		return s, nil // it takes no messages now; the marker waits until it does
	}
	if m.owns(s.HeldRoot) {
		if err := p.release(s.HeldRoot); err != nil {
			return s, err
		}
		s.HeldRoot = 0
	}
	return s, d.remove()
}

// reserve takes the snapshot; nothing is held so far. Once a message was sent, ctx does not interrupt any more.
func (h *hold) reserve(ctx context.Context) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	// The watchdog comes first: a marker that a killed process leaves without a snapshot would claim somebody else's later.
	if h.dog, err = startWatchdog(h.pool.Name, h.desk.dir, h.lock); err != nil {
		return err
	}
	if err := h.desk.write(0); err != nil {
		return errors.Join(err, h.desk.remove())
	}
	h.asked = true
	ctx = context.WithoutCancel(ctx)
	// dmsetup keeps the watchdog waiting as well: otherwise it might look before an orphaned dmsetup has done its work.
	err = h.pool.message(ctx, []*os.File{h.dog.life}, "reserve_metadata_snap")
	if says(err, textBusy) || says(err, textUnsupported) {
		h.asked = false
		err = errors.Join(err, h.desk.remove())
		if s, serr := h.pool.Status(ctx); serr == nil && s.HeldRoot != 0 {
			err = h.pool.foreign(s.HeldRoot)
		}
		return err
	}
	if err != nil {
		return err // whether it was taken is not known: end looks
	}
	s, err := h.pool.Status(ctx)
	if err != nil {
		return err
	}
	if s.HeldRoot == 0 {
		return &fault.Error{Op: "take a metadata snapshot of pool", Where: h.pool.Name, Err: errors.New("the kernel says that none is held")}
	}
	h.held = s.HeldRoot
	return h.desk.write(h.held)
}

// end releases what begin took, in any state.
func (h *hold) end() error {
	var errs []error
	left := false
	if h.asked {
		err := h.giveBack()
		left = err != nil
		errs = append(errs, err)
	}
	switch {
	case h.dog != nil && left:
		errs = append(errs, h.dog.life.Close()) // it goes on trying, with the lock in its hands
	case h.dog != nil:
		errs = append(errs, h.dog.dismiss())
	}
	if h.lock != nil {
		errs = append(errs, h.lock.Close())
	}
	return errors.Join(errs...)
}

// giveBack releases the snapshot and takes the marker away, in this order.
func (h *hold) giveBack() error {
	if h.held == 0 {
		s, err := h.pool.Status(context.Background())
		if err != nil {
			return err
		}
		h.held = s.HeldRoot
	}
	if h.held != 0 {
		if err := h.pool.release(h.held); err != nil {
			return err
		}
	}
	return h.desk.remove()
}

// How often a release is tried.
const (
	releaseTries = 5
	releasePause = 300 * time.Millisecond
)

// release releases the snapshot at that block. It goes on when the work around it was cancelled. That it is not held any more is
// success, whoever released it.
func (p *Pool) release(block uint64) error {
	ctx := context.Background()
	var err error
	for range releaseTries {
		if err = p.message(ctx, nil, "release_metadata_snap"); err == nil {
			return nil
		}
		if s, serr := p.Status(ctx); serr == nil && s.HeldRoot != block {
			return nil
		}
		time.Sleep(releasePause)
	}
	return &fault.Error{Op: "release the metadata snapshot of pool", Where: p.Name, Err: err,
		Hint: "the next check tries again; by hand: dmsetup message " + p.Name + " 0 release_metadata_snap"}
}

// How often the superblock is read until it is whole: the kernel may be writing it.
const (
	openTries = 8
	openPause = 100 * time.Millisecond
)

// open opens the metadata device at the snapshot, or as it is when the pool is frozen.
func (h *hold) open(ctx context.Context) (*thinmeta.File, error) {
	for try := 1; ; try++ {
		f, err := thinmeta.Open(h.pool.MetadataDevice)
		if err != nil {
			hint := ""
			if errors.Is(err, os.ErrPermission) {
				hint = "run as root: the metadata device is root's"
			}
			return nil, &fault.Error{Op: "open the metadata device of pool", Where: h.pool.Name, Err: err, Hint: hint}
		}
		if h.frozen {
			return f, nil
		}
		err = h.lookAtHeld(f)
		if err == nil {
			return f, nil
		}
		err = errors.Join(err, f.Close())
		if try == openTries {
			return nil, &fault.Error{Op: "read the metadata device of pool", Where: h.pool.Name, Err: err,
				Hint: "is " + h.pool.MetadataDevice + " really what dmsetup table " + h.pool.Name + " names?"}
		}
		if err := pause(ctx, openPause); err != nil {
			return nil, err
		}
	}
}

// lookAtHeld makes f look at our snapshot and at no other.
func (h *hold) lookAtHeld(f *thinmeta.File) error {
	s, problems := f.Super()
	for _, p := range problems {
		if p.Kind == thinmeta.SuperblockChecksum {
			return errors.New(p.Text)
		}
	}
	if s.HeldRoot != h.held {
		return fmt.Errorf("the superblock on disk has a metadata snapshot at block %d, the kernel says %d", s.HeldRoot, h.held)
	}
	return f.UseHeldRoot()
}

// stillFrozen tells whether a read-only pool has stayed so while f was read.
func (p *Pool) stillFrozen(ctx context.Context, f *thinmeta.File) error {
	s, err := p.Status(ctx)
	if err != nil {
		return err
	}
	now := make([]byte, thinmeta.BlockSize)
	if err := f.ReadBlock(now, 0); err != nil {
		return &fault.Error{Op: "read the metadata device of pool", Where: p.Name, Err: err}
	}
	if was, _ := f.Super(); s.Mode != ReadOnly || thinmeta.DecodeSuperblock(now) != was {
		return &fault.Error{Op: "read the metadata of pool", Where: p.Name, Err: ErrChanged, Hint: "check again"}
	}
	return nil
}
