package boltfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// countingReader fails the test when far more is read than the file's size justifies.
type countingReader struct {
	t    testing.TB
	data []byte
	left int64
}

func (r *countingReader) ReadAt(p []byte, off int64) (int, error) {
	if r.left -= int64(len(p)); r.left < 0 {
		panic("too much was read")
	}
	return bytes.NewReader(r.data).ReadAt(p, off)
}

// openBytes opens a database in memory.
func openBytes(t testing.TB, data []byte) *File {
	t.Helper()
	f, err := New(&countingReader{t, data, 8<<20 + 20*int64(len(data))}, int64(len(data)), "memory")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// read is everything that can be had from a file.
type read struct {
	lines  []string
	damage error
	report *Report
	parts  int // elements from Salvage
}

// readAll uses every way of reading; none may panic, hang or contradict itself.
func readAll(t testing.TB, f *File) (r read) {
	t.Helper()
	r.lines, r.damage = flatten(t, f.Root())
	if r.damage != nil && !errors.Is(r.damage, ErrDamaged) {
		t.Fatal(r.damage)
	}
	var err error
	if r.report, err = f.Check(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, p := range r.report.Problems {
		if p.Kind == "" || p.Text == "" || strings.ContainsAny(p.String(), "\n\r") {
			t.Fatalf("%+v", p)
		}
	}
	if r.damage != nil && r.report.Sound() {
		t.Errorf("Check says sound, Each says %v", r.damage)
	}
	if err := f.Salvage(t.Context(), func(e Element) error {
		r.parts++
		if len(e.Key) == 0 || e.Bucket && e.Sub != nil && !bytes.Equal(e.Sub.Path()[0], e.Key) {
			t.Fatalf("%+v", e)
		}
		if e.Sub != nil {
			flatten(t, e.Sub)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Root().Get([]byte("a")); err != nil && !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	return r
}

// field is a place in a file that holds one number of the format.
type field struct {
	name string
	off  int
	size int
}

// fieldsOf lists every number of page headers, metas, elements and bucket values of the pages in use.
func fieldsOf(t testing.TB, f *File) (fields []field) {
	t.Helper()
	ps := f.PageSize()
	add := func(off int, names string) {
		for _, name := range strings.Fields(names) {
			size := int(name[len(name)-1] - '0')
			fields = append(fields, field{fmt.Sprintf("page %d %s at %d", off/ps, name[:len(name)-1], off), off, size})
			off += size
		}
	}
	for id := range 2 {
		add(id*ps, "id8 flags2 count2 overflow4 magic4 version4 pagesize4 metaflags4 root8 sequence8 freelist8 highwater8 txid8 checksum8")
	}
	c := f.newChecker(context.Background(), nil)
	if err := c.run(); err != nil {
		t.Fatal(err)
	}
	m, _ := f.Current()
	if !m.NoFreelist() {
		add(int(m.Freelist)*ps, "id8 flags2 count2 overflow4 free8 free8")
	}
	for id := range f.limit {
		var n node
		if !c.readable.has(id) || f.load(f.cache, id, &n) != nil {
			continue
		}
		add(int(id)*ps, "id8 flags2 count2 overflow4")
		elements := func(n *node, base int) {
			for i := range int(n.head.count) {
				if n.head.flags == flagBranch {
					add(base+pageHeader+elementSize*i, "pos4 ksize4 pgid8")
				} else {
					add(base+pageHeader+elementSize*i, "elemflags4 pos4 ksize4 vsize4")
				}
			}
		}
		elements(&n, int(id)*ps)
		for i := range int(n.head.count) {
			e := n.element(i)
			if n.head.flags != flagLeaf || e.flags != elementIsBucket {
				continue
			}
			at := int(id)*ps + int(e.start+e.ksize)
			add(at, "bucketroot8 bucketsequence8")
			if e.vsize > bucketHead {
				add(at+bucketHead, "id8 flags2 count2 overflow4")
				var in node
				v, _ := n.valueOf(&e)
				if in.loadInline(v[bucketHead:]) == "" {
					elements(&in, at+bucketHead)
				}
			}
		}
	}
	return fields
}

// unseen says which damage no reader can see: numbers that nothing else in the file depends on.
func unseen(name string) bool {
	for _, s := range []string{
		"bucketsequence", // a counter
		"elemflags",      // a bucket that becomes a plain value, where no page is leaked by it
		"vsize",          // of the last element of a page: may grow into the zeros after it
		"ksize",          // likewise, at the cost of the value
	} {
		if strings.Contains(name, s) {
			return true
		}
	}
	return false
}

// TestEveryField damages one number at a time. Whatever Check calls sound must be good enough for bbolt, which must then
// read the same, and what Check does not complain about must be as it was.
func TestEveryField(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  bolt.Options
		txs  []func(tx *bolt.Tx) error
	}{
		{"freelist", bolt.Options{PageSize: 1024}, []func(*bolt.Tx) error{fill("a", 50, 50), fill("b", 2, 3000), drop("a", 4)}},
		{"no freelist", bolt.Options{PageSize: 1024, NoFreelistSync: true}, []func(*bolt.Tx) error{fill("a", 40, 50)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := makeDB(t, &c.opt, c.txs...)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f := openBytes(t, whole)
			want := readAll(t, f)
			if len(want.report.Problems) > 0 {
				t.Fatal(want.report.Problems)
			}
			m, _ := f.Current()
			data := bytes.Clone(whole[:int(m.HighWater)*f.PageSize()])
			rnd := rand.New(rand.NewPCG(1, 2))
			missed := map[string]int{}
			scratch := filepath.Join(t.TempDir(), "copy.db")
			for _, fd := range fieldsOf(t, f) {
				for _, v := range valuesFor(data[fd.off:fd.off+fd.size], rnd) {
					damaged := bytes.Clone(data)
					copy(damaged[fd.off:], v)
					got := readAll(t, openBytes(t, damaged))
					name := fmt.Sprintf("%s = %x", fd.name, v)
					if got.report.Sound() {
						trustedByBolt(t, name, scratch, damaged, got.lines)
					}
					if slices.Equal(got.lines, want.lines) || len(got.report.Problems) > 0 {
						continue
					}
					// Without a freelist nobody can say that an old, free page is not the right one.
					old := c.opt.NoFreelistSync && (strings.Contains(fd.name, "pgid") || strings.Contains(fd.name, "bucketroot"))
					if missed[fd.name]++; !unseen(fd.name) && !old {
						t.Errorf("%s: nothing is reported, but the content differs", name)
					}
				}
			}
			t.Log("unseen:", missed)
		})
	}
}

// valuesFor gives what to put in place of the number b: 0, 1, its maximum, one more, one less, and random.
func valuesFor(b []byte, rnd *rand.Rand) (values [][]byte) {
	var now [8]byte
	copy(now[:], b)
	n := binary.LittleEndian.Uint64(now[:])
	for _, v := range []uint64{0, 1, ^uint64(0), n + 1, n - 1, n + 16, rnd.Uint64(), rnd.Uint64N(64)} {
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], v)
		if !bytes.Equal(w[:len(b)], b) {
			values = append(values, bytes.Clone(w[:len(b)]))
		}
	}
	return values
}

// trustedByBolt reads a file that Check calls sound with bbolt, and writes to it.
func trustedByBolt(t *testing.T, name, path string, data []byte, lines []string) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if r := recover(); r != nil {
			t.Fatalf("%s: bbolt panics: %v", name, r)
		}
	}()
	if got := flattenBolt(t, path); !slices.Equal(got, lines) {
		t.Errorf("%s: bbolt reads something else", name)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := db.Update(fill("a", 20, 100)); err != nil && !errors.Is(err, bolt.ErrIncompatibleValue) {
		t.Errorf("%s: %v", name, err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
