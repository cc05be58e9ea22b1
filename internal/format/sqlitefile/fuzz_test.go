package sqlitefile

import (
	"bytes"
	"testing"
)

// openBytes opens a database in memory with a bound on the number of reads.
func openBytes(t *testing.T, main, wal []byte, opt Options) *File {
	limited := &limitedReader{bytes.NewReader(main), 1 << 20, func() { t.Fatal("too much was read") }}
	f, err := newFile(limited, int64(len(main)), bytes.NewReader(wal), int64(len(wal)), opt)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// FuzzOpen reads everything out of a small file with a log: no panic, bounded work.
func FuzzOpen(f *testing.F) {
	s := makeSample(f)
	f.Add(s.raw[:8192], s.wal[:4096])
	f.Add(s.raw[:1000], []byte{})
	f.Add([]byte(magic), s.wal[:100])
	f.Add([]byte{}, s.wal)
	f.Fuzz(func(t *testing.T, main, wal []byte) {
		db := openBytes(t, main[:min(len(main), 1<<16)], wal[:min(len(wal), 1<<16)], Options{})
		exhaust(db)
		if db.PageCount() > walFarPageFloor {
			t.Fatalf("%d pages in %d bytes", db.PageCount(), len(main)+len(wal))
		}
		for _, p := range db.Problems() {
			if p.Text == "" || p.Kind == "" {
				t.Fatalf("%+v", p)
			}
		}
	})
}

// FuzzLeaf decodes one page as page 2 of a file of four pages: no panic, values within bounds.
func FuzzLeaf(f *testing.F) {
	s := makeSample(f)
	for n := range 12 {
		f.Add(s.raw[n*512 : n*512+512])
	}
	f.Fuzz(func(t *testing.T, page []byte) {
		raw := make([]byte, 4*512)
		copy(raw[512:1024], page)
		copy(raw[1024:], page)
		db := openBytes(t, raw, nil, Options{PageSize: 512})
		r := db.NewReader(0)
		l, err := r.Leaf(2)
		if err != nil {
			return
		}
		var row Row
		decode := r.Row
		if l.Type != TableLeaf {
			decode = r.Entry
		}
		for i := range l.Len() {
			err := decode(l, i, &row)
			size := len(row.Tail)
			for _, v := range row.Cols {
				size += len(v.B)
			}
			if size > row.PayloadSize || size > len(raw) {
				t.Fatalf("%d bytes of values in a record of %d", size, row.PayloadSize)
			}
			if err == nil && row.Truncated {
				t.Fatal("truncated without an error")
			}
			if r.LeftChild(l, i) != 0 && l.Type != IndexInterior {
				t.Fatal("a leaf has a child")
			}
		}
	})
}

// FuzzWAL scans a log: no panic, counts within bounds, only whole committed frames applied.
func FuzzWAL(f *testing.F) {
	s := makeSample(f)
	f.Add(s.wal[:32+3*(24+512)])
	f.Add(s.wal[:32])
	f.Add(s.wal[:33])
	f.Fuzz(func(t *testing.T, wal []byte) {
		db := openBytes(t, make([]byte, 512), wal, Options{PageSize: 512})
		w := db.WAL()
		if w.ValidFrames > w.TotalFrames || w.LastCommit > w.ValidFrames || w.DistinctPages > int(w.LastCommit) ||
			w.SameSaltAfter > w.TotalFrames-w.ValidFrames || int(w.TotalFrames) > len(wal)/(24+512) ||
			w.Applied != (w.HeaderOK && w.LastCommit > 0 && w.PageSize == 512) {
			t.Fatalf("%+v", w)
		}
		buf := make([]byte, 512)
		for n := range uint32(64) {
			if err := db.ReadPage(n, buf); (err == nil) != (n == 1 || db.InWAL(n)) {
				t.Fatalf("page %d: %v", n, err)
			}
		}
	})
}
