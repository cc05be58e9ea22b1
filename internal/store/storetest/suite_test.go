package storetest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// memSuite runs the suite on the toy system, whose stores are copied and hashed in memory.
func memSuite(sys *MemSystem) Suite {
	return Suite{
		System:    sys,
		Tears:     true,
		Resumes:   true,
		MaxSecond: 100,
		Copy: func(_ testing.TB, from, to string) {
			var units []*MemUnit
			for _, u := range sys.Get(from) {
				units = append(units, u.Clone(nil))
			}
			sys.Put(to, units...)
		},
		Digest: func(_ testing.TB, path string) Snapshot {
			text := ""
			for _, u := range sys.Get(path) {
				text += fmt.Sprintf("%s %x\n", u.Name, SnapshotSum(u.Disk.Snapshot()))
			}
			return Snapshot{text, text}
		},
	}
}

func TestMemSystemConforms(t *testing.T) {
	sys := NewMemSystem()
	made := func(units ...map[string]string) func(testing.TB, string) {
		return func(_ testing.TB, path string) {
			var us []*MemUnit
			for i, recs := range units {
				us = append(us, NewMemUnit(fmt.Sprintf("u%d", i), nil, 3, recs))
			}
			sys.Put(path, us...)
		}
	}
	all := map[string]string{"obj/a": Object("x"), "obj/b": "bad", "ref/b": "b", "ref/c": "c", "count": "9"}
	s := memSuite(sys)
	s.Cases = []Case{
		{Name: "pristine", Make: made(map[string]string{"obj/a": Object("x"), "ref/a": "a", "count": "1"})},
		{Name: "empty", Make: made(map[string]string{"count": "0"})},
		{Name: "dangling", Make: made(map[string]string{"ref/a": "a", "count": "0"}), Want: map[string]int{"mem/dangling-ref": 1}},
		{Name: "restore", Make: made(map[string]string{"ref/a": "a", "count": "0"}), Want: map[string]int{"mem/dangling-ref": 1},
			Policy: []string{"mem/dangling-ref=restore"}},
		{Name: "everything", Make: made(all, all), Want: map[string]int{"mem/dangling-ref": 2, "mem/corrupt-object": 2, "mem/miscount": 2}},
		{Name: "left", Make: made(all), Want: map[string]int{"mem/dangling-ref": 1, "mem/corrupt-object": 1, "mem/miscount": 1},
			Policy: []string{"mem/corrupt-object=ignore"}, Leaves: map[string]int{"mem/corrupt-object": 1}},
		{Name: "shred", Make: made(map[string]string{"obj/b": "bad", "count": "1"}), Want: map[string]int{"mem/corrupt-object": 1},
			Policy: []string{"shred"}, Allow: []string{"shred"}},
	}
	Run(t, s)
}

func TestDigestSeesEverything(t *testing.T) {
	base := filepath.Join(t.TempDir(), "tree")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(base, "d"), 0o755))
	must(os.WriteFile(filepath.Join(base, "d", "f"), []byte("content"), 0o644))
	must(os.Symlink("f", filepath.Join(base, "d", "l")))
	copied := filepath.Join(t.TempDir(), "copy")
	CopyTree(t, base, copied)
	if Digest(t, base) != Digest(t, copied) {
		t.Fatal("a copy has another digest")
	}
	st, err := os.Stat(filepath.Join(copied, "d", "f"))
	must(err)
	must(os.Chtimes(filepath.Join(copied, "d", "f"), st.ModTime(), st.ModTime().Add(1)))
	if a, b := Digest(t, base), Digest(t, copied); a.Full == b.Full || a.Content != b.Content {
		t.Fatal("a touched file is not seen, or seen as another content")
	}
	for name, change := range map[string]func(dir string) error{
		"content": func(d string) error { return os.WriteFile(filepath.Join(d, "d", "f"), []byte("c0ntent"), 0o644) },
		"listing": func(d string) error { return os.WriteFile(filepath.Join(d, "d", "f-wal"), nil, 0o644) },
		"removed": func(d string) error { return os.Remove(filepath.Join(d, "d", "f")) },
	} {
		CopyTree(t, base, copied)
		must(change(copied))
		if Digest(t, base).Content == Digest(t, copied).Content {
			t.Errorf("%s: not seen", name)
		}
	}
}
