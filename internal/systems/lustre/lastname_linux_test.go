package lustre

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/lab"
	"fettle/internal/repair"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
	"fettle/internal/systems/lustre/lustrelab"
)

// Raw writes of a plan are done in an order in which nothing loses its last name, not even for a moment: a repair that is killed, and never
// resumed, leaves no object unnamed that had a name.

// naming is what a plain reader sees: how many names each object has, and which objects there are.
type naming struct {
	names   map[lustre.FID]int
	objects map[lustre.FID]bool
}

// readNaming reads all directories of an image that have a FID of the namespace, block by block.
func readNaming(t testing.TB, path string) naming {
	t.Helper()
	n := naming{map[lustre.FID]int{}, map[lustre.FID]bool{}}
	fs, err := ext4.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for ino := uint32(ext4.InoRoot); ino <= fs.Inodes(); ino++ {
		in, err := fs.Inode(ino)
		if err != nil || !in.Allocated {
			continue
		}
		n.inode(fs, in)
	}
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// album is what is seen of all images, of which one is written at a time.
type album map[string]naming

func (a album) look(t testing.TB, path string) naming {
	a[path] = readNaming(t, path)
	all := naming{map[lustre.FID]int{}, map[lustre.FID]bool{}}
	for _, n := range a {
		for f, k := range n.names {
			all.names[f] += k
		}
		for f := range n.objects {
			all.objects[f] = true
		}
	}
	return all
}

func (n naming) inode(fs *ext4.FS, in *ext4.Inode) {
	value, ok, err := fs.Xattr(in, ext4.XattrIndexTrusted, "lma")
	if err != nil || !ok {
		return
	}
	lma, err := lustre.DecodeLMA(value)
	if err != nil || lma.Has(lustre.LMAIAgent) || lma.FID.IsLocal() {
		return
	}
	n.objects[lma.FID] = true
	if !in.IsDir() {
		return
	}
	_ = fs.Dir(in, func(d ext4.Dirent) bool {
		raw, ok := d.LUFID()
		if name := string(d.Name); ok && name != "." && name != ".." {
			n.names[lustre.BigFID(raw)]++
		}
		return true
	}, nil)
}

// watched is a unit whose Writers are followed by look after every write.
type watched struct {
	store.Planner
	look func(step int, c store.Change)
}

func (w *watched) OpenWriter(ctx context.Context, work string) (store.Writer, error) {
	inner, err := w.Planner.OpenWriter(ctx, work)
	if err != nil {
		return nil, err
	}
	return &watchedWriter{Writer: inner, unit: w}, nil
}

type watchedWriter struct {
	store.Writer
	unit *watched
	step int
}

func (w *watchedWriter) Lower(ctx context.Context, s store.Step) ([]store.Change, error) {
	w.step = s.ID
	return w.Writer.Lower(ctx, s)
}

func (w *watchedWriter) Write(ctx context.Context, c store.Change) error {
	err := w.Writer.Write(ctx, c)
	w.unit.look(w.step, c)
	return err
}

// followNames repairs the images in a directory, takes the repair back, and looks at every object after every write.
func followNames(t *testing.T, paths []string, policy ...string) (writes int) {
	t.Helper()
	pol, err := finding.ParsePolicy(policy, Classes)
	if err != nil {
		t.Fatal(err)
	}
	seen, first := album{}, naming{}
	for _, p := range paths {
		first = seen.look(t, p)
	}
	type moment struct {
		naming
		what string
	}
	moments := []moment{{first, "before"}}
	var names []string // of the targets, in the order of the paths
	for _, x := range openPaths(t, nil, paths...).Targets() {
		names = append(names, x.Name)
	}
	unit := func() []store.Planner {
		return []store.Planner{&watched{openPaths(t, nil, paths...).(store.Planner), func(step int, c store.Change) {
			moments = append(moments, moment{seen.look(t, paths[slices.Index(names, c.Target)]), fmt.Sprintf("step %d, %s %s", step, c.Target, c.Addr)})
		}}}
	}
	dir := t.TempDir()
	found := checkPaths(t, nil, paths...)
	plan, err := repair.Make(t.Context(), repair.MakeConfig{Run: "test", Store: "images", Units: unit(), Findings: repair.Slice(found), Policy: pol, WorkDir: repair.WorkDirs(dir)})
	if err != nil {
		t.Fatal(err)
	}
	files := storetest.NewFiles(nil)
	if _, err := repair.Apply(t.Context(), repair.ApplyConfig{Plan: plan, Units: unit(), Dir: dir, Files: files, MaxLoss: repair.NewThreshold(100, 1<<62)}); err != nil {
		t.Fatal(err)
	}
	done := len(moments) - 1
	if _, err := repair.Undo(t.Context(), repair.UndoConfig{Units: unit(), Dir: dir, Files: files}); err != nil {
		t.Fatal(err)
	}
	last := moments[done]
	for f := range last.objects {
		if first.names[f] > 0 && last.names[f] == 0 {
			t.Errorf("%v lost its last name", f)
		}
		// Up to the end of the apply: once it has a name, it has one. In the undo: it has one, as long as it had one at first.
		had := false
		for i, m := range moments {
			has := m.names[f] > 0
			if i > done {
				had = first.names[f] > 0
			}
			if had && !has && last.names[f] > 0 {
				t.Errorf("%v has no name after write %d of %d (%d are the repair): %s", f, i, len(moments)-1, done, m.what)
				break
			}
			had = had || has
		}
	}
	return len(moments) - 1
}

// wideForm has a directory of several blocks, so that names that come in have to split some.
var wideForm = lustrelab.Options{Files: 60, Dirs: 12, Remote: 500, Striped: 2, BigDir: 700, Extents: true, MetadataCsum: true}

func TestNoLastNameIsLost(t *testing.T) {
	cases := classCases()
	for i, many := range [][]lab.Injury{
		{{Class: "lustre/orphan-object", Count: 60}, {Class: "lustre/no-fid-in-dirent", Count: 40}},
		{{Class: "lustre/lost-name", Count: 10}, {Class: "lustre/orphan-unknown", Count: 60}, {Class: "lustre/multiple-referenced-name", Count: 20}},
		{{Class: "lustre/bad-name-hash", Count: 20}, {Class: "lustre/master-holds-name", Count: 5}, {Class: "lustre/orphan-remote", Count: 2}, {Class: "lustre/dangling-name", Count: 5}},
	} {
		for _, linear := range []bool{false, true}[:2-min(i, 1)] {
			o := wideForm
			o.Linear = linear
			name := "many"
			for _, m := range many {
				name += " " + strings.TrimPrefix(m.Class, "lustre/")
			}
			cases = append(cases, storetest.Case{Name: fmt.Sprintf("%s linear=%t", name, linear), Policy: []string{"lustre/dangling-name=recreate"}, Make: inMemory(injuredMany(o, many))})
		}
	}
	writes := 0
	if testing.Short() {
		cases = cases[len(cases)-4:]
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fs")
			c.Make(t, path)
			paths, err := lustrelab.Targets(path)
			if err != nil {
				t.Fatal(err)
			}
			writes += followNames(t, paths, c.Policy...)
		})
	}
	t.Logf("%d writes were followed", writes)
}
