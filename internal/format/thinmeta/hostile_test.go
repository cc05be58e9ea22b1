package thinmeta

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// fixChecksums gives every block that is one of a kind in the layout a right checksum.
func fixChecksums(image []byte, kinds map[int]Kind) {
	for n, kind := range kinds {
		if b := image[n*BlockSize:]; len(b) >= BlockSize {
			binary.LittleEndian.PutUint32(b, Checksum(kind, b[:BlockSize]))
		}
	}
}

// tryAll asks a file everything. It fails on errors that are not damage.
func tryAll(tb testing.TB, image []byte) *Report {
	tb.Helper()
	f := openImage(tb, image)
	ctx := context.Background()
	r, err := f.Check(ctx, CheckOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	devices, err := f.Devices()
	if err != nil && !errors.Is(err, ErrDamaged) {
		tb.Fatal(err)
	}
	for i, d := range devices[:min(len(devices), 6)] {
		next := uint64(0)
		for run, err := range f.Runs(d.ID) {
			if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNoDevice) {
				tb.Fatal(err)
			}
			if err == nil && (run.Virtual < next || run.Length == 0) {
				tb.Fatalf("run %+v, expected nothing before %d", run, next)
			}
			if err == nil {
				next = run.Virtual + run.Length
			}
		}
		_, _, err := f.Shares(ctx, devices[i/2].ID, d.ID)
		if err != nil && !errors.Is(err, ErrNoDevice) && !errors.Is(err, ErrDamaged) {
			tb.Fatal(err)
		}
	}
	if err := WriteXML(&bytes.Buffer{}, f); err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNoDevice) {
		tb.Fatal(err)
	}
	if err := f.UseHeldRoot(); err == nil {
		if _, err := f.Check(ctx, CheckOptions{}); err != nil {
			tb.Fatal(err)
		}
	}
	return r
}

// TestFields puts impossible values into each field of each sort of block, with the wrong checksum and with the right one.
func TestFields(t *testing.T) {
	p := smallPool()
	p.held = p.devices
	m, at := p.make()
	good := m.image()
	rng := rand.New(rand.NewPCG(1, 2))
	fields := map[int][]int{0: {}, at.held: {}}
	for off := 4; off < 368; off += 4 {
		fields[0] = append(fields[0], off)
		fields[at.held] = append(fields[at.held], off)
	}
	for _, n := range []int{at.mapping, at.details, at.dataIndex, at.dataCounts, at.metaCounts, at.metaIndex, at.dataBitmaps[0], at.metaBitmaps[0],
		at.leaves[1][0], at.leaves[5][2], m.rootOf(1)} {
		fields[n] = []int{4, 8, 12, 16, 20, 24, 32, 40, 48, 32 + 8*126, 32 + 8*252, 32 + 8*252 + 4, 32 + 8*168, 32 + 8*336}
	}
	for n, offsets := range fields {
		for _, off := range offsets {
			old := binary.LittleEndian.Uint32(good[n*BlockSize+off:])
			for _, v := range []uint32{0, ^uint32(0), old + 1, old ^ 1<<31, rng.Uint32(), uint32(n), uint32(at.mapping)} {
				for _, fix := range []bool{false, true} {
					image := bytes.Clone(good)
					binary.LittleEndian.PutUint32(image[n*BlockSize+off:], v)
					if fix {
						fixChecksums(image, m.kinds)
					}
					r := tryAll(t, image)
					if !fix && v != old && len(r.Problems) < 2 { // one is that a snapshot is held
						t.Errorf("block %d offset %d: %#x instead of %#x was not noticed", n, off, v, old)
					}
				}
			}
		}
	}
}

// rootOf gives the root of a device by the mapping tree's only leaf.
func (m *maker) rootOf(device uint64) int {
	for n, b := range m.blocks {
		le := binary.LittleEndian
		if kind, ok := m.kinds[n]; ok && kind == KindNode && le.Uint32(b[4:]) == flagInternal && le.Uint64(b[32:]) == 0 && device == 1 {
			return n
		}
	}
	return 0
}

func TestTruncated(t *testing.T) {
	m, _ := smallPool().make()
	good := m.image()
	for size := 0; size < len(good); size += BlockSize/2 + 1000 {
		r := tryAll(t, good[:size])
		if len(r.Problems) == 0 || r.Problems[0].Kind != SuperblockInvalid {
			t.Fatalf("%d of %d bytes: %q", size, len(good), said(r))
		}
	}
}

// TestMaze gives trees in which every path is long or there are more paths than atoms: nodes whose children are all the same node.
func TestMaze(t *testing.T) {
	m, at := smallPool().make()
	below := at.leaves[5][0]
	var entries []entry
	for i := range uint64(252) {
		entries = append(entries, entry{i << 56 / 252, nil})
	}
	for range 80 { // deeper than allowed
		for i := range entries {
			entries[i].val = u64(uint64(below))
		}
		below = m.node(false, sizeBlock, entries)
	}
	leaf := m.blocks[at.mapping]
	for i := range 3 {
		binary.LittleEndian.PutUint64(leaf[32+8*252+8*i:], uint64(below-i))
	}
	started := time.Now()
	if r := tryAll(t, m.image()); r.Complete {
		t.Errorf("nothing was found: %q", said(r))
	}
	t.Log(time.Since(started))
}

