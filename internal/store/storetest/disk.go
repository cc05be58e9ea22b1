package storetest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sync"

	"fettle/internal/store"
)

// Disk is a device of named pages that remembers which writes are durable.
type Disk struct {
	Power *Power

	mu      sync.Mutex
	durable map[string][]byte
	view    map[string][]byte
	pending []pageWrite
	locked  bool
}

type pageWrite struct {
	addr string
	data []byte // nil deletes
}

// NewDisk makes a disk on which pages are durable.
func NewDisk(p *Power, pages map[string][]byte) *Disk {
	return &Disk{Power: p, durable: maps.Clone(pages), view: maps.Clone(pages)}
}

// Read gives a page, nil if there is none.
func (d *Disk) Read(addr string) ([]byte, error) {
	if err := d.Power.alive(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Clone(d.view[addr]), nil
}

// Pages gives the names of all pages, sorted.
func (d *Disk) Pages() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.view))
}

// Write changes a page, or removes it if data is nil. It is one operation of the Power.
func (d *Disk) Write(addr string, data []byte) error {
	half, err := d.Power.op()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && !(half && data != nil) {
		return err
	}
	if half {
		data = tear(d.view[addr], data)
	}
	set(d.view, addr, data)
	d.pending = append(d.pending, pageWrite{addr, bytes.Clone(data)})
	return err
}

func set(m map[string][]byte, addr string, data []byte) {
	if data == nil {
		delete(m, addr)
		return
	}
	m[addr] = append([]byte{}, data...)
}

// Sync makes all writes durable. It is one operation of the Power.
func (d *Disk) Sync() error {
	if _, err := d.Power.op(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.durable, d.pending = maps.Clone(d.view), nil
	return nil
}

// Lock takes the disk for one writer.
func (d *Disk) Lock() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locked {
		return fmt.Errorf("the disk is locked by another writer")
	}
	d.locked = true
	return nil
}

// Unlock gives it back.
func (d *Disk) Unlock() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.locked = false
}

// Reboot is what a machine does after a crash. With a nil fate only the process had died and every write is there; otherwise
// fate is asked about each write that was not synced. Locks are gone.
func (d *Disk) Reboot(fate func() Fate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.locked = false
	if fate == nil {
		return
	}
	d.view = maps.Clone(d.durable)
	for _, w := range d.pending {
		switch fate() {
		case Kept:
			set(d.view, w.addr, w.data)
		case Half:
			if w.data != nil {
				set(d.view, w.addr, tear(d.view[w.addr], w.data))
			}
		}
	}
	d.durable, d.pending = maps.Clone(d.view), nil
}

// Snapshot is the content of all pages.
func (d *Disk) Snapshot() map[string]store.Bytes {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make(map[string]store.Bytes, len(d.view))
	for a, b := range d.view {
		out[a] = bytes.Clone(b)
	}
	return out
}

// Clone is an independent disk in the same condition, down to what is durable. It is not locked.
func (d *Disk) Clone(p *Power) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	// Page contents are never changed in place, so that they can be shared.
	return &Disk{Power: p, durable: maps.Clone(d.durable), view: maps.Clone(d.view), pending: slices.Clone(d.pending)}
}
