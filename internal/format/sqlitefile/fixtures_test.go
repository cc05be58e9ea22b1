package sqlitefile

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// fixture puts the damaged database of a Flux fixture into a temporary directory and returns its path.
func fixture(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Skip("FETTLE_FIXTURES is not set")
	}
	variant := filepath.Join(root, "flux", "variants", name)
	path := filepath.Join(t.TempDir(), "content.sqlite")
	if unzst(t, filepath.Join(variant, "content.sqlite.zst"), path) {
		return path
	}
	raw, err := os.ReadFile(filepath.Join(variant, "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	var truth struct{ Base string }
	if err := json.Unmarshal(raw, &truth); err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(root, "flux", "bases", truth.Base+".content.sqlite")
	if !unzst(t, base+".zst", path) {
		t.Fatalf("no base %s", base)
	}
	unzst(t, base+"-wal.zst", path+"-wal")
	if script := filepath.Join(variant, "damage.sh"); exists(script) {
		cmd := exec.Command("sh", script)
		cmd.Dir = filepath.Dir(path)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	return path
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func unzst(t testing.TB, from, to string) bool {
	t.Helper()
	in, err := os.Open(from)
	if os.IsNotExist(err) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	dec, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, dec); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return true
}

// survey is what a reader gets out of one table.
type survey struct {
	rows, badRows, badPages int
	entries, badEntries     int
	treeProblems            int
	swept                   int // rows on table leaves outside every tree
}

func surveyObjects(t testing.TB, f *File) (s survey) {
	t.Helper()
	objects, problems := f.Schema()
	for _, p := range problems {
		t.Log(p)
	}
	used, _ := f.Freelist()
	r := f.NewReader(0)
	r.TrackOverflow(used)
	count := func(rows, bad *int) func(*Row, error) bool {
		return func(row *Row, err error) bool {
			switch {
			case err == nil:
				*rows++
			case row == nil:
				t.Log(err)
				s.badPages++
			default:
				t.Log(err)
				*bad++
			}
			return true
		}
	}
	for _, o := range objects {
		kind := Table
		if o.Type == "index" {
			kind = Index
		}
		tree := f.Tree(o.Root, kind)
		used.Union(tree.Leaves)
		used.Union(tree.Interior)
		if o.TblName != "objects" {
			continue
		}
		s.treeProblems += len(tree.Problems)
		for _, p := range tree.Problems[:min(5, len(tree.Problems))] {
			t.Log(p)
		}
		if kind == Table {
			tree.EachRow(r, 0, 0, count(&s.rows, &s.badRows))
		} else {
			tree.EachEntry(r, 0, 0, count(&s.entries, &s.badEntries))
		}
	}
	var row Row
	for n := uint32(1); n <= f.PageCount(); n++ {
		if used.Has(n) {
			continue
		}
		buf, err := r.Page(n)
		if err != nil || f.Classify(n, buf) != TableLeaf {
			continue
		}
		leaf, err := r.Leaf(n)
		if err != nil {
			continue
		}
		for i := range leaf.Len() {
			if r.Row(leaf, i, &row) == nil && len(row.Cols) == 4 {
				s.swept++
			}
		}
	}
	return s
}

func TestFixtures(t *testing.T) {
	for _, c := range []struct {
		name     string
		want     survey
		problems []ProblemKind
	}{
		{"healthy", survey{rows: 1398, entries: 1398}, nil},
		{"v60-file-truncated-half", survey{rows: 372, entries: 395, treeProblems: 87}, []ProblemKind{ProblemTruncated}},
		{"v62-zero-length", survey{}, []ProblemKind{ProblemEmpty}},
		{"v63-header-clobbered", survey{rows: 1398, entries: 1398}, []ProblemKind{ProblemHeaderMagic, ProblemPageSize}},
		{"v64-table-leaf-zeroed", survey{rows: 1386, entries: 1398, badPages: 1}, nil},
		{"v67-overflow-zeroed", survey{rows: 1397, entries: 1398, badRows: 1}, nil},
		{"v70-crash-with-wal", survey{rows: 1571, entries: 1571}, nil},
		{"v72-crash-wal-truncated", survey{rows: 1500, entries: 1500}, []ProblemKind{ProblemWALTruncated}},
		{"m00-medium-healthy", survey{rows: 80303, entries: 80303}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := mustOpen(t, fixture(t, c.name), Options{})
			var kinds []ProblemKind
			for _, p := range f.Problems() {
				t.Log(p)
				kinds = append(kinds, p.Kind)
			}
			if !slices.Equal(kinds, c.problems) {
				t.Errorf("problems %q, want %q", kinds, c.problems)
			}
			if got := surveyObjects(t, f); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// The copy was torn: no transaction boundary holds, but nearly all rows are there, some only outside the tree.
func TestFixtureTornCopy(t *testing.T) {
	f := mustOpen(t, fixture(t, "c01-live-cp-torn"), Options{})
	got := surveyObjects(t, f)
	if got.treeProblems == 0 || got.rows < 90000 || got.swept == 0 || got.rows+got.swept < got.entries {
		t.Errorf("got %+v", got)
	}
	if len(f.Problems()) != 1 || f.Problems()[0].Kind != ProblemLarger {
		t.Errorf("problems %v, want only %s", f.Problems(), ProblemLarger)
	}
}

func mustOpen(t testing.TB, path string, opt Options) *File {
	t.Helper()
	f, err := Open(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}
