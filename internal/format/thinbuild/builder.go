package thinbuild

import (
	"crypto/sha256"
	"fmt"
	"iter"

	"fettle/internal/format/thinmeta"
)

// Options says what pool the metadata is for.
type Options struct {
	MetadataBlocks uint64 // size of the metadata device in blocks of 4096 bytes; at most 255 * 16320
	DataBlocks     uint64 // size of the data device in data blocks
	DataBlockSize  uint32 // of a data block, in sectors of 512 bytes: 128 to 2097152, a multiple of 128
	Time           uint32 // of the pool; must not be older than any mapping or device
	TransactionID  uint64 // of the pool's owner; dmsetup leaves it 0
	UUID           [16]byte
	Flags          uint32 // thinmeta.FlagNeedsCheck or 0

	// ShareEqual writes nodes with the same content once, which costs 24 bytes of memory per node. Trees that were shared and
	// then listed one by one become shared again.
	ShareEqual bool
}

// Limits of the kernel (dm-thin.c and dm-thin-metadata.h).
const (
	minDataBlockSize  = 128
	maxDataBlockSize  = 2097152
	maxDataBlocks     = 1 << 40
	maxTime           = 1<<24 - 1 // of a mapping
	maxMetadataBlocks = thinmeta.MaxBitmaps * thinmeta.BitsPerBitmap
)

// Entry maps one virtual block of a device to one data block.
type Entry struct {
	Virtual, Data uint64
	Time          uint32
}

// Node is a mapping tree, or a part of one, that a Builder has written. It may be used any number of times.
type Node struct {
	b     *Builder
	block uint64
}

// Block returns where the node was written.
func (n Node) Block() uint64 { return n.block }

// Mapped returns how many virtual blocks the tree maps.
func (n Node) Mapped() uint64 { return n.b.infoOf(n.block).mapped }

// Newest returns the time of the newest mapping that ever was in the tree: an upper bound after Change took mappings away.
func (n Node) Newest() uint32 { return n.b.infoOf(n.block).newest }

// info is what is kept in memory of each node of a mapping tree.
type info struct {
	mapped      uint64
	first, last uint64 // keys; meaningless in an empty leaf
	newest      uint32
	n           uint16 // entries
	height      uint8  // 0 for a leaf
	node        bool   // false for blocks that are not nodes of mapping trees
}

const infoChunk = 4096

// Builder writes the metadata of one pool. It is used by one goroutine, and no more after Finish or an error.
type Builder struct {
	o       Options
	s       blockFile
	data    *counts // of data blocks, once per leaf that refers to them
	meta    *counts // of metadata blocks, once per block that refers to them
	infos   [][]info
	equal   map[[16]byte]uint64
	devices map[uint32]device
	scratch [thinmeta.BlockSize]byte
	done    bool
}

type device struct {
	root    uint64
	details thinmeta.Details
}

// New begins metadata on w, which must have room for o.MetadataBlocks blocks. What w held before is not read.
func New(w Storage, o Options) (*Builder, error) {
	switch {
	case o.MetadataBlocks < 8 || o.MetadataBlocks > maxMetadataBlocks:
		return nil, fmt.Errorf("new thin metadata: %d blocks; 8 to %d can be used", o.MetadataBlocks, maxMetadataBlocks)
	case o.DataBlockSize < minDataBlockSize || o.DataBlockSize > maxDataBlockSize || o.DataBlockSize%minDataBlockSize != 0:
		return nil, fmt.Errorf("new thin metadata: data blocks of %d sectors; must be %d to %d in steps of %d", o.DataBlockSize, minDataBlockSize, maxDataBlockSize, minDataBlockSize)
	case o.DataBlocks > maxDataBlocks:
		return nil, fmt.Errorf("new thin metadata: %d data blocks; at most %d can be addressed", o.DataBlocks, uint64(maxDataBlocks))
	case o.DataBlocks/thinmeta.BitsPerBitmap >= o.MetadataBlocks:
		return nil, fmt.Errorf("new thin metadata: %w: counting %d data blocks alone takes more than its %d blocks", ErrFull, o.DataBlocks, o.MetadataBlocks)
	}
	b := &Builder{
		o: o, s: blockFile{f: w, limit: o.MetadataBlocks, next: 1},
		data: newCounts(o.DataBlocks), meta: newCounts(o.MetadataBlocks), devices: map[uint32]device{},
	}
	if o.ShareEqual {
		b.equal = map[[16]byte]uint64{}
	}
	return b, nil
}

func (b *Builder) infoOf(block uint64) info {
	if b == nil { // of a Node that no builder made
		return info{}
	}
	if c := block / infoChunk; c < uint64(len(b.infos)) && b.infos[c] != nil {
		return b.infos[c][block%infoChunk]
	}
	return info{}
}

func (b *Builder) setInfo(block uint64, i info) {
	c := block / infoChunk
	for uint64(len(b.infos)) <= c {
		b.infos = append(b.infos, nil)
	}
	if b.infos[c] == nil {
		b.infos[c] = make([]info, infoChunk)
	}
	b.infos[c][block%infoChunk] = i
}

