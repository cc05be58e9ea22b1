package fakedm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"fettle/internal/format/thinmeta"
)

// State is everything that the fake kernel knows.
type State struct {
	Pools  []*Pool  `json:"pools"`
	Nodes  []*Node  `json:"nodes"` // device nodes of thin devices, in the order of their making
	Minor  int      `json:"minor"` // the next minor number
	Faults []*Fault `json:"faults,omitempty"`

	unchanged bool // by a call that only asks: nothing needs to be written
}

// Pool is a thin pool.
type Pool struct {
	Name          string  `json:"name"`
	Active        bool    `json:"active"` // its own node exists
	Minor         int     `json:"minor"`
	Suspended     bool    `json:"suspended,omitempty"`
	Metadata      string  `json:"metadata"` // path of the metadata device, a regular file here
	Data          string  `json:"data"`     // path of the data device; need not exist
	BlockSectors  uint32  `json:"block_sectors"`
	DataBlocks    uint64  `json:"data_blocks"`
	MetaBlocks    uint64  `json:"meta_blocks"`
	LowWater      uint64  `json:"low_water"`
	Time          uint32  `json:"time"`
	TransactionID uint64  `json:"transaction_id"`
	HeldRoot      uint64  `json:"held_root,omitempty"` // 0: there is no metadata snapshot
	ReadOnly      bool    `json:"read_only,omitempty"`
	NeedsCheck    bool    `json:"needs_check,omitempty"`
	Thins         []*Thin `json:"thins"` // by ascending id
}

// Thin is a thin device inside a pool.
type Thin struct {
	ID            uint32 `json:"id"`
	TransactionID uint64 `json:"transaction_id,omitempty"` // of the pool when it was made
	Created       uint32 `json:"created"`
	Snapped       uint32 `json:"snapped"`
	Runs          Runs   `json:"runs,omitempty"`
}

// Mapped counts the device's mapped blocks.
func (t *Thin) Mapped() uint64 {
	var n uint64
	for _, r := range t.Runs {
		n += r.Length
	}
	return n
}

// Node is an active thin device.
type Node struct {
	Name      string `json:"name"`
	Pool      string `json:"pool"`
	Device    uint32 `json:"device"`
	Sectors   uint64 `json:"sectors"`
	Minor     int    `json:"minor"`
	Open      int    `json:"open,omitempty"` // who holds it open: mounts, say
	Suspended bool   `json:"suspended,omitempty"`
	Deferred  bool   `json:"deferred,omitempty"` // goes away with the last that holds it open
	Events    int    `json:"events,omitempty"`
}

// NewPool is an active pool without devices: data of so many bytes in blocks of 64 KiB.
func NewPool(name string, dataBytes, metaBytes uint64) *Pool {
	return &Pool{Name: name, Active: true, Metadata: "/dev/mapper/" + name + "_tmeta", Data: "/dev/mapper/" + name + "_tdata", BlockSectors: 128,
		DataBlocks: dataBytes / (128 * 512), MetaBlocks: metaBytes / thinmeta.BlockSize, LowWater: 32768}
}

// Pool finds a pool by name, nil if there is none. A path below /dev/mapper will do.
func (s *State) Pool(name string) *Pool {
	for _, p := range s.Pools {
		if p.Name == base(name) {
			return p
		}
	}
	return nil
}

// Node finds an active thin device by name or path, nil if there is none.
func (s *State) Node(name string) *Node {
	for _, n := range s.Nodes {
		if n.Name == base(name) {
			return n
		}
	}
	return nil
}

// Thin finds a device by id, nil if there is none.
func (p *Pool) Thin(id uint32) *Thin {
	if i, ok := p.at(id); ok {
		return p.Thins[i]
	}
	return nil
}

func (p *Pool) at(id uint32) (int, bool) {
	return slices.BinarySearchFunc(p.Thins, id, func(t *Thin, id uint32) int { return int(t.ID) - int(id) })
}

// Reboot takes away everything that lives in memory only: active devices, who holds them open. The pool is active again
// afterwards, as a service that runs before containerd would have made it.
func (s *State) Reboot() {
	s.Nodes = nil
	for _, p := range s.Pools {
		p.Active, p.Suspended = true, false
	}
}

const mapperDir = "/dev/mapper/"

func base(name string) string { return strings.TrimPrefix(name, mapperDir) }

// Create writes a new state file.
func Create(path string, s *State) error { return s.save(path) }

// Load reads the state without a lock; what it gives is whole all the same.
func Load(path string) (*State, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the state of device-mapper: %w", err)
	}
	var s State
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("read the state of device-mapper in %s: %w", path, err)
	}
	return &s, nil
}

// Edit changes the state as one step. When change fails, nothing is written.
func Edit(path string, change func(*State) error) (err error) {
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock the state of device-mapper: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock the state of device-mapper: %w", err)
	}
	s, err := Load(path)
	if err != nil {
		return err
	}
	if err := change(s); err != nil || s.unchanged {
		return err
	}
	return s.save(path)
}

func (s *State) save(path string) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write the state of device-mapper: %w", err)
	}
	next := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(next, raw, 0o600); err != nil {
		return fmt.Errorf("write the state of device-mapper: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("write the state of device-mapper: %w", err)
	}
	return nil
}

// Calls lists the calls that were made, one line each, in order.
func Calls(path string) ([]string, error) {
	raw, err := os.ReadFile(path + ".log")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n"), nil
}
