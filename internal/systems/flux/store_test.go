package flux

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"fettle/internal/finding"
	"fettle/internal/format/sqliteedit"
	"fettle/internal/format/treeobj"
	"fettle/internal/repair"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
	"fettle/internal/systems/flux/fluxlab"
)

// bench is a store in a directory of its own, with a run that checks and repairs it.
type bench struct {
	t    testing.TB
	path string // the database
	dir  string // of the store
	run  string // the run's directory
	set  map[string]string
	skip []string
	plan *repair.Plan
}

// newBench opens nothing yet; the store is still to be put at b.path.
func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, dir: filepath.Join(t.TempDir(), "statedir"), run: filepath.Join(t.TempDir(), "run")}
	b.path = filepath.Join(b.dir, FileName)
	for _, d := range []string{b.dir, b.run} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b *bench) open() (*unit, func()) {
	b.t.Helper()
	s, err := System{}.Open(context.Background(), store.Location{Paths: []string{b.path}}, store.Options{Settings: b.set, Skip: b.skip})
	if err != nil {
		b.t.Fatalf("open: %v", err)
	}
	return s.Units()[0].(*unit), func() {
		if err := s.Close(); err != nil {
			b.t.Errorf("close: %v", err)
		}
	}
}

func (b *bench) check() []finding.Finding {
	b.t.Helper()
	u, done := b.open()
	defer done()
	return checkUnit(b.t, u)
}

// findingEnv runs passes without checkpoints and keeps what they emit.
type findingEnv struct {
	quietEnv
	found []finding.Finding
	notes []string
}

func (e *findingEnv) Emit(f finding.Finding) (int, error) {
	f.Type, f.Schema, f.Run, f.Seq, f.Found = "finding", finding.Schema, "test", len(e.found)+1, time.Unix(1700000000, 0).UTC()
	e.found = append(e.found, f)
	return f.Seq, nil
}

func (e *findingEnv) Note(text string)   { e.notes = append(e.notes, text) }
func (e *findingEnv) Unseen(text string) { e.notes = append(e.notes, text) }

// checkUnit runs all passes of a unit.
func checkUnit(t testing.TB, u *unit) []finding.Finding {
	t.Helper()
	env := &findingEnv{quietEnv: quietEnv{dir: t.TempDir(), workers: 2}}
	for _, p := range u.Passes() {
		if err := p.Run(context.Background(), env); err != nil {
			t.Fatalf("pass %s: %v", p.Name, err)
		}
	}
	for i := range env.found {
		env.found[i].Unit = u.ID()
	}
	return env.found
}

// makePlan plans by policy for findings that a check has just given.
func (b *bench) makePlan(fs []finding.Finding, policy ...string) *repair.Plan {
	b.t.Helper()
	pol, err := finding.ParsePolicy(policy, Classes)
	if err != nil {
		b.t.Fatal(err)
	}
	u, done := b.open()
	defer done()
	b.plan, err = repair.Make(context.Background(), repair.MakeConfig{Run: "test", Store: b.path, Units: []store.Planner{u}, Findings: repair.Slice(fs),
		Policy: pol, WorkDir: repair.WorkDirs(b.run)})
	if err != nil {
		b.t.Fatalf("plan: %v", err)
	}
	return b.plan
}

func (b *bench) config(u store.Planner) repair.ApplyConfig {
	return repair.ApplyConfig{Plan: b.plan, Units: []store.Planner{u}, Dir: b.run, MaxLoss: repair.NewThreshold(100, 1<<62)}
}

func (b *bench) apply() {
	b.t.Helper()
	u, done := b.open()
	defer done()
	if _, err := repair.Apply(context.Background(), b.config(u)); err != nil {
		b.t.Fatalf("apply: %v", err)
	}
}

func (b *bench) resume() {
	b.t.Helper()
	u, done := b.open()
	defer done()
	if _, err := repair.Resume(context.Background(), b.config(u)); err != nil {
		b.t.Fatalf("resume: %v", err)
	}
}

func (b *bench) undo() {
	b.t.Helper()
	u, done := b.open()
	defer done()
	if _, err := repair.Undo(context.Background(), repair.UndoConfig{Units: []store.Planner{u}, Dir: b.run}); err != nil {
		b.t.Fatalf("undo: %v", err)
	}
}

func (b *bench) digest() storetest.Snapshot { return storetest.Digest(b.t, b.dir) }

// repaired checks, plans by policy and applies; it returns the findings.
func (b *bench) repaired(policy ...string) []finding.Finding {
	b.t.Helper()
	fs := b.check()
	b.makePlan(fs, policy...)
	b.apply()
	return fs
}

// brief is a finding in one line: class without "flux/", path or subject, bad indexes.
func brief(f *finding.Finding) string {
	s := strings.TrimPrefix(f.Class, "flux/") + " "
	if f.Path != nil {
		s += "/" + *f.Path
	} else {
		s += f.Subject
	}
	var d keyDetail
	if json.Unmarshal(f.Detail, &d) == nil && len(d.Bad) > 0 && f.Path != nil {
		var ix []string
		for _, b := range d.Bad {
			ix = append(ix, fmt.Sprint(b.Index))
		}
		s += " " + strings.Join(ix, ",")
	}
	return s
}

