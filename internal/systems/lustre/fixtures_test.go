package lustre

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
)

// fixtures is the directory of real images; the test is skipped without it.
func fixtures(t testing.TB) string {
	dir := os.Getenv("FETTLE_FIXTURES")
	if dir == "" {
		t.Skip("FETTLE_FIXTURES is not set")
	}
	return filepath.Join(dir, "lustre")
}

// unpack writes a compressed image to a file with holes where it is zero.
func unpack(t testing.TB, from, to string) string {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	buf, zero, at := make([]byte, 64<<10), make([]byte, 64<<10), int64(0)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 && string(buf[:n]) != string(zero[:n]) {
			if _, err := out.WriteAt(buf[:n], at); err != nil {
				t.Fatal(err)
			}
		}
		if at += int64(n); err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Truncate(at); err != nil {
		t.Fatal(err)
	}
	return to
}

// pair unpacks the two MDTs of the 2.10 set.
func pair(t testing.TB) []string {
	from, to := filepath.Join(fixtures(t), "lustre-2.10.0-dne2"), t.TempDir()
	return []string{unpack(t, filepath.Join(from, "mdt0000.img.zst"), filepath.Join(to, "mdt0.img")),
		unpack(t, filepath.Join(from, "mdt0001.img.zst"), filepath.Join(to, "mdt1.img"))}
}

// checkPaths checks images.
func checkPaths(t testing.TB, settings map[string]string, paths ...string) []finding.Finding {
	t.Helper()
	u := openPaths(t, settings, paths...)
	return storetest.Check(t, u, Classes...)
}

