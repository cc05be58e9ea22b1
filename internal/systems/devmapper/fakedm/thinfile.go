package fakedm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"fettle/internal/format/thinbuild"
	"fettle/internal/format/thinmeta"
)

// WriteThinMeta writes the pool's metadata to path, as large as its metadata device. Mapping trees that snapshots have in common
// are shared. What the file held before is lost.
func WriteThinMeta(p *Pool, path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write thin metadata: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(int64(p.MetaBlocks * thinmeta.BlockSize)); err != nil {
		return fmt.Errorf("write thin metadata: %w", err)
	}
	o := thinbuild.Options{MetadataBlocks: p.MetaBlocks, DataBlocks: p.DataBlocks, DataBlockSize: p.BlockSectors, Time: p.Time,
		TransactionID: p.TransactionID, ShareEqual: true}
	if p.NeedsCheck {
		o.Flags = thinmeta.FlagNeedsCheck
	}
	b, err := thinbuild.New(f, o)
	if err != nil {
		return err
	}
	for _, t := range p.Thins {
		root, err := b.Tree(slices.Values(t.Runs))
		if err != nil {
			return fmt.Errorf("write thin device %d: %w", t.ID, err)
		}
		d := thinmeta.Details{MappedBlocks: t.Mapped(), TransactionID: t.TransactionID, CreationTime: t.Created, SnapshotTime: t.Snapped}
		if err := b.Device(t.ID, d, root); err != nil {
			return fmt.Errorf("write thin device %d: %w", t.ID, err)
		}
	}
	if _, err := b.Finish(); err != nil {
		return err
	}
	if p.HeldRoot != 0 {
		return hold(f, p.HeldRoot)
	}
	return nil
}

// hold makes block a metadata snapshot: a copy of the superblock without space maps, which the superblock points to. Counts of
// the trees' roots are left as they are; who reads a metadata snapshot cannot see them.
func hold(f *os.File, block uint64) error {
	var b [thinmeta.BlockSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return fmt.Errorf("hold the metadata: %w", err)
	}
	held := b
	clear(held[64:320])
	if err := putSuper(f, held[:], block); err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(b[56:], block)
	return putSuper(f, b[:], 0)
}

// putSuper writes a superblock with its own place and checksum.
func putSuper(f *os.File, b []byte, block uint64) error {
	binary.LittleEndian.PutUint64(b[8:], block)
	binary.LittleEndian.PutUint32(b, thinmeta.Checksum(thinmeta.KindSuperblock, b))
	if _, err := f.WriteAt(b, int64(block*thinmeta.BlockSize)); err != nil {
		return fmt.Errorf("hold the metadata: %w", err)
	}
	return nil
}

// LoadThinMeta makes a pool, which is not active, from the metadata in a file. Metadata that the kernel would not work with is an error.
func LoadThinMeta(path, name string) (p *Pool, err error) {
	f, err := thinmeta.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s, bad := f.Super()
	for _, b := range bad {
		if b.Kind == thinmeta.SuperblockChecksum || b.Kind == thinmeta.SuperblockInvalid {
			return nil, fmt.Errorf("load thin metadata: %s: %w", b.Text, unix.EILSEQ)
		}
	}
	p = NewPool(name, 0, uint64(f.Size()))
	p.Active, p.Metadata = false, path
	p.Time, p.TransactionID, p.BlockSectors, p.DataBlocks = s.Time, s.TransactionID, s.DataBlockSize, s.Data.Blocks
	p.NeedsCheck, p.HeldRoot = s.Flags&thinmeta.FlagNeedsCheck != 0, s.HeldRoot
	devices, err := f.Devices()
	if err != nil {
		return nil, fmt.Errorf("load thin metadata: %w", err)
	}
	for _, d := range devices {
		if !d.HasDetails || !d.HasMapping {
			continue // neither can be activated nor deleted
		}
		t := &Thin{ID: d.ID, TransactionID: d.Details.TransactionID, Created: d.Details.CreationTime, Snapped: d.Details.SnapshotTime}
		for r, err := range f.Runs(d.ID) {
			if err != nil {
				return nil, fmt.Errorf("load thin device %d: %w", d.ID, err)
			}
			t.Runs = append(t.Runs, r)
		}
		p.Thins = append(p.Thins, t)
	}
	return p, nil
}
