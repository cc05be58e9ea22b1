package boltfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// raw gives the bytes of a database made by bbolt, cut to the pages in use.
func raw(t testing.TB, opt *bolt.Options, txs ...func(tx *bolt.Tx) error) []byte {
	t.Helper()
	data, err := os.ReadFile(makeDB(t, opt, txs...))
	if err != nil {
		t.Fatal(err)
	}
	f := openBytes(t, data)
	m, _ := f.Current()
	return data[:int(m.HighWater)*f.PageSize()]
}

func TestMetas(t *testing.T) {
	for _, ps := range []int{1024, 4096, 16384, 65536} {
		whole := raw(t, &bolt.Options{PageSize: ps}, fill("a", 50, 20), fill("a", 60, 20))
		f := openBytes(t, whole)
		now, _ := f.Current()
		other := f.Metas()[1-now.Page]
		if now.Txid != other.Txid+1 || int(now.PageSize) != ps || f.PageSize() != ps || now.NoFreelist() {
			t.Fatalf("%+v", f.Metas())
		}
		for _, c := range []struct {
			what  string
			wreck func(b []byte)
			kinds []Kind
			txid  uint64
		}{
			{"old one zero", func(b []byte) { clear(b[int(other.Page)*ps:][:ps]) }, []Kind{OneMetaBad}, now.Txid},
			{"new one zero", func(b []byte) { clear(b[int(now.Page)*ps:][:ps]) }, []Kind{OneMetaBad}, other.Txid},
			{"new one's checksum", func(b []byte) { b[int(now.Page)*ps+pageHeader+56]++ }, []Kind{OneMetaBad}, other.Txid},
			{"new one's version", func(b []byte) { b[int(now.Page)*ps+pageHeader+4]++ }, []Kind{OneMetaBad}, other.Txid},
			{"both zero", func(b []byte) { clear(b[:ps+100]) }, []Kind{InvalidMetas}, 0},
		} {
			data := bytes.Clone(whole)
			c.wreck(data)
			f := openBytes(t, data)
			if got, ok := f.Current(); ok != (c.txid > 0) || ok && got.Txid != c.txid {
				t.Errorf("%s: %+v", c.what, got)
			}
			var kinds []Kind
			for _, p := range f.Problems() {
				kinds = append(kinds, p.Kind)
			}
			if !slices.Equal(kinds, c.kinds) || f.PageSize() != ps {
				t.Errorf("%s: page size %d, %v", c.what, f.PageSize(), f.Problems())
			}
			for _, m := range f.Metas() {
				if m.Valid != (m.Why == "") {
					t.Errorf("%s: %+v", c.what, m)
				}
			}
			if r, err := f.Check(t.Context(), nil); err != nil || r.Sound() != (c.txid > 0) {
				t.Errorf("%s: %v %v", c.what, err, r.Problems)
			}
			if _, bad := f.Root().Problem(); bad != (c.txid == 0) {
				t.Errorf("%s: root bucket is bad: %v", c.what, bad)
			}
			if lines, _ := flatten(t, f.RootAt(now.Root, now.RootSequence)); len(lines) < 60 {
				t.Errorf("%s: %d lines below the guessed root", c.what, len(lines))
			}
		}
	}
}

// A valid meta page at the wrong place, as after a copy with the wrong block size, is not believed.
func TestMetaAtWrongPlace(t *testing.T) {
	whole := raw(t, &bolt.Options{PageSize: 4096}, fill("a", 50, 20))
	data := make([]byte, 8192)
	copy(data[1024:], whole[4096:8192])
	if m, ok := openBytes(t, data).Current(); ok {
		t.Errorf("%+v", m)
	}
}

// bbolt believes a meta page with a good checksum whatever page size it names, so that such a file is not sound.
func TestMetaWithOtherPageSize(t *testing.T) {
	data := raw(t, &bolt.Options{PageSize: 1024}, fill("a", 50, 20))
	m, _ := openBytes(t, data).Current()
	b := data[int(1-m.Page)*1024+pageHeader:]
	binary.LittleEndian.PutUint32(b[8:], 2048)
	sum := fnv.New64a()
	sum.Write(b[:56])
	binary.LittleEndian.PutUint64(b[56:], sum.Sum64())
	r := readAll(t, openBytes(t, data))
	if len(r.report.Problems) != 1 || r.report.Problems[0].Kind != BadPage || r.report.Sound() {
		t.Error(r.report.Problems)
	}
}

