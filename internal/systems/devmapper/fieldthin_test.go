package devmapper

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"testing"

	"go.etcd.io/bbolt"

	"fettle/internal/format/thinmeta"
)

// span is a field at a place in a block of a file.
type span struct {
	kind, name string
	block      uint64
	off, size  int
	shift      uint // of the field within a number of 8 bytes: mappings keep time and block in one
	near       int  // offset of the same field of a neighbour in the block, -1 for none
}

// entriesOfNode is how many entries of a node of a thin tree are changed at the most: a leaf has dozens that are alike.
const entriesOfNode = 12

// sealer sets the checksum of a block anew.
type sealer func(s *span, block []byte)

// spanCells are the operations on fields with a fixed place, each with a checksum that fits and with the old one.
func spanCells(file string, blockSize int, spans []span, seal sealer) []cell {
	var out []cell
	for i := range spans {
		s := &spans[i]
		for _, op := range operations {
			if op == "drop" || s.near < 0 && (op == "swap" || op == "duplicate") {
				continue
			}
			for _, sum := range []string{"", " unsealed"} {
				out = append(out, cell{s.kind, s.name + sum, op, fmt.Sprintf("block %d offset %d", s.block, s.off), file, func(path string) error {
					return patch(path, blockSize, s.block, func(b []byte) {
						s.hurt(op, b)
						if sum == "" {
							seal(s, b)
						}
					})
				}})
			}
		}
	}
	return out
}

// patch changes a block of a file.
func patch(path string, blockSize int, block uint64, fn func([]byte)) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, blockSize)
	if _, err := f.ReadAt(b, int64(block)*int64(blockSize)); err != nil {
		return err
	}
	old := bytes.Clone(b)
	if fn(b); bytes.Equal(b, old) {
		return errSame
	}
	_, err = f.WriteAt(b, int64(block)*int64(blockSize))
	return err
}

func (s *span) hurt(op string, b []byte) {
	at := b[s.off:][:s.size]
	if s.shift > 0 { // the upper part of a number of 8 bytes; the lower one stays
		low := binary.LittleEndian.Uint64(at) & (1<<s.shift - 1)
		v := map[string]uint64{"one": 1, "max": 1<<(64-s.shift) - 1, "random": 0x1234567}[op]
		if op == "swap" || op == "duplicate" {
			other := binary.LittleEndian.Uint64(b[s.near:])
			if v = other >> s.shift; op == "swap" {
				mine := binary.LittleEndian.Uint64(at) >> s.shift
				binary.LittleEndian.PutUint64(b[s.near:], other&(1<<s.shift-1)|mine<<s.shift)
			}
		}
		binary.LittleEndian.PutUint64(at, low|v<<s.shift)
		return
	}
	switch op {
	case "zero", "one", "max":
		fill := byte(0)
		if op == "max" {
			fill = 255
		}
		for i := range at {
			at[i] = fill
		}
		if op == "one" {
			at[0] = 1
		}
	case "random":
		copy(at, noise(len(at), uint64(s.off)))
	case "duplicate":
		copy(at, b[s.near:])
	case "swap":
		mine := bytes.Clone(at)
		copy(at, b[s.near:][:s.size])
		copy(b[s.near:], mine)
	}
}

// thinKinds are the kinds of blocks for the checksum, by the first word of a span's kind.
func sealThin(s *span, b []byte) {
	k := thinmeta.KindNode
	switch s.kind {
	case "thin superblock":
		k = thinmeta.KindSuperblock
	case "thin bitmap":
		k = thinmeta.KindBitmap
	case "thin index":
		k = thinmeta.KindIndex
	}
	if s.name != "csum" {
		binary.LittleEndian.PutUint32(b, thinmeta.Checksum(k, b))
	}
}

