package dmlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"

	"fettle/internal/format/thinbuild"
	"fettle/internal/format/thinmeta"
)

// thinPool makes thin devices as the kernel would: see fakedm.Pool for the rules. Trees are written as they grow, so that
// snapshots share what they did not change.
type thinPool struct {
	file    *os.File
	b       *thinbuild.Builder
	time    uint32
	next    uint64 // data block
	blocks  uint64 // of data
	devices map[uint32]*thinDevice
}

type thinDevice struct {
	tree    thinbuild.Node
	created uint32
	snapped uint32
	mapped  uint64
	end     uint64 // one more than the highest mapped block
}

// newThinPool begins metadata for about so many devices at path.
func newThinPool(path string, devices int, o Options) (*thinPool, error) {
	// A leaf for every few changes of each device, two leaves for a base, the two trees, and some room.
	meta := uint64(devices)*5/2 + uint64(o.Images)*uint64(o.BaseBlocks/84+2)*2 + 512
	p := &thinPool{devices: map[uint32]*thinDevice{}, blocks: uint64(o.Images*o.BaseBlocks*(2+o.Layers)+devices*(o.BaseBlocks/8+4)) * 5 / 4}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make thin metadata: %w", err)
	}
	p.file = f
	if err = f.Truncate(int64(meta * thinmeta.BlockSize)); err == nil {
		p.b, err = thinbuild.New(f, thinbuild.Options{MetadataBlocks: meta, DataBlocks: p.blocks, DataBlockSize: blockSectors, Time: maxPoolTime})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make thin metadata: %w", err), f.Close())
	}
	return p, nil
}

// maxPoolTime stands for the pool's time while it is not known.
const maxPoolTime = 1<<24 - 1

// create is create_thin, and mkfs: blocks from 0 up are mapped, and a fourth of that in the middle of the device.
func (p *thinPool) create(id uint32, blocks, middle uint64) error {
	d := &thinDevice{created: p.time, snapped: p.time}
	front := blocks - blocks/4
	runs := []thinmeta.Run{{Virtual: 0, Data: p.alloc(front), Length: front, Time: p.time}}
	if back := blocks / 4; back > 0 {
		runs = append(runs, thinmeta.Run{Virtual: middle, Data: p.alloc(back), Length: back, Time: p.time})
	}
	tree, err := p.b.Tree(each(runs))
	if err != nil {
		return fmt.Errorf("make thin device %d: %w", id, err)
	}
	d.tree, d.mapped, d.end = tree, tree.Mapped(), middle+blocks/4
	p.devices[id] = d
	return nil
}

func each[T any](list []T) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, v := range list {
			if !yield(v) {
				return
			}
		}
	}
}

// alloc gives n data blocks that follow each other.
func (p *thinPool) alloc(n uint64) uint64 {
	p.next += n
	return p.next - n
}

// snap is create_snap.
func (p *thinPool) snap(id, origin uint32) error {
	o := p.devices[origin]
	if o == nil {
		return fmt.Errorf("make a snapshot of thin device %d: there is none", origin)
	}
	p.time++
	o.snapped = p.time
	p.devices[id] = &thinDevice{tree: o.tree, created: p.time, snapped: p.time, mapped: o.mapped, end: o.end}
	return nil
}

// write gives new data blocks to some virtual blocks of a device, which ascend. A block is written once at most between two snapshots.
func (p *thinPool) write(id uint32, virtual []uint64) error {
	d := p.devices[id]
	edits := make([]thinbuild.Edit, 0, len(virtual))
	for _, v := range virtual {
		edits = append(edits, thinbuild.Edit{Entry: thinbuild.Entry{Virtual: v, Data: p.alloc(1), Time: p.time}})
		d.end = max(d.end, v+1)
	}
	tree, err := p.b.Change(d.tree, edits...)
	if err != nil {
		return fmt.Errorf("write to thin device %d: %w", id, err)
	}
	d.tree, d.mapped = tree, tree.Mapped()
	return nil
}

func (p *thinPool) delete(id uint32) { delete(p.devices, id) }

// finish writes what is left and closes the file.
func (p *thinPool) finish() (thinbuild.Summary, error) {
	var s thinbuild.Summary
	for id, d := range p.devices {
		details := thinmeta.Details{MappedBlocks: d.mapped, CreationTime: d.created, SnapshotTime: d.snapped}
		if err := p.b.Device(id, details, d.tree); err != nil {
			return s, errors.Join(fmt.Errorf("make thin device %d: %w", id, err), p.file.Close())
		}
	}
	s, err := p.b.Finish()
	if err == nil {
		err = changeSuper(p.file, func(b []byte) { binary.LittleEndian.PutUint32(b[44:], p.time) })
	}
	return s, errors.Join(err, p.file.Close())
}

// changeSuper changes the superblock and sets its checksum.
func changeSuper(f *os.File, change func(b []byte)) error {
	var b [thinmeta.BlockSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return fmt.Errorf("change the thin superblock: %w", err)
	}
	change(b[:])
	binary.LittleEndian.PutUint32(b[:], thinmeta.Checksum(thinmeta.KindSuperblock, b[:]))
	if _, err := f.WriteAt(b[:], 0); err != nil {
		return fmt.Errorf("change the thin superblock: %w", err)
	}
	return nil
}
