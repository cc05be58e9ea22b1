package pagefile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"fettle/internal/store"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAddresses(t *testing.T) {
	f := &File{First: 1}
	for addr, want := range map[string]Page{
		"page/1/4096": {1, 4096}, "page/17/512": {17, 512}, "page/9999999999/65536": {9999999999, 65536},
		"page/0/4096": {}, "page/1/511": {}, "page/1/65537": {}, "page/-1/4096": {}, "page/1": {}, "page//": {}, "page/1/": {},
		"page/1/4096/2": {}, "file": {}, "": {}, "page/18446744073709551615/4096": {}, "page/9223372036854775807/65536": {},
	} {
		p, at, err := f.parse(addr)
		if want.Size == 0 {
			if err == nil {
				t.Errorf("%q: accepted as %v at %d", addr, p, at)
			}
			continue
		}
		if err != nil || p != want || at != int64(want.Number-1)*int64(want.Size) || p.Addr() != addr {
			t.Errorf("%q: %v at %d, %v", addr, p, at, err)
		}
	}
	if _, at, err := (&File{}).parse("page/0/4096"); at != 0 || err != nil {
		t.Errorf("page 0 of a file that begins with it: at %d, %v", at, err)
	}
}

func TestWrongWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(path, []byte("content"), 0o600))
	mine := errors.New("mine")
	for name, f := range map[string]*File{
		"too long":      {Path: path},
		"hook":          {Path: path, Open: func() error { return mine }},
		"not there":     {Path: path + "2"},
		"not addressed": {Path: path, First: 5},
	} {
		after := make([]byte, 512)
		if name == "too long" {
			after = make([]byte, 513)
		}
		err := f.Write(store.Change{Addr: "page/0/512", After: after})
		if err == nil || name == "hook" && !errors.Is(err, mine) {
			t.Errorf("%s: %v", name, err)
		}
		must(t, f.Close())
	}
	if b, _ := os.ReadFile(path); string(b) != "content" {
		t.Error("the file was written")
	}
	if b, err := (&File{Path: path + "2"}).Read("page/0/512"); b != nil || err != nil {
		t.Errorf("a page of a file that is not there: %q, %v", b, err)
	}
}

// The hook runs before the first page and again after a Sync.
func TestOpenHook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(path, nil, 0o600))
	calls := 0
	f := &File{Path: path, Open: func() error { calls++; return nil }}
	for n := range uint64(4) {
		must(t, f.Write(store.Change{Addr: Page{n, 512}.Addr(), After: make([]byte, 512)}))
		if n == 1 {
			must(t, f.Sync())
		}
	}
	must(t, f.Sync())
	must(t, f.Sync())
	if calls != 2 {
		t.Errorf("the hook ran %d times", calls)
	}
}

// Changes between two contents of a file, written in order, lead from one to the other; their inverse in the opposite order
// leads back, also after only some were written; each page reads as it was written.
func TestThereAndBack(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	rapid.Check(t, func(t *rapid.T) {
		const size = 512
		old := rapid.SliceOfN(rapid.Byte(), 0, 8*size).Draw(t, "old")
		now := slices.Clone(old[:rapid.IntRange(0, len(old)).Draw(t, "kept")])
		now = append(now, make([]byte, rapid.IntRange(0, 3*size).Draw(t, "more"))...)
		if len(now) > 0 {
			now[rapid.IntRange(0, len(now)-1).Draw(t, "at")] ^= 1
		}
		first := rapid.Uint64Range(0, 1).Draw(t, "first")
		changes := difference(old, now, size, first)
		if err := os.WriteFile(path, old, 0o600); err != nil {
			t.Fatal(err)
		}
		f := &File{Path: path, First: first, Barrier: func(n uint64) bool { return n == first }}
		n := rapid.IntRange(0, len(changes)).Draw(t, "written")
		for i, c := range changes {
			if i == n { // an interruption: back, and all of it again
				goBack(t, f, changes[:n])
				same(t, path, old)
				for _, c := range changes[:n] {
					write(t, f, c)
				}
			}
			write(t, f, c)
		}
		same(t, path, now)
		goBack(t, f, changes)
		same(t, path, old)
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
	})
}

func same(t *rapid.T, path string, want []byte) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, want) {
		t.Fatalf("the file has %d bytes, want %d; %v", len(b), len(want), err)
	}
}

func write(t *rapid.T, f *File, c store.Change) {
	t.Helper()
	if err := f.Write(c); err != nil {
		t.Fatal(err)
	}
	got, err := f.Read(c.Addr)
	if err != nil || !bytes.Equal(got, c.After) || (got == nil) != (c.After == nil) {
		t.Fatalf("%s reads as %d bytes, %d were written; %v", c.Addr, len(got), len(c.After), err)
	}
}

func goBack(t *rapid.T, f *File, changes []store.Change) {
	t.Helper()
	for _, c := range slices.Backward(changes) {
		write(t, f, c.Inverse())
	}
}

// difference makes the changes: those that shorten the file come last, from its end.
func difference(old, now []byte, size int, first uint64) []store.Change {
	part := func(b []byte, i int) store.Bytes {
		if i >= len(b) {
			return nil
		}
		return slices.Clone(b[i:min(i+size, len(b))])
	}
	var out, cut []store.Change
	for i := 0; i < max(len(old), len(now)); i += size {
		c := store.Change{Addr: Page{uint64(i/size) + first, size}.Addr(), Before: part(old, i), After: part(now, i)}
		switch {
		case c.Guard():
		case len(c.After) < len(c.Before):
			cut = append(cut, c)
		default:
			out = append(out, c)
		}
	}
	slices.Reverse(cut)
	return append(out, cut...)
}