// Leaf writes a leaf. Entries must ascend; there are at most 252. A leaf with less than 84 can only be the whole tree of a device.
func (b *Builder) Leaf(entries []Entry) (Node, error) {
	if len(entries) > maxMappings {
		return Node{}, fmt.Errorf("write a leaf: %d entries, at most %d fit", len(entries), maxMappings)
	}
	in := info{mapped: uint64(len(entries)), n: uint16(len(entries)), node: true}
	r := beginNode(b.scratch[:], true, 0, len(entries), mappingSize)
	for i, e := range entries {
		switch {
		case i > 0 && e.Virtual <= entries[i-1].Virtual:
			return Node{}, fmt.Errorf("write a leaf: virtual block %d after %d", e.Virtual, entries[i-1].Virtual)
		case e.Data >= b.o.DataBlocks:
			return Node{}, fmt.Errorf("write a leaf: virtual block %d maps to data block %d of %d", e.Virtual, e.Data, b.o.DataBlocks)
		case e.Time > maxTime:
			return Node{}, fmt.Errorf("write a leaf: virtual block %d has time %d, which does not fit in 24 bits", e.Virtual, e.Time)
		}
		r.setKey(i, e.Virtual)
		r.setU64(i, e.Data<<24|uint64(e.Time))
		in.newest = max(in.newest, e.Time)
	}
	if len(entries) > 0 {
		in.first, in.last = entries[0].Virtual, entries[len(entries)-1].Virtual
	}
	n, fresh, err := b.putNode(in)
	if err != nil || !fresh {
		return n, err
	}
	for _, e := range entries {
		if err := b.data.inc(e.Data); err != nil {
			return Node{}, fmt.Errorf("data %w", err)
		}
	}
	return n, nil
}

// Branch writes an internal node over 1 to 252 children of equal height, in the order of their keys. Each child must have at least 84
// entries, and so must the branch unless it becomes the whole tree of a device.
func (b *Builder) Branch(children []Node) (Node, error) {
	if len(children) < 1 || len(children) > maxMappings {
		return Node{}, fmt.Errorf("write a branch: %d children, it takes 1 to %d", len(children), maxMappings)
	}
	in := info{n: uint16(len(children)), node: true}
	r := beginNode(b.scratch[:], false, 0, len(children), mappingSize)
	for i, c := range children {
		if c.b != b {
			return Node{}, fmt.Errorf("write a branch: child %d is not a node of this builder", i)
		}
		ci := b.infoOf(c.block)
		switch {
		case int(ci.n) < minMappings:
			return Node{}, fmt.Errorf("write a branch: child %d has %d entries; below a branch it must have %d", i, ci.n, minMappings)
		case i > 0 && ci.first <= in.last:
			return Node{}, fmt.Errorf("write a branch: child %d begins at %d, after one that ends at %d", i, ci.first, in.last)
		case i > 0 && ci.height+1 != in.height:
			return Node{}, fmt.Errorf("write a branch: child %d has height %d, the first has %d", i, ci.height, in.height-1)
		case i == 0:
			in.first, in.height = ci.first, ci.height+1
		}
		r.setKey(i, ci.first)
		r.setU64(i, c.block)
		in.last, in.newest, in.mapped = ci.last, max(in.newest, ci.newest), in.mapped+ci.mapped
	}
	n, fresh, err := b.putNode(in)
	if err != nil || !fresh {
		return n, err
	}
	for _, c := range children {
		if err := b.meta.inc(c.block); err != nil {
			return Node{}, fmt.Errorf("metadata %w", err)
		}
	}
	return n, nil
}

// putNode writes the node in scratch. fresh is false when a node with the same content was written before and is used instead.
func (b *Builder) putNode(in info) (n Node, fresh bool, err error) {
	var sum [16]byte
	if b.equal != nil {
		full := sha256.Sum256(b.scratch[:]) // the place and the checksum are not set yet
		sum = [16]byte(full[:16])
		if at, ok := b.equal[sum]; ok {
			return Node{b, at}, false, nil
		}
	}
	block, err := b.put(thinmeta.KindNode)
	if err != nil {
		return Node{}, false, err
	}
	if b.equal != nil {
		b.equal[sum] = block
	}
	b.setInfo(block, in)
	return Node{b, block}, true, nil
}

// put takes a block and writes scratch to it: place (offset 8 in every kind of block that has one) and checksum are set here.
func (b *Builder) put(kind thinmeta.Kind) (uint64, error) {
	block, err := b.s.take()
	if err != nil {
		return 0, err
	}
	return block, b.putAt(kind, block)
}

// Tree writes a whole mapping tree. Runs must ascend and not overlap.
func (b *Builder) Tree(runs iter.Seq[thinmeta.Run]) (Node, error) {
	load := &bulk[Entry, Node]{maxLeaf: maxMappings, maxBranch: maxMappings, leaf: b.Leaf, branch: b.Branch}
	var next uint64 // lowest virtual block that may come
	for r := range runs {
		if r.Length == 0 {
			continue
		}
		if r.Virtual < next || r.Virtual+r.Length < r.Virtual {
			return Node{}, fmt.Errorf("write a tree: run at virtual block %d, length %d: it overlaps or is out of order", r.Virtual, r.Length)
		}
		if r.Data >= b.o.DataBlocks || r.Length > b.o.DataBlocks-r.Data {
			return Node{}, fmt.Errorf("write a tree: run at virtual block %d maps to data blocks %d, length %d, of %d", r.Virtual, r.Data, r.Length, b.o.DataBlocks)
		}
		next = r.Virtual + r.Length
		for i := range r.Length {
			if err := load.add(Entry{r.Virtual + i, r.Data + i, r.Time}); err != nil {
				return Node{}, err
			}
		}
	}
	return load.finish()
}

// Device gives a device its mappings and details, which are written as they are: root.Mapped() is what MappedBlocks should be.
func (b *Builder) Device(id uint32, d thinmeta.Details, root Node) error {
	if id > thinmeta.MaxDevice {
		return fmt.Errorf("device %d: ids go up to %d", id, thinmeta.MaxDevice)
	}
	if root.b != b {
		return fmt.Errorf("device %d: its root is not a node of this builder", id)
	}
	if _, ok := b.devices[id]; ok {
		return fmt.Errorf("device %d is there already", id)
	}
	b.devices[id] = device{root.block, d}
	return nil
}