func TestSizes(t *testing.T) {
	whole := raw(t, &bolt.Options{PageSize: 1024}, fill("a", 50, 20))
	for _, size := range []int{0, 1, 15, 16, 79, 80, 1024, 1100, 2048, 2049, 3072, 3080, len(whole) - 1024, len(whole) - 1} {
		f := openBytes(t, whole[:size])
		r := readAll(t, f)
		want := Truncated
		if size == 0 {
			want = Empty
		} else if size < 80 {
			want = InvalidMetas
		}
		if r.report.Sound() || !slices.ContainsFunc(f.Problems(), func(p Problem) bool { return p.Kind == want }) {
			t.Errorf("%d bytes: %v", size, f.Problems())
		}
	}
	if r := readAll(t, openBytes(t, whole)); len(r.report.Problems) > 0 {
		t.Error(r.report.Problems)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
	if _, err := ReadFingerprint(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestFingerprint(t *testing.T) {
	path := makeDB(t, nil, fill("a", 5, 20))
	first, err := ReadFingerprint(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadFingerprint(path)
	if err != nil || again != first {
		t.Error(err, first, again)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fill("a", 6, 20)), db.Close(), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	if after, err := ReadFingerprint(path); err != nil || after == first {
		t.Error(err, after)
	}
}

// brokenDisk cannot read one range.
type brokenDisk struct {
	*bytes.Reader
	from, to int64
}

var errDisk = errors.New("input/output error")

func (b brokenDisk) ReadAt(p []byte, off int64) (int, error) {
	if off < b.to && off+int64(len(p)) > b.from {
		return 0, errDisk
	}
	return b.Reader.ReadAt(p, off)
}

// Unreadable sectors cost no more than the pages that they are part of.
func TestReadError(t *testing.T) {
	whole := raw(t, &bolt.Options{PageSize: 4096}, fill("a", 3000, 100))
	f := openBytes(t, whole)
	m, _ := f.Current()
	var n node
	leaf := m.Root
	for fl := f.load(f.cache, leaf, &n); n.head.flags == flagBranch || leaf == m.Root; fl = f.load(f.cache, leaf, &n) {
		if fl != nil {
			t.Fatal(fl)
		}
		e := n.element(0)
		if leaf = e.child; n.head.flags == flagLeaf {
			v, _ := n.valueOf(&e)
			leaf = binary.LittleEndian.Uint64(v)
		}
	}
	lost := int(n.head.count)
	f, err := New(brokenDisk{bytes.NewReader(whole), int64(leaf)*4096 + 100, int64(leaf)*4096 + 200}, int64(len(whole)), "disk")
	if err != nil {
		t.Fatal(err)
	}
	b, ok, err := f.Root().Bucket([]byte("a"))
	if !ok || err != nil {
		t.Fatal(err)
	}
	got := 0
	err = b.Each(func(_, _ []byte, _ *Bucket) error { got++; return nil })
	var damage *DamageError
	if !errors.As(err, &damage) || len(damage.Problems) != 1 || damage.Problems[0].Kind != ReadError || damage.Problems[0].Page != leaf {
		t.Error(err)
	}
	if want := 3000 + (3000+16)/17 - lost; got != want {
		t.Errorf("%d elements, want %d", got, want)
	}
	if _, _, err := b.Get([]byte("key000000")); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	r, err := f.Check(t.Context(), nil)
	if err != nil || len(r.Problems) != 1 || r.Problems[0].Kind != ReadError || r.Sound() {
		t.Error(err, r.Problems)
	}
	if _, err := New(brokenDisk{bytes.NewReader(whole), 0, 1}, int64(len(whole)), "disk"); !errors.Is(err, errDisk) {
		t.Error(err)
	}
}

func TestStop(t *testing.T) {
	f := openBytes(t, raw(t, &bolt.Options{PageSize: 1024}, fill("a", 5000, 100)))
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := f.Check(ctx, func(int64) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := f.Check(t.Context(), func(int64) error { return errDisk }); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	if err := f.Salvage(ctx, func(Element) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := f.Root().Each(func(_, _ []byte, _ *Bucket) error { return errDisk }); err != errDisk {
		t.Error(err)
	}
}