func openPaths(t testing.TB, settings map[string]string, paths ...string) store.Unit {
	t.Helper()
	st, err := System{}.Open(t.Context(), store.Location{Paths: paths}, store.Options{Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st.Units()[0]
}

func tell(t testing.TB, fs []finding.Finding) {
	for _, f := range fs {
		cause := ""
		if f.CausedBy != nil {
			cause = " <- " + string(rune('0'+*f.CausedBy%10))
		}
		t.Logf("%d%s %s %s %s: %s", f.Seq, cause, f.Class, f.Subject, f.PathOr("-"), f.Title)
		for _, e := range f.Evidence {
			t.Logf("      %s: %s", e.Witness, e.Says)
		}
	}
}

// damageCase is one case of damage.json.
type damageCase struct {
	ID      string
	Title   string
	Truth   []map[string]any
	Patches map[string][][3]any // offset, old, new
}

func damageCases(t testing.TB) []damageCase {
	raw, err := os.ReadFile(filepath.Join(fixtures(t), "damage", "damage.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cs []damageCase
	if err := json.Unmarshal(raw, &cs); err != nil {
		t.Fatal(err)
	}
	return cs
}

// apply makes the damage, or takes it back. What is there before is checked.
func (c damageCase) apply(t testing.TB, paths []string, back bool) {
	t.Helper()
	for image, ps := range c.Patches {
		path := paths[strings.IndexByte("01", image[len(image)-1])]
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ps {
			offset, was, now := int64(p[0].(float64)), p[1].(string), p[2].(string)
			if back {
				was, now = now, was
			}
			want, err1 := hex.DecodeString(was)
			put, err2 := hex.DecodeString(now)
			have := make([]byte, len(want))
			_, err3 := f.ReadAt(have, offset)
			if err1 != nil || err2 != nil || err3 != nil || string(have) != string(want) {
				t.Fatalf("%s: patch of %s at %d does not fit: %v %v %v", c.ID, image, offset, err1, err2, err3)
			}
			if _, err := f.WriteAt(put, offset); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPristine(t *testing.T) {
	dir := fixtures(t)
	for what, paths := range map[string][]string{
		"2.10 pair": pair(t),
		"2.7.22":    {unpack(t, filepath.Join(dir, "lustre-2.7.22-pending-orphan", "mdt0000.img.zst"), filepath.Join(t.TempDir(), "mdt0.img"))},
	} {
		t.Run(what, func(t *testing.T) {
			if fs := checkPaths(t, nil, paths...); len(fs) > 0 {
				t.Errorf("%d findings", len(fs))
				tell(t, fs)
			}
		})
	}
}

// classOf maps the words of damage.json to classes where they differ.
var classOf = map[string]string{"dangling": DanglingName, "orphan": Orphan}

// fits tells whether a finding is what a line of the truth says.
func fits(f *finding.Finding, truth map[string]any) bool {
	class, ok := classOf[truth["kind"].(string)]
	if !ok {
		class = "lustre/" + truth["kind"].(string)
	}
	if f.Class != class {
		return false
	}
	var d detail
	if err := json.Unmarshal(f.Detail, &d); err != nil {
		return false
	}
	if fid, ok := truth["fid"].(string); ok && f.Subject != fid {
		return false
	}
	if name, ok := truth["name"].(string); ok && d.Name != name && (d.Entry == nil || d.Entry.Name != name) {
		return false
	}
	if ino, ok := truth["ino"].(float64); ok && float64(d.Inode) != ino {
		return false
	}
	mdt, ok := truth["mdt"].(float64)
	return !ok || d.Entry != nil && float64(d.Entry.MDT) == mdt || d.MDT != nil && float64(*d.MDT) == mdt
}

// Every case of real damage: what is true is found, and whatever else is found follows from it.
func TestRealImages(t *testing.T) {
	paths := pair(t)
	for _, c := range damageCases(t) {
		t.Run(c.ID, func(t *testing.T) {
			c.apply(t, paths, false)
			defer c.apply(t, paths, true)
			fs := checkPaths(t, nil, paths...)
			isTrue := map[int]bool{}
			for _, truth := range c.Truth {
				found := false
				for i := range fs {
					if !isTrue[i] && fits(&fs[i], truth) {
						isTrue[i], found = true, true
						break
					}
				}
				if !found {
					t.Errorf("not found: %v", truth)
				}
			}
			for i, f := range fs {
				if !isTrue[i] && f.CausedBy == nil {
					t.Errorf("not true: %s %s", f.Class, f.Subject)
				}
			}
			if t.Failed() {
				tell(t, fs)
			}
		})
	}
}

// With one of two MDTs nothing is said of what may be on the other.
func TestOneOfTwo(t *testing.T) {
	paths := pair(t)
	for i, p := range paths {
		u := openPaths(t, nil, p)
		env := &seeing{}
		if fs := env.check(t, u); len(fs) > 0 {
			t.Errorf("MDT%04x alone:", i)
			tell(t, fs)
		}
		if len(env.unseen) == 0 {
			t.Errorf("MDT%04x alone: nothing was said to be missing", i)
		}
	}
	for _, c := range damageCases(t) { // whatever is found with one is found with both
		c.apply(t, paths, false)
		both := map[string]bool{}
		for _, f := range checkPaths(t, nil, paths...) {
			both[f.Class+" "+f.Subject] = true
		}
		for i, p := range paths {
			for _, f := range checkPaths(t, nil, p) {
				if !both[f.Class+" "+f.Subject] {
					t.Errorf("%s: MDT%04x alone gives %s %s", c.ID, i, f.Class, f.Subject)
				}
			}
		}
		c.apply(t, paths, true)
	}
}

// A journal that was not replayed is refused, or the check is incomplete.
func TestDirtyJournal(t *testing.T) {
	path := unpack(t, filepath.Join(fixtures(t), "lustre-2.7.22-pending-orphan", "mdt0000-dirty-journal.img.zst"), filepath.Join(t.TempDir(), "mdt0.img"))
	_, err := System{}.Open(t.Context(), store.Location{Paths: []string{path}}, store.Options{})
	if hints := fault.Hints(err); err == nil || len(hints) == 0 || !strings.Contains(strings.Join(hints, " "), "journal=ignore") {
		t.Errorf("opened: %v %v", err, hints)
	}
	env := &seeing{}
	env.check(t, openPaths(t, map[string]string{SetJournal: "ignore"}, path))
	if len(env.unseen) == 0 {
		t.Error("it is not said that the journal was not replayed")
	}
}

// seeing is an Env that remembers what was not seen.
type seeing struct {
	found  []finding.Finding
	unseen []string
	dir    string
}

func (e *seeing) check(t testing.TB, u store.Unit) []finding.Finding {
	t.Helper()
	e.dir = t.TempDir()
	for _, p := range u.Passes() {
		if err := p.Run(t.Context(), e); err != nil {
			t.Fatalf("%s: %v", p.Name, err)
		}
	}
	return e.found
}

func (e *seeing) Emit(f finding.Finding) (int, error) {
	f.Seq = len(e.found) + 1
	e.found = append(e.found, f)
	return f.Seq, nil
}
func (e *seeing) Total(int64, int64)                        {}
func (e *seeing) Did(ctx context.Context, _, _ int64) error { return ctx.Err() }
func (e *seeing) Memory() int64                             { return 64 << 20 }
func (e *seeing) Workers() int                              { return 2 }
func (e *seeing) Scratch() string                           { return e.dir }
func (e *seeing) Due() bool                                 { return false }
func (e *seeing) Save(any) error                            { return nil }
func (e *seeing) Load(any) (bool, error)                    { return false, nil }
func (e *seeing) Fact(string, any)                          {}
func (e *seeing) Note(string)                               {}
func (e *seeing) Unseen(text string)                        { e.unseen = append(e.unseen, text) }

func storeLocation(paths []string) store.Location { return store.Location{Paths: paths} }

func storeOptions(settings map[string]string) store.Options { return store.Options{Settings: settings} }
