package lustrelab

import (
	"fmt"
	"slices"

	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mkldiskfs"
)

const oiFiles = 64

// oiFile is one file of an object index that is being written. Entries of files come in ascending order and go to leaves at once;
// all others are kept and become leaves at the end. The keys of the others lie before those of the files.
type oiFile struct {
	im     *mkldiskfs.Image
	ino    uint32
	runs   []mkldiskfs.Run // in the order of the file; of the last one only used blocks are in use
	used   int
	blocks int
	leaf   []byte
	first  lustre.FID // of the leaf
	last   lustre.FID // that was added
	leaves []lustre.IAMPointer
	others []lustre.OIEntry
}

// leafRecords leaves a quarter of every leaf free.
var leafRecords = lustre.ShapeOI.LeafCapacity(mkldiskfs.BlockSize) * 3 / 4

const oiRecord = lustre.FIDSize + 8

// add takes the entry of a file.
func (f *oiFile) add(e lustre.OIEntry) error {
	if e.FID.Compare(f.last) <= 0 {
		return fmt.Errorf("object index: %v comes after %v", e.FID, f.last)
	}
	if len(f.leaf) == 0 {
		f.first = e.FID
	}
	f.last = e.FID
	f.leaf = append(e.FID.AppendBig(f.leaf), e.Record()...)
	if len(f.leaf) == leafRecords*oiRecord {
		return f.flush()
	}
	return nil
}

// flush writes the leaf that is being filled.
func (f *oiFile) flush() error {
	if len(f.leaf) == 0 {
		return nil
	}
	b, err := lustre.ShapeOI.Leaf(mkldiskfs.BlockSize, f.leaf)
	if err != nil {
		return err
	}
	f.leaf = f.leaf[:0]
	logical, err := f.write(b)
	f.leaves = append(f.leaves, lustre.IAMPointer{Key: f.first.AppendBig(nil), Block: uint64(logical)})
	return err
}

// write puts a block at the end of the file and gives its number in it. Block 0 is kept for the root.
func (f *oiFile) write(b []byte) (logical int, err error) {
	if f.blocks == 0 {
		if _, err := f.place(); err != nil {
			return 0, err
		}
	}
	at, err := f.place()
	if err != nil {
		return 0, err
	}
	return f.blocks - 1, f.im.WriteBlock(at, b)
}

// place takes the next block of the file.
func (f *oiFile) place() (uint64, error) {
	last := len(f.runs) - 1
	if last < 0 || f.used == f.runs[last].Blocks {
		more, err := f.im.AllocBlocks(f.im.Group(f.ino), min(max(f.blocks, 2), 64))
		if err != nil {
			return 0, err
		}
		for _, r := range more[1:] {
			f.im.FreeBlocks(r)
		}
		f.runs, f.used, last = append(f.runs, more[0]), 0, last+1
	}
	f.used++
	f.blocks++
	return f.runs[last].First + uint64(f.used-1), nil
}

// close writes the rest of the index and gives the map of the file.
func (f *oiFile) close() (mkldiskfs.Map, error) {
	if err := f.flush(); err != nil {
		return mkldiskfs.Map{}, err
	}
	late := f.leaves
	f.leaves = nil
	slices.SortFunc(f.others, func(a, b lustre.OIEntry) int { return a.FID.Compare(b.FID) })
	// The first leaf begins with a record of zeros, as a server makes it.
	f.leaf = append(f.leaf, make([]byte, oiRecord)...)
	f.first, f.last = lustre.FID{}, lustre.FID{}
	for _, e := range f.others {
		if err := f.add(e); err != nil {
			return mkldiskfs.Map{}, err
		}
	}
	if err := f.flush(); err != nil {
		return mkldiskfs.Map{}, err
	}
	root, nodes, err := lustre.ShapeOI.Index(mkldiskfs.BlockSize, append(f.leaves, late...), uint64(f.blocks))
	if err != nil {
		return mkldiskfs.Map{}, err
	}
	for _, n := range nodes {
		if _, err := f.write(n); err != nil {
			return mkldiskfs.Map{}, err
		}
	}
	if err := f.im.WriteBlock(f.runs[0].First, root); err != nil {
		return mkldiskfs.Map{}, err
	}
	last := &f.runs[len(f.runs)-1]
	f.im.FreeBlocks(mkldiskfs.Run{First: last.First + uint64(f.used), Blocks: last.Blocks - f.used})
	last.Blocks = f.used
	return f.im.MapRuns(f.ino, f.im.Generation(f.ino), f.runs, uint64(f.blocks)*mkldiskfs.BlockSize)
}
