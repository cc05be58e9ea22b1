package thinbuild

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"fettle/internal/format/thinmeta"
)

// Summary says what was written.
type Summary struct {
	Devices        int
	MappingRoot    uint64 // block
	DetailsRoot    uint64 // block
	DataUsed       uint64 // data blocks that something maps
	MetadataUsed   uint64 // metadata blocks in use, superblock and space maps included
	MetadataBlocks uint64 // that exist
}

// Finish writes the trees of devices and details, both space maps, and the superblock as the last of all blocks, after everything else
// is durable. The builder cannot be used afterwards.
func (b *Builder) Finish() (Summary, error) {
	if b.done {
		return Summary{}, errors.New("finish thin metadata: it is finished already")
	}
	b.done = true
	s, err := b.finish()
	if err != nil {
		return Summary{}, fmt.Errorf("finish thin metadata: %w", err)
	}
	return s, nil
}

func (b *Builder) finish() (Summary, error) {
	ids := slices.Sorted(maps.Keys(b.devices))
	details, err := b.smallTree(detailsSize, func(add func(uint64, []byte) error) error {
		var v [detailsSize]byte
		for _, id := range ids {
			putDetails(v[:], b.devices[id].details)
			if err := add(uint64(id), v[:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Summary{}, err
	}
	mapping, err := b.smallTree(mappingSize, func(add func(uint64, []byte) error) error {
		var v [mappingSize]byte
		for _, id := range ids {
			root := b.devices[id].root
			if err := b.meta.inc(root); err != nil {
				return fmt.Errorf("metadata %w", err)
			}
			binary.LittleEndian.PutUint64(v[:], root)
			if err := add(uint64(id), v[:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Summary{}, err
	}
	if err := b.forgetUnused(); err != nil {
		return Summary{}, err
	}
	dataMap, err := b.dataSpaceMap()
	if err != nil {
		return Summary{}, err
	}
	metaMap, err := b.metadataSpaceMap()
	if err != nil {
		return Summary{}, err
	}
	if err := b.s.sync(); err != nil {
		return Summary{}, err
	}
	if err := b.superblock(mapping, details, dataMap, metaMap); err != nil {
		return Summary{}, err
	}
	return Summary{
		Devices: len(ids), MappingRoot: mapping, DetailsRoot: details,
		DataUsed: dataMap.Allocated, MetadataUsed: metaMap.Allocated, MetadataBlocks: b.o.MetadataBlocks,
	}, b.s.sync()
}

// forgetUnused takes back what nodes count that nothing refers to, such as the paths that Change has replaced. A block is written before
// its parents, so one pass from high to low sees every node after all that might refer to it.
func (b *Builder) forgetUnused() error {
	var buf [thinmeta.BlockSize]byte
	for block := b.s.next - 1; block > 0; block-- {
		in := b.infoOf(block)
		if !in.node || b.meta.get(block) > 0 {
			continue
		}
		if err := b.s.read(block, buf[:]); err != nil {
			return err
		}
		r, err := parseNode(buf[:], block)
		if err != nil {
			return fmt.Errorf("read back metadata block %d: %w", block, err)
		}
		for i := range r.n {
			if r.leaf {
				b.data.dec(r.mapping(i).Data)
			} else {
				b.meta.dec(r.u64(i))
			}
		}
	}
	return nil
}

// ref is a node of a small tree: where it is and its first key.
type ref struct{ key, block uint64 }

// pair is an entry of a small tree.
type pair struct {
	key uint64
	val [detailsSize]byte // the first valueSize bytes count
}

// smallTree writes a tree that is not one of mappings and counts its nodes. The root's one reference, from the superblock or from another
// tree's owner, is counted too.
func (b *Builder) smallTree(valueSize int, fill func(add func(key uint64, val []byte) error) error) (root uint64, err error) {
	load := &bulk[pair, ref]{
		maxLeaf: thinmeta.MaxEntries(valueSize), maxBranch: maxMappings,
		leaf: func(list []pair) (ref, error) {
			r := beginNode(b.scratch[:], true, 0, len(list), valueSize)
			for i, e := range list {
				r.setKey(i, e.key)
				copy(r.value(i), e.val[:valueSize])
			}
			block, err := b.put(thinmeta.KindNode)
			if len(list) == 0 {
				return ref{0, block}, err
			}
			return ref{list[0].key, block}, err
		},
		branch: func(list []ref) (ref, error) {
			r := beginNode(b.scratch[:], false, 0, len(list), mappingSize)
			for i, c := range list {
				r.setKey(i, c.key)
				r.setU64(i, c.block)
				if err := b.meta.inc(c.block); err != nil {
					return ref{}, fmt.Errorf("metadata %w", err)
				}
			}
			block, err := b.put(thinmeta.KindNode)
			return ref{list[0].key, block}, err
		},
	}
	err = fill(func(key uint64, val []byte) error {
		p := pair{key: key}
		copy(p.val[:], val)
		return load.add(p)
	})
	if err != nil {
		return 0, err
	}
	top, err := load.finish()
	if err != nil {
		return 0, err
	}
	return top.block, b.meta.inc(top.block)
}

// putAt writes scratch to a block.
func (b *Builder) putAt(kind thinmeta.Kind, block uint64) error {
	binary.LittleEndian.PutUint64(b.scratch[8:], block)
	seal(kind, b.scratch[:])
	return b.s.write(block, b.scratch[:])
}

func putDetails(v []byte, d thinmeta.Details) {
	le := binary.LittleEndian
	le.PutUint64(v, d.MappedBlocks)
	le.PutUint64(v[8:], d.TransactionID)
	le.PutUint32(v[16:], d.CreationTime)
	le.PutUint32(v[20:], d.SnapshotTime)
}

// superblock writes block 0. Offsets are those of struct thin_disk_superblock in dm-thin-metadata.c.
func (b *Builder) superblock(mapping, details uint64, data, meta thinmeta.SpaceMapRoot) error {
	le, v := binary.LittleEndian, b.scratch[:]
	clear(v)
	le.PutUint32(v[4:], b.o.Flags)
	copy(v[16:32], b.o.UUID[:])
	le.PutUint64(v[32:], thinmeta.Magic)
	le.PutUint32(v[40:], thinmeta.Version)
	le.PutUint32(v[44:], b.o.Time)
	le.PutUint64(v[48:], b.o.TransactionID)
	for at, m := range map[int]thinmeta.SpaceMapRoot{64: data, 192: meta} {
		le.PutUint64(v[at:], m.Blocks)
		le.PutUint64(v[at+8:], m.Allocated)
		le.PutUint64(v[at+16:], m.BitmapRoot)
		le.PutUint64(v[at+24:], m.CountRoot)
	}
	le.PutUint64(v[320:], mapping)
	le.PutUint64(v[328:], details)
	le.PutUint32(v[336:], b.o.DataBlockSize)
	le.PutUint32(v[340:], thinmeta.BlockSize/512)
	le.PutUint64(v[344:], b.o.MetadataBlocks)
	return b.putAt(thinmeta.KindSuperblock, 0)
}
