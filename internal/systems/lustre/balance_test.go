package lustre

import (
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"fettle/internal/claim"
	"fettle/internal/format/lustre"
	"fettle/internal/match"
	"fettle/internal/systems/lustre/lustrelab"
)

// A bucket is disputed if and only if the entries that are wanted and those that are there differ as multisets, in whatever order they come.
func TestBalance(t *testing.T) {
	type entry struct {
		f        lustre.FID
		ino, gen uint32
	}
	few := rapid.Custom(func(t *rapid.T) entry {
		n := rapid.Uint32Range(0, 3)
		return entry{lustre.FID{Seq: 0x200000400 + uint64(n.Draw(t, "seq")), OID: n.Draw(t, "oid")}, n.Draw(t, "ino"), n.Draw(t, "gen")}
	})
	rapid.Check(t, func(t *rapid.T) {
		wants := rapid.SliceOfN(few, 0, 20).Draw(t, "wants")
		has := rapid.Permutation(wants).Draw(t, "has")
		if rapid.Bool().Draw(t, "other") {
			has = rapid.SliceOfN(few, 0, 20).Draw(t, "has instead")
		}
		var parts [3]balance // of several lanes
		for i, e := range wants {
			parts[i%2].wants(e.f, e.ino, e.gen)
		}
		count := map[entry]int{}
		for i, e := range has {
			parts[1+i%2].has(e.f, e.ino, e.gen)
			count[e]--
		}
		for _, e := range wants {
			count[e]++
		}
		for i := range parts[1:] {
			parts[0].add(&parts[1+i])
		}
		d, some := parts[0].disputed()
		differ := map[int]bool{}
		for e, n := range count {
			if i, _ := bucketOf(e.f); n != 0 {
				differ[i] = true
			}
		}
		if some != (len(differ) > 0) {
			t.Fatalf("disputed: %v, want %v", some, len(differ) > 0)
		}
		for _, e := range append(wants, has...) {
			if i, _ := bucketOf(e.f); d.of(e.f) != differ[i] {
				t.Fatalf("%v is disputed: %v, want %v", e.f, d.of(e.f), differ[i])
			}
		}
	})
	if !disputed(nil).of(fileF) {
		t.Error("without a list of disputes there are claims of everything")
	}
}

// What is known of the object index is the same whether claims were made of all its entries, or of those in dispute only.
func TestFillIndexAgrees(t *testing.T) {
	for i := -1; i < len(injuries); i++ {
		p := newPatient(t, t.TempDir(), lustrelab.Options{MDTs: 2, HardLinks: 300})
		if i >= 0 {
			injuries[i].do(p)
		}
		u := openPaths(t, nil, p.paths...).(*unit)
		env := &seeing{dir: t.TempDir()}
		if err := u.sweep(t.Context(), env); err != nil {
			t.Fatal(err)
		}
		var swept sweepState
		if err := loadJSON(filepath.Join(env.dir, sweptFile), &swept); err != nil {
			t.Fatal(err)
		}
		want := map[string][]indexed{} // by subject, read without the sweep
		claims, filled := 0, 0
		for place, tg := range u.targets {
			for _, e := range entriesOf(t, tg) {
				s := string(subjectOf(e.FID, tg.index))
				want[s] = append(want[s], indexed{place, e.Ino, e.Generation})
			}
		}
		m, err := match.Resume(u.matchOptions(env, 1), swept.Mark)
		if err != nil {
			t.Fatal(err)
		}
		err = m.Groups(t.Context(), match.Pass{Ordered: true}, func(g match.Group) error {
			a := &about{}
			if err := a.gather(g); err != nil {
				return err
			}
			claims += len(a.index)
			a.fillIndex(&u.shape, swept.Disputed)
			filled += len(a.index)
			if s := string(g.Subject); !slices.Equal(a.index, want[s]) {
				t.Errorf("injury %d: %v: index entries %v, want %v", i, claim.Subject(s), a.index, want[s])
			}
			delete(want, string(g.Subject))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for s, entries := range want {
			t.Errorf("injury %d: nothing is known of %v: %v", i, claim.Subject(s), entries)
		}
		if i < 0 && claims > 0 || filled == 0 {
			t.Errorf("injury %d: %d claims of %d entries", i, claims, filled)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// entriesOf reads the object index of a target, ordered by inode and generation for one FID.
func entriesOf(t *testing.T, tg *target) (out []lustre.OIEntry) {
	t.Helper()
	for _, ino := range tg.marks.oi {
		if ino == 0 {
			continue
		}
		in, err := tg.fs.Inode(ino)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, tg.fs.Super().BlockSize)
		for at := int64(0); at < int64(in.Size); at += int64(len(buf)) {
			if _, err := tg.fs.ReadFile(ino, at, buf); err != nil {
				t.Fatal(err)
			}
			if lustre.IAMBlockKind(buf) != lustre.IAMLeafBlock {
				continue
			}
			if _, err := lustre.OIEntries(buf, func(e lustre.OIEntry) bool { out = append(out, e); return true }); err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b lustre.OIEntry) int { return int(int64(a.Ino) - int64(b.Ino)) })
	return out
}
