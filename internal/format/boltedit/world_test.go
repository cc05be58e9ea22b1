package boltedit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fataler is what testing.TB and rapid.T have in common.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func read(t fataler, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// commit runs one transaction with the database's own program.
func commit(t fataler, path string, o bbolt.Options, fn func(*bbolt.Tx) error) {
	t.Helper()
	o.Timeout, o.NoSync, o.NoGrowSync = time.Second, true, true
	db, err := bbolt.Open(path, 0o600, &o)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(fn); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// content is everything that a database shows, as one text; it also runs bbolt's own check. The file is copied first.
func content(t fataler, b []byte, noFreelist bool) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "boltedit-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "a.db")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, NoSync: true, NoFreelistSync: noFreelist})
	if err != nil {
		t.Fatalf("bbolt does not open it: %v", err)
	}
	defer db.Close()
	var out bytes.Buffer
	err = db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			if !strings.Contains(err.Error(), "unreachable unfreed") { // bbolt loses pages of buckets that it deletes
				t.Fatalf("bbolt's check: %v", err)
			}
		}
		var dump func(b *bbolt.Bucket) error
		dump = func(b *bbolt.Bucket) error {
			fmt.Fprintf(&out, "<seq %d", b.Sequence())
			err := b.ForEach(func(k, v []byte) error {
				fmt.Fprintf(&out, " %x=%x", k, v)
				if v == nil {
					return dump(b.Bucket(k))
				}
				return nil
			})
			out.WriteString(">")
			return err
		}
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			fmt.Fprintf(&out, " %x", name)
			return dump(b)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// put writes bytes of a page into a file as a Writer does: whatever lies behind a short page is cut off.
func put(file, page []byte, at int64, size int) []byte {
	for int64(len(file)) < at && len(page) > 0 {
		file = append(file, 0)
	}
	if at <= int64(len(file)) {
		tail := file[min(at+int64(len(page)), int64(len(file))):]
		tail = slices.Clone(tail)
		file = append(file[:at:at], page...)
		if len(page) == size {
			file = append(file, tail...)
		}
	}
	return file
}

// checkParts writes the result into a copy of the file up to each of the given numbers of pages, also with the last one
// half written, and looks at what bbolt sees; then takes it back.
func checkParts(t fataler, path string, r *Result, upTo ...int) {
	t.Helper()
	was := read(t, path)
	m, err := readMetas(bytes.NewReader(was))
	if err != nil {
		t.Fatal(err)
	}
	no := m.current.freelist == noFreelist
	before := content(t, was, no)
	now := slices.Clone(was)
	for _, p := range r.Pages {
		now = put(now, p.After, int64(p.Number)*int64(r.PageSize), r.PageSize)
	}
	after := content(t, now, no)
	if int64(len(now)) != r.NewSize || int64(len(was)) != r.OldSize {
		t.Fatalf("sizes %d and %d, the result says %d and %d", len(was), len(now), r.OldSize, r.NewSize)
	}
	for _, n := range upTo {
		cutAt(t, was, r, n, before, after, no)
	}
}

// cutAt writes n pages, and half of the next one.
func cutAt(t fataler, was []byte, r *Result, n int, before, after string, no bool) {
	t.Helper()
	file := slices.Clone(was)
	for _, p := range r.Pages[:n] {
		file = put(file, p.After, int64(p.Number)*int64(r.PageSize), r.PageSize)
	}
	want := before
	if n == len(r.Pages) {
		want = after
	}
	if content(t, file, no) != want {
		t.Fatalf("%d of %d pages written: bbolt sees something else", n, len(r.Pages))
	}
	if n < len(r.Pages) {
		p := r.Pages[n]
		for _, half := range []int{8, 40, 60, len(p.After) / 2} {
			torn := slices.Clone(file)
			at := int(p.Number) * r.PageSize
			for len(torn) < at+half {
				torn = append(torn, 0)
			}
			copy(torn[at:], p.After[:half])
			got := content(t, torn, no)
			if got != before && (!p.Meta || got != after) {
				t.Fatalf("page %d torn after %d bytes: bbolt sees something else", p.Number, half)
			}
		}
	}
	for i := n - 1; i >= 0; i-- {
		p := r.Pages[i]
		file = put(file, p.Before, int64(p.Number)*int64(r.PageSize), r.PageSize)
		if content(t, file, no) != before {
			t.Fatalf("taken back down to page %d: bbolt sees something else", p.Number)
		}
	}
	if !bytes.Equal(file, was) {
		t.Fatalf("%d pages written and taken back: other bytes, %d of %d", n, len(file), len(was))
	}
}

// sample is a database with a free list, nested and inline buckets, a large value and several levels.
func sample(t testing.TB, o bbolt.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sample.db")
	for round := range 4 {
		commit(t, path, o, func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("devices"))
			if err != nil {
				return err
			}
			for i := range 300 {
				var k [4]byte
				binary.BigEndian.PutUint32(k[:], uint32(i*(round+1)))
				if err := b.Put(k[:], bytes.Repeat([]byte{byte(round)}, 20+i%50)); err != nil {
					return err
				}
			}
			if err := b.SetSequence(uint64(round)); err != nil {
				return err
			}
			if err := b.Put([]byte("large"), make([]byte, 20000+round)); err != nil {
				return err
			}
			in, err := b.CreateBucketIfNotExists([]byte("inner"))
			if err != nil {
				return err
			}
			return in.Put([]byte{byte(round)}, []byte("inline"))
		})
	}
	return path
}
