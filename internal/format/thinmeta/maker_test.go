package thinmeta

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
)

// maker builds metadata for the tests, by the rules of the format and with nothing of the package but the checksum. Nodes are kept
// small so that few mappings make deep trees.
type maker struct {
	blocks  [][]byte
	kinds   map[int]Kind
	refs    []uint32          // of metadata blocks
	data    map[uint64]uint32 // references to data blocks
	perNode int
}

type entry struct {
	key uint64
	val []byte
}

func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func (m *maker) alloc(kind Kind) (int, []byte) {
	n := len(m.blocks)
	m.blocks = append(m.blocks, make([]byte, BlockSize))
	m.refs = append(m.refs, 0)
	m.kinds[n] = kind
	binary.LittleEndian.PutUint64(m.blocks[n][8:], uint64(n))
	return n, m.blocks[n]
}

// node writes one node; it does not count references.
func (m *maker) node(leaf bool, size int, entries []entry) int {
	n, b := m.alloc(KindNode)
	le := binary.LittleEndian
	flags := uint32(flagInternal)
	if leaf {
		flags = flagLeaf
	}
	most := MaxEntries(size)
	le.PutUint32(b[4:], flags)
	le.PutUint32(b[16:], uint32(len(entries)))
	le.PutUint32(b[20:], uint32(most))
	le.PutUint32(b[24:], uint32(size))
	for i, e := range entries {
		le.PutUint64(b[32+8*i:], e.key)
		copy(b[32+8*most+size*i:], e.val)
	}
	return n
}

// tree writes a tree of the entries and gives its root. reuse may give the block of a leaf that was made before; onLeaf is told of
// each new one.
func (m *maker) tree(size int, entries []entry, reuse func([]entry) (int, bool), onLeaf func(int, []entry)) int {
	var level []entry
	for part := range slices.Chunk(entries, m.perNode) {
		n, ok := reuse(part)
		if !ok {
			n = m.node(true, size, part)
			onLeaf(n, part)
		}
		level = append(level, entry{part[0].key, u64(uint64(n))})
	}
	if len(level) == 0 {
		return m.node(true, size, nil)
	}
	for len(level) > 1 {
		var up []entry
		for part := range slices.Chunk(level, m.perNode) {
			for _, e := range part {
				m.refs[binary.LittleEndian.Uint64(e.val)]++
			}
			up = append(up, entry{part[0].key, u64(uint64(m.node(false, sizeBlock, part)))})
		}
		level = up
	}
	return int(binary.LittleEndian.Uint64(level[0].val))
}

func (m *maker) plain(size int, entries []entry) int {
	return m.tree(size, entries, func([]entry) (int, bool) { return 0, false }, func(int, []entry) {})
}

// poolTime is the time of a made pool, and of the newest snapshot of each device.
const poolTime = 100

// modelPool is what a made pool holds.
type modelPool struct {
	dataBlocks uint64
	spare      int // metadata blocks behind those in use
	devices    map[uint32]map[uint64]Run
	held       map[uint32]map[uint64]Run // devices of the metadata snapshot, nil if none is held
}

// layout says where things are in a made pool.
type layout struct {
	mapping, details, dataIndex, dataCounts, metaIndex, metaCounts int
	held, heldMapping, heldDetails                                 int
	dataBitmaps, metaBitmaps                                       []int
	leaves                                                         map[uint32][]int // of each device
}