// thinSpans lists the fields of thin metadata: those of the superblock, and of each sort of node and block up to most entries.
func thinSpans(t testing.TB, path string, most int) []span {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	at := func(block uint64) []byte { return data[block*thinmeta.BlockSize:][:thinmeta.BlockSize] }
	super := thinmeta.DecodeSuperblock(at(0))
	out := fixed("thin superblock", 0, []any{"csum", 0, 4, "flags", 4, 4, "blocknr", 8, 8, "uuid", 16, 16, "magic", 32, 8, "version", 40, 4, "time", 44, 4,
		"transaction id", 48, 8, "held root", 56, 8, "data blocks", 64, 8, "data allocated", 72, 8, "data bitmap root", 80, 8, "data count root", 88, 8, "data rest of root", 96, 96,
		"metadata blocks", 192, 8, "metadata allocated", 200, 8, "metadata bitmap root", 208, 8, "metadata count root", 216, 8, "metadata rest of root", 224, 96,
		"mapping root", 320, 8, "details root", 328, 8, "data block size", 336, 4, "metadata block size", 340, 4, "metadata size", 344, 8,
		"compat", 352, 4, "compat_ro", 356, 4, "incompat", 360, 4})
	node := func(kind string, block uint64, value []any) []span {
		b := at(block)
		spans := fixed("thin "+kind, block, []any{"csum", 0, 4, "flags", 4, 4, "blocknr", 8, 8, "entries", 16, 4, "max entries", 20, 4, "value size", 24, 4, "padding", 28, 4})
		n, room, size := int(le.Uint32(b[16:])), int(le.Uint32(b[20:])), int(le.Uint32(b[24:]))
		for _, i := range spread(n, min(most, entriesOfNode)) {
			near := (i + 1) % n
			key := span{"thin " + kind, "key", block, 32 + 8*i, 8, 0, 32 + 8*near}
			vals := 32 + 8*room
			if n == 1 {
				key.near = -1
			}
			spans = append(spans, key)
			for k := 0; k < len(value); k += 4 {
				v := span{"thin " + kind, value[k].(string), block, vals + i*size + value[k+1].(int), value[k+2].(int), uint(value[k+3].(int)), vals + near*size + value[k+1].(int)}
				if n == 1 {
					v.near = -1
				}
				spans = append(spans, v)
			}
		}
		return spans
	}
	out = append(out, node("device tree", super.MappingRoot, []any{"root", 0, 8, 0})...)
	out = append(out, node("details", super.DetailsRoot, []any{"mapped blocks", 0, 8, 0, "transaction id", 8, 8, 0, "creation time", 16, 4, 0, "snapshot time", 20, 4, 0})...)
	top := at(super.MappingRoot)
	n, room := int(le.Uint32(top[16:])), int(le.Uint32(top[20:]))
	for _, i := range spread(n, most) {
		leaf := le.Uint64(top[32+8*room+8*i:])
		out = append(out, node("mapping", leaf, []any{"time", 0, 3, 0, "data block", 0, 8, 24})...)
	}
	index := []any{"bitmap", 0, 8, 0, "free", 8, 4, 0, "none free before", 12, 4, 0}
	out = append(out, node("data index", super.Data.BitmapRoot, index)...)
	out = append(out, node("data counts", super.Data.CountRoot, []any{"count", 0, 4, 0})...)
	out = append(out, node("metadata counts", super.Metadata.CountRoot, []any{"count", 0, 4, 0})...)
	out = append(out, fixed("thin index", super.Metadata.BitmapRoot, []any{"csum", 0, 4, "padding", 4, 4, "blocknr", 8, 8, "bitmap", 16, 8, "free", 24, 4, "none free before", 28, 4, "second bitmap", 32, 8})...)
	data1 := at(super.Data.BitmapRoot)
	dataBitmap := le.Uint64(data1[32+8*int(le.Uint32(data1[20:])):])
	for _, b := range []uint64{dataBitmap, le.Uint64(at(super.Metadata.BitmapRoot)[16:])} {
		out = append(out, fixed("thin bitmap", b, []any{"csum", 0, 4, "unused", 4, 4, "blocknr", 8, 8, "counts", 16, 1, "more counts", 20, 8})...)
	}
	return out
}

// fixed makes spans of name, offset, size.
func fixed(kind string, block uint64, list []any) []span {
	var out []span
	for i := 0; i < len(list); i += 3 {
		out = append(out, span{kind, list[i].(string), block, list[i+1].(int), list[i+2].(int), 0, -1})
	}
	return out
}