// TestChain gives a tree that is one long chain, which ends in itself.
func TestChain(t *testing.T) {
	m, at := smallPool().make()
	first := len(m.blocks)
	for i := range 2000 {
		m.node(false, sizeBlock, []entry{{0, u64(uint64(first + (i+1)%2000))}})
	}
	binary.LittleEndian.PutUint64(m.blocks[at.mapping][32+8*252:], uint64(first))
	if r := tryAll(t, m.image()); r.Complete || !r.Devices[0].Unreadable {
		t.Errorf("nothing was found: %q", said(r))
	}
}

// TestReadErrors lets single blocks fail to be read.
func TestReadErrors(t *testing.T) {
	m, at := smallPool().make()
	image := m.image()
	for _, n := range []int{at.mapping, at.details, at.dataIndex, at.dataCounts, at.metaIndex, at.metaCounts, at.dataBitmaps[0], at.leaves[1][1]} {
		f, err := New(badSector{image, int64(n) * BlockSize}, int64(len(image)), "image")
		if err != nil {
			t.Fatal(err)
		}
		r, err := f.Check(context.Background(), CheckOptions{})
		if err != nil || r.Complete || len(r.Problems) == 0 || r.Problems[0].Block != uint64(n) {
			t.Errorf("block %d: %v, %+v", n, err, r)
		}
	}
	if _, err := New(badSector{image, 0}, int64(len(image)), "image"); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("superblock: %v", err)
	}
}

type badSector struct {
	image []byte
	off   int64
}

var errSector = errors.New("input/output error")

func (b badSector) ReadAt(p []byte, off int64) (int, error) {
	if off <= b.off && b.off < off+int64(len(p)) {
		return 0, errSector
	}
	return bytes.NewReader(b.image).ReadAt(p, off)
}

func TestCancel(t *testing.T) {
	m, _ := smallPool().make()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := openImage(t, m.image()).Check(ctx, CheckOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	stop := errors.New("stop")
	_, err := openImage(t, m.image()).Check(context.Background(), CheckOptions{Progress: func(int64) error { return stop }})
	if !errors.Is(err, stop) {
		t.Error(err)
	}
}

// FuzzCheck changes bytes of a good pool and mends the checksums, so that the changes get past them.
func FuzzCheck(f *testing.F) {
	p := smallPool()
	p.held, p.spare = p.devices, 8
	m, at := p.make()
	good := m.image()
	f.Add([]byte{})
	for _, n := range []int{0, at.mapping, at.details, at.metaIndex, at.dataIndex, at.leaves[1][0], at.dataBitmaps[0]} {
		f.Add([]byte{byte(n), 0, 16, 0, 255, byte(n), 4, 32, 1, 7})
		f.Add([]byte{byte(n), 7, 224 >> 3, 0, byte(at.mapping), byte(n), 1, 80 >> 3, 0, 9})
	}
	f.Fuzz(func(t *testing.T, edits []byte) {
		image := bytes.Clone(good)
		for ; len(edits) >= 5; edits = edits[5:] { // block, offset high, offset low, how, value
			n := int(edits[0]) % len(m.blocks)
			off := (int(edits[1])<<8 | int(edits[2])) % BlockSize
			b := image[n*BlockSize:]
			switch edits[3] % 4 {
			case 0:
				b[off] = edits[4]
			case 1:
				b[off] += edits[4]
			case 2: // a block number where block numbers are
				binary.LittleEndian.PutUint64(b[32+8*252+off%256*8&^7:], uint64(edits[4])%uint64(len(m.blocks)))
			case 3: // another block's content
				copy(b[:BlockSize], good[int(edits[4])%len(m.blocks)*BlockSize:])
				binary.LittleEndian.PutUint64(b[8:], uint64(n))
			}
		}
		fixChecksums(image, m.kinds)
		tryAll(t, image)
	})
}

func BenchmarkCheckMade(b *testing.B) {
	p := &modelPool{dataBlocks: 1 << 20, spare: 2000, devices: map[uint32]map[uint64]Run{}}
	for id := range uint32(400) {
		dev := map[uint64]Run{}
		for v := range uint64(70) {
			dev[v] = Run{Data: uint64(id)*70 + v, Time: id}
		}
		p.devices[id] = dev
	}
	m, _ := p.make()
	image := m.image()
	b.SetBytes(int64(len(image)))
	for b.Loop() {
		if r := mustCheck(b, image, CheckOptions{}); len(r.Problems) > 0 {
			b.Fatal(said(r))
		}
	}
}