// make builds the pool. Leaves with the same content are shared between devices, as snapshots do; roots are not.
func (p *modelPool) make() (*maker, layout) {
	m := &maker{kinds: map[int]Kind{}, data: map[uint64]uint32{}, perNode: 7}
	at := layout{leaves: map[uint32][]int{}}
	m.alloc(KindSuperblock)
	m.refs[0] = 1
	w := treeWriter{m: m, made: map[string]int{}, leaves: at.leaves}
	at.mapping, at.details = w.trees(p.devices)
	m.refs[at.mapping]++
	m.refs[at.details]++
	if p.held != nil {
		at.heldMapping, at.heldDetails = at.mapping, at.details
		if !reflect.DeepEqual(p.held, p.devices) {
			w.leaves = map[uint32][]int{}
			at.heldMapping, at.heldDetails = w.trees(p.held)
		}
		at.held, _ = m.alloc(KindSuperblock)
		m.refs[at.held]++
		m.refs[at.heldMapping]++
		m.refs[at.heldDetails]++
	}
	dataUsed := p.dataMap(m, &at)
	p.metaMap(m, &at)
	p.superblock(m, &at, dataUsed)
	return m, at
}

// treeWriter writes mapping and details trees. Equal leaves of devices that have more than one are written once, as are the trees of
// a device that is the same in the pool and in the metadata snapshot.
type treeWriter struct {
	m      *maker
	made   map[string]int // by content
	leaves map[uint32][]int
}

func (w *treeWriter) trees(devices map[uint32]map[uint64]Run) (mapping, details int) {
	var tops, all []entry
	for _, id := range slices.Sorted(maps.Keys(devices)) {
		entries := modelEntries(devices[id])
		whole := fmt.Sprint(id, leafKey(entries))
		root, ok := w.made[whole]
		if !ok {
			root = w.device(id, entries)
			w.made[whole] = root
		}
		w.m.refs[root]++
		tops = append(tops, entry{uint64(id), u64(uint64(root))})
		all = append(all, entry{uint64(id), append(append(u64(uint64(len(entries))), u64(0)...), u64(poolTime<<32|uint64(id%poolTime))...)})
	}
	return w.m.plain(sizeBlock, tops), w.m.plain(sizeDetails, all)
}

func (w *treeWriter) device(id uint32, entries []entry) int {
	reuse := func(part []entry) (int, bool) {
		n, ok := w.made[leafKey(part)]
		if len(entries) <= w.m.perNode {
			return 0, false
		}
		if ok {
			w.leaves[id] = append(w.leaves[id], n)
		}
		return n, ok
	}
	return w.m.tree(sizeBlock, entries, reuse, func(n int, part []entry) {
		if len(entries) > w.m.perNode {
			w.made[leafKey(part)] = n
		}
		w.leaves[id] = append(w.leaves[id], n)
		for _, e := range part {
			w.m.data[binary.LittleEndian.Uint64(e.val)>>timeBits]++
		}
	})
}

func modelEntries(mappings map[uint64]Run) []entry {
	var out []entry
	for _, v := range slices.Sorted(maps.Keys(mappings)) {
		out = append(out, entry{v, u64(mappings[v].Data<<timeBits | uint64(mappings[v].Time))})
	}
	return out
}

func leafKey(part []entry) string {
	var b bytes.Buffer
	for _, e := range part {
		b.Write(u64(e.key))
		b.Write(e.val)
	}
	return b.String()
}

func putCount(bitmap []byte, i int, count uint32) {
	raw := [...]uint64{0, 2, 1, 3}[min(count, 3)]
	off := bitmapHeader + i/32*8
	w := binary.LittleEndian.Uint64(bitmap[off:]) &^ (3 << (2 * (i % 32)))
	binary.LittleEndian.PutUint64(bitmap[off:], w|raw<<(2*(i%32)))
}

func (p *modelPool) dataMap(m *maker, at *layout) uint64 {
	var index, counts []entry
	for i := range (p.dataBlocks + BitsPerBitmap - 1) / BitsPerBitmap {
		n, _ := m.alloc(KindBitmap)
		m.refs[n]++
		at.dataBitmaps = append(at.dataBitmaps, n)
		index = append(index, entry{i, append(u64(uint64(n)), u64(BitsPerBitmap)...)})
	}
	for _, b := range slices.Sorted(maps.Keys(m.data)) {
		putCount(m.blocks[at.dataBitmaps[b/BitsPerBitmap]], int(b%BitsPerBitmap), m.data[b])
		if n := m.data[b]; n > 2 {
			counts = append(counts, entry{b, u64(uint64(n))[:4]})
		}
	}
	at.dataIndex, at.dataCounts = m.plain(sizeIndex, index), m.plain(sizeCount, counts)
	m.refs[at.dataIndex]++
	m.refs[at.dataCounts]++
	return uint64(len(m.data))
}