func briefs(fs []finding.Finding) []string {
	var out []string
	for i := range fs {
		out = append(out, brief(&fs[i]))
	}
	slices.Sort(out)
	return out
}

func sameLines(t testing.TB, what string, have, want []string) {
	t.Helper()
	have, want = slices.Sorted(slices.Values(have)), slices.Sorted(slices.Values(want))
	if !slices.Equal(have, want) {
		t.Errorf("%s:\n  have %q\n  want %q", what, have, want)
	}
}

// sql runs statements on the store through SQLite, in rollback mode so that no -wal comes up.
func (b *bench) sql(statements string, args ...any) {
	b.t.Helper()
	b.versions(1)
	db, err := sqlite3.Open(b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	err = db.Exec("PRAGMA journal_mode=OFF")
	if err == nil && len(args) == 0 {
		err = db.Exec(statements)
	} else if err == nil {
		var st *sqlite3.Stmt
		if st, _, err = db.Prepare(statements); err == nil {
			for i, a := range args {
				switch a := a.(type) {
				case string:
					err = errors.Join(err, st.BindText(i+1, a))
				case []byte:
					err = errors.Join(err, st.BindBlob(i+1, a))
				case int:
					err = errors.Join(err, st.BindInt(i+1, a))
				default:
					err = fmt.Errorf("cannot bind %T", a)
				}
			}
			err = errors.Join(err, st.Exec(), st.Close())
		}
	}
	if err = errors.Join(err, db.Close()); err != nil {
		b.t.Fatalf("%.80s: %v", statements, err)
	}
	b.versions(2)
}

// versions says in the header whether the database is used with a -wal (2) or not (1).
func (b *bench) versions(v byte) { b.patch(18, v, v) }

func (b *bench) patch(off int64, bytes ...byte) {
	b.t.Helper()
	f, err := os.OpenFile(b.path, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt(bytes, off)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// lab makes a store of so many jobs.
func (b *bench) lab(opt fluxlab.Options) {
	b.t.Helper()
	if _, err := fluxlab.Make(context.Background(), b.path, opt); err != nil {
		b.t.Fatal(err)
	}
}

// seedTree is a small store made by hand: blobs that are put, and checkpoints that name roots.
type seedTree struct {
	t     testing.TB
	alg   treeobj.Alg
	blobs map[treeobj.Ref][]byte
	order []treeobj.Ref
	ckpts []string // checkpoint values, oldest first
	gone  map[treeobj.Ref]bool
}

func newSeed(t testing.TB) *seedTree {
	return &seedTree{t: t, alg: treeobj.SHA1, blobs: map[treeobj.Ref][]byte{}, gone: map[treeobj.Ref]bool{}}
}

func (s *seedTree) put(content string) treeobj.Ref {
	r := treeobj.Hash(s.alg, []byte(content))
	if _, ok := s.blobs[r]; !ok {
		s.blobs[r] = []byte(content)
		s.order = append(s.order, r)
	}
	return r
}

// lose makes a blob that is referred to and not stored.
func (s *seedTree) lose(content string) treeobj.Ref {
	r := s.put(content)
	s.gone[r] = true
	return r
}

func (s *seedTree) valref(parts ...treeobj.Ref) string {
	b, err := treeobj.NewValref(parts...)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

func (s *seedTree) val(content string) string { return string(treeobj.NewVal([]byte(content))) }

// dirText is the text of a directory object; entries alternate names and tree objects.
func (s *seedTree) dirText(entries ...string) string {
	s.t.Helper()
	m := map[string]string{}
	for i := 0; i < len(entries); i += 2 {
		m[entries[i]] = entries[i+1]
	}
	var parts []string
	for name := range m {
		parts = append(parts, string(treeobj.AppendString(nil, name))+":"+m[name])
	}
	slices.Sort(parts)
	return `{"data":{` + strings.Join(parts, ",") + `},"type":"dir","ver":1}`
}

func (s *seedTree) dirref(ref treeobj.Ref) string {
	b, err := treeobj.NewDirref(ref)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// dir stores a directory and returns a dirref to it.
func (s *seedTree) dir(entries ...string) string { return s.dirref(s.put(s.dirText(entries...))) }

// checkpoint adds a row that names the root which a dirref refers to.
func (s *seedTree) checkpoint(root treeobj.Ref) {
	n := len(s.ckpts)
	s.ckpts = append(s.ckpts, fmt.Sprintf(`{"version":1,"rootref":"%s","sequence":%d,"timestamp":%d.5}`, root, 10+n, 1795000000+600*n))
}

// build writes the store.
func (s *seedTree) build(path string) {
	s.t.Helper()
	err := sqliteedit.Build(context.Background(), path, sqliteedit.BuildOptions{PageSize: 4096, WAL: true}, func(db *sqliteedit.DB) error {
		if err := errors.Join(db.Exec(sqlObjects), db.Exec(sqlCheckpoint)); err != nil {
			return err
		}
		for _, r := range s.order {
			if s.gone[r] {
				continue
			}
			row := newRow(s.blobs[r], 1, true)
			if err := db.Exec("INSERT INTO objects(hash,size,object,epoch) VALUES(?,?,?,?)", string(r.Sum()), *row.Size, []byte(row.Object), 1); err != nil {
				return err
			}
		}
		for _, v := range s.ckpts {
			if err := db.Exec("INSERT INTO checkpt_v2(value) VALUES(?)", v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}