// thinCells are the operations on fields, and on whole entries of nodes.
func thinCells(t testing.TB, dir string, most int) []cell {
	spans := thinSpans(t, dir+"/thin.meta", most)
	out := spanCells("thin.meta", thinmeta.BlockSize, spans, sealThin)
	seen := map[uint64]bool{}
	for _, s := range spans {
		if s.name != "key" || seen[s.block] {
			continue
		}
		seen[s.block] = true
		for _, op := range []string{"drop", "duplicate", "swap"} {
			out = append(out, cell{s.kind, "entry", op, fmt.Sprintf("block %d", s.block), "thin.meta", func(path string) error {
				return patch(path, thinmeta.BlockSize, s.block, func(b []byte) {
					hurtEntry(op, b)
					sealThin(&s, b)
				})
			}})
		}
	}
	return out
}

// hurtEntry drops the last entry of a node, doubles it, or exchanges the values of the first and the last.
func hurtEntry(op string, b []byte) {
	le := binary.LittleEndian
	n, room, size := int(le.Uint32(b[16:])), int(le.Uint32(b[20:])), int(le.Uint32(b[24:]))
	value := func(i int) []byte { return b[32+8*room+size*i:][:size] }
	switch op {
	case "drop":
		le.PutUint32(b[16:], uint32(n-1))
	case "duplicate":
		le.PutUint64(b[32+8*n:], le.Uint64(b[32+8*(n-1):])+1)
		copy(value(n), value(n-1))
		le.PutUint32(b[16:], uint32(n+1))
	case "swap":
		first := bytes.Clone(value(0))
		copy(value(0), value(n-1))
		copy(value(n-1), first)
	}
}

// usedPages are the pages of the newest transaction.
func usedPages(t testing.TB, path string) map[uint64]bool {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	used := map[uint64]bool{}
	err = db.View(func(tx *bbolt.Tx) error {
		for id := 0; ; id++ {
			p, err := tx.Page(id)
			if p == nil || err != nil {
				return err
			}
			used[uint64(id)] = p.Type != "free"
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// pageCells are the operations on the fields of bolt's own structures: both meta pages, headers and elements of the other pages.
func pageCells(t testing.TB, dir, file string, most int) []cell {
	data, err := os.ReadFile(dir + "/" + file)
	if err != nil {
		t.Fatal(err)
	}
	const size = 4096
	le := binary.LittleEndian
	header := []any{"id", 0, 8, "flags", 8, 2, "count", 10, 2, "overflow", 12, 4}
	kinds := map[uint16]int{}
	used := usedPages(t, dir+"/"+file)
	var spans []span
	for p := uint64(0); p < uint64(len(data)/size); p++ {
		b := data[p*size:][:size]
		flags, count := le.Uint16(b[8:]), int(le.Uint16(b[10:]))
		if !used[p] || kinds[flags] >= most && flags != 4 || kinds[flags] >= 2 {
			continue
		}
		kinds[flags]++
		kind := map[uint16]string{1: "bolt branch", 2: "bolt leaf", 4: "bolt meta", 16: "bolt freelist"}[flags]
		spans = append(spans, fixed(kind, p, header)...)
		for _, i := range spread(count, most) {
			e := 16 + 16*i
			switch flags {
			case 1:
				spans = append(spans, fixed(kind, p, []any{"pos", e, 4, "ksize", e + 4, 4, "child", e + 8, 8})...)
			case 2:
				spans = append(spans, fixed(kind, p, []any{"element flags", e, 4, "pos", e + 4, 4, "ksize", e + 8, 4, "vsize", e + 12, 4})...)
				if value := e + int(le.Uint32(b[e+4:])+le.Uint32(b[e+8:])); le.Uint32(b[e:]) == 1 {
					spans = append(spans, fixed(kind, p, []any{"bucket root", value, 8, "bucket sequence", value + 8, 8})...)
				}
			case 16:
				spans = append(spans, fixed(kind, p, []any{"free page", 16 + 8*i, 8})...)
			}
		}
		if flags == 4 {
			spans = append(spans, fixed(kind, p, []any{"magic", 16, 4, "version", 20, 4, "page size", 24, 4, "meta flags", 28, 4, "root", 32, 8, "root sequence", 40, 8,
				"freelist", 48, 8, "high water", 56, 8, "txid", 64, 8, "checksum", 72, 8})...)
		}
	}
	return spanCells(file, size, spans, func(s *span, b []byte) {
		if s.kind == "bolt meta" && s.name != "checksum" {
			h := fnv.New64a()
			h.Write(b[16:72])
			binary.LittleEndian.PutUint64(b[72:], h.Sum64())
		}
	})
}