func (p *modelPool) metaMap(m *maker, at *layout) {
	var counts []entry
	for b, n := range m.refs {
		if n > 2 {
			counts = append(counts, entry{uint64(b), u64(uint64(n))[:4]})
		}
	}
	at.metaCounts = m.plain(sizeCount, counts)
	m.refs[at.metaCounts]++
	index := 0
	index, _ = m.alloc(KindIndex)
	at.metaIndex = index
	m.refs[index]++
	for used := 0; used < len(m.blocks)+p.spare+1; used += BitsPerBitmap {
		n, _ := m.alloc(KindBitmap)
		m.refs[n]++
		copy(m.blocks[index][indexHeader+16*len(at.metaBitmaps):], append(u64(uint64(n)), u64(BitsPerBitmap)...))
		at.metaBitmaps = append(at.metaBitmaps, n)
	}
	for b, n := range m.refs {
		putCount(m.blocks[at.metaBitmaps[b/BitsPerBitmap]], b%BitsPerBitmap, n)
	}
}

func (p *modelPool) superblock(m *maker, at *layout, dataUsed uint64) {
	b := m.blocks[0]
	le := binary.LittleEndian
	put := func(off int, values ...uint64) {
		for i, v := range values {
			le.PutUint64(b[off+8*i:], v)
		}
	}
	used := uint64(len(m.blocks))
	put(32, Magic)
	le.PutUint32(b[40:], Version)
	le.PutUint32(b[44:], poolTime)
	put(56, uint64(at.held))
	put(offSuperDataMap, p.dataBlocks, dataUsed, uint64(at.dataIndex), uint64(at.dataCounts))
	put(offSuperMetaMap, used+uint64(p.spare), used, uint64(at.metaIndex), uint64(at.metaCounts))
	put(offSuperMapping, uint64(at.mapping), uint64(at.details))
	le.PutUint32(b[336:], 128)
	le.PutUint32(b[340:], 8)
	put(344, used+uint64(p.spare))
	if p.held != nil {
		h := m.blocks[at.held]
		copy(h[16:], b[16:])
		clear(h[56:offSuperMapping])
		copy(h[offSuperMapping:], append(u64(uint64(at.heldMapping)), u64(uint64(at.heldDetails))...))
	}
	for range p.spare {
		m.blocks = append(m.blocks, make([]byte, BlockSize))
	}
}

// image gives the bytes, with right checksums unless keep says otherwise.
func (m *maker) image() []byte {
	out := make([]byte, 0, len(m.blocks)*BlockSize)
	for n, b := range m.blocks {
		if kind, ok := m.kinds[n]; ok {
			binary.LittleEndian.PutUint32(b, Checksum(kind, b))
		}
		out = append(out, b...)
	}
	return out
}

func openImage(tb testing.TB, image []byte) *File {
	tb.Helper()
	f, err := New(bytes.NewReader(image), int64(len(image)), "image")
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// smallPool has three devices: 2 is a snapshot of 1 that was written to, 5 stands alone.
func smallPool() *modelPool {
	p := &modelPool{dataBlocks: 3 * BitsPerBitmap, spare: 40, devices: map[uint32]map[uint64]Run{1: {}, 2: {}, 5: {}}}
	for v := range uint64(60) {
		p.devices[1][v*3] = Run{Data: v + 5, Time: 1}
		p.devices[2][v*3] = Run{Data: v + 5, Time: 1}
		p.devices[5][v] = Run{Data: BitsPerBitmap*2 + v, Time: 2}
	}
	for v := range uint64(10) {
		p.devices[2][v*3] = Run{Data: 500 + v, Time: 2}
	}
	return p
}
