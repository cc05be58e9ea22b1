package recover_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"fettle/internal/format/fluxdump"
	"fettle/internal/format/sqliteedit"
	"fettle/internal/format/sqlitefile"
	"fettle/internal/systems/flux"
	"fettle/internal/systems/flux/fluxlab"
	"fettle/internal/systems/flux/recover"
)

// statedir makes a state directory with a healthy store.
func statedir(t *testing.T, opt fluxlab.Options) string {
	t.Helper()
	dir := t.TempDir()
	if opt.Jobs == 0 {
		opt.Jobs = 12
	}
	if _, err := fluxlab.Make(context.Background(), db(dir), opt); err != nil {
		t.Fatal(err)
	}
	return dir
}

func db(dir string) string { return filepath.Join(dir, flux.FileName) }

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// source shows a database to the editor.
type source struct{ f *sqlitefile.File }

func (s source) PageSize() int                       { return s.f.PageSize() }
func (s source) PageCount() uint32                   { return s.f.PageCount() }
func (s source) ReadPage(n uint32, buf []byte) error { return s.f.ReadPage(n, buf) }

// sql runs a statement on a database, without any of the program's own writing.
func sql(t *testing.T, path, stmt string) {
	t.Helper()
	f, err := sqlitefile.Open(path, sqlitefile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	e, err := sqliteedit.Begin(context.Background(), source{f})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.DB.Exec(stmt); err != nil {
		t.Fatal(err)
	}
	res, err := e.Pages()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for _, p := range res.Pages {
		if _, err := out.WriteAt(p.After, int64(p.Number-1)*int64(res.PageSize)); err != nil {
			t.Fatal(err)
		}
	}
}

// loseNewestRoot removes the row of the newest root.
const loseNewestRoot = `DELETE FROM objects WHERE lower(hex(CAST(hash AS BLOB))) = (SELECT substr(json_extract(value,'$.rootref'), instr(json_extract(value,'$.rootref'),'-')+1) FROM checkpt_v2 ORDER BY id DESC LIMIT 1)`

// evidence asks a store.
func evidence(t *testing.T, path string) *flux.Evidence {
	t.Helper()
	r, err := flux.OpenRelic(context.Background(), path, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ev, err := r.Evidence(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// dumpOf writes a dump of a store.
func dumpOf(t *testing.T, path, to string) {
	t.Helper()
	r, err := flux.OpenRelic(context.Background(), path, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	w, err := fluxdump.NewWriter(&b, fluxdump.Gzip, fluxdump.Meta{Time: 1_700_000_000})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Dump(context.Background(), w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, to, b.Bytes())
}

// recovered runs a recovery that must succeed and looks at what must hold after every one.
func recovered(t *testing.T, cfg recover.Config) *recover.Report {
	t.Helper()
	old, _ := os.ReadFile(db(cfg.StateDir))
	rep, err := recover.Run(context.Background(), cfg)
	if err != nil {
		t.Fatalf("%v; report %+v", err, rep)
	}
	if rep.Route == recover.RouteNothing || rep.Route == recover.RouteLink {
		if now, _ := os.ReadFile(db(cfg.StateDir)); !bytes.Equal(old, now) {
			t.Fatalf("%s changed the database", rep.Route)
		}
		return rep
	}
	if old != nil && !bytes.Equal(read(t, rep.Aside), old) {
		t.Error("the damaged database is not kept as it was")
	}
	for _, f := range rep.Files {
		if len(read(t, f)) == 0 {
			t.Errorf("%s is empty", f)
		}
	}
	again, err := recover.Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if again.Route != recover.RouteNothing {
		t.Errorf("a second recovery does %s: %s", again.Route, again.Why)
	}
	return rep
}

func TestRoutes(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		route  recover.Route
		opt    fluxlab.Options
		keep   bool // drained nodes and the highest id must be those of before
	}{
		{name: "healthy", damage: func(*testing.T, string) {}, route: recover.RouteNothing},
		{name: "lost value", route: recover.RouteRepair, keep: true,
			damage: func(t *testing.T, dir string) {
				sql(t, db(dir), "DELETE FROM objects WHERE rowid IN (SELECT rowid FROM objects WHERE substr(CAST(object AS TEXT),1,1) <> '{' LIMIT 3)")
			}},
		{name: "lost root", route: recover.RouteRepair, keep: true,
			damage: func(t *testing.T, dir string) { sql(t, db(dir), loseNewestRoot) }},
		{name: "lost root, sha256", route: recover.RouteRepair, keep: true, opt: fluxlab.Options{Hash: "sha256"},
			damage: func(t *testing.T, dir string) { sql(t, db(dir), loseNewestRoot) }},
		{name: "no checkpoints", route: recover.RouteRepair, keep: true,
			damage: func(t *testing.T, dir string) { sql(t, db(dir), "DELETE FROM checkpt_v2") }},
		{name: "all directories lost", route: recover.RouteMinimal, keep: true,
			damage: func(t *testing.T, dir string) { loseDirectories(t, db(dir)) }},
		{name: "all directories lost, sha256", route: recover.RouteMinimal, keep: true, opt: fluxlab.Options{Hash: "sha256"},
			damage: func(t *testing.T, dir string) { loseDirectories(t, db(dir)) }},
		{name: "header clobbered", route: recover.RouteRepair, keep: true,
			damage: func(t *testing.T, dir string) {
				b := read(t, db(dir))
				copy(b, bytes.Repeat([]byte{0xa5}, 100))
				write(t, db(dir), b)
			}},
		{name: "zero length", route: recover.RouteEmpty,
			damage: func(t *testing.T, dir string) { write(t, db(dir), nil) }},
		{name: "garbage", route: recover.RouteEmpty,
			damage: func(t *testing.T, dir string) { write(t, db(dir), noise(100_000)) }},
		{name: "garbage wal", route: recover.RouteRepair, keep: true,
			damage: func(t *testing.T, dir string) { write(t, db(dir)+"-wal", noise(5000)) }},
		{name: "missing", route: recover.RouteNothing,
			damage: func(t *testing.T, dir string) { must(t, os.Remove(db(dir))) }},
		{name: "missing, garbage wal", route: recover.RouteEmpty,
			damage: func(t *testing.T, dir string) {
				must(t, os.Remove(db(dir)))
				write(t, db(dir)+"-wal", noise(5000))
			}},
		{name: "missing, garbage dump", route: recover.RouteNothing,
			damage: func(t *testing.T, dir string) {
				must(t, os.Remove(db(dir)))
				write(t, filepath.Join(dir, "dump", "20260101_030000.tgz"), noise(3000))
			}},
		{name: "missing, good dump", route: recover.RouteRestore, keep: true,
			damage: func(t *testing.T, dir string) {
				dumpOf(t, db(dir), filepath.Join(dir, "dump", "20260101_030000.tgz"))
				write(t, filepath.Join(dir, "dump", "20260102_030000.tgz"), noise(3000))
				must(t, os.Remove(db(dir)))
			}},
		{name: "all directories lost, good dump", route: recover.RouteRestore, keep: true,
			damage: func(t *testing.T, dir string) {
				dumpOf(t, db(dir), filepath.Join(dir, "dump", "20260101_030000.tgz"))
				loseDirectories(t, db(dir))
			}},
		{name: "all directories lost, good dump, sha256", route: recover.RouteRestore, keep: true, opt: fluxlab.Options{Hash: "sha256"},
			damage: func(t *testing.T, dir string) {
				dumpOf(t, db(dir), filepath.Join(dir, "dump", "20260101_030000.tgz"))
				loseDirectories(t, db(dir))
			}},
		{name: "dump is a file, database a directory", route: recover.RouteEmpty,
			damage: func(t *testing.T, dir string) {
				must(t, os.Remove(db(dir)))
				must(t, os.Mkdir(db(dir), 0o755))
				write(t, filepath.Join(dir, "dump"), noise(10))
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opt.Seed = 7
			dir := statedir(t, c.opt)
			before := evidence(t, db(dir))
			c.damage(t, dir)
			if fi, err := os.Stat(db(dir)); err == nil && fi.IsDir() {
				rep, err := recover.Run(context.Background(), config(t, dir))
				if err != nil || rep.Route != c.route || exists(db(dir)) {
					t.Fatalf("%v %+v", err, rep)
				}
				return
			}
			rep := recovered(t, config(t, dir))
			if rep.Route != c.route {
				t.Fatalf("route %s (%s), want %s; notes %q", rep.Route, rep.Why, c.route, rep.Notes)
			}
			if c.keep {
				sameState(t, before, evidence(t, db(dir)))
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// sameState requires the drained nodes of before, and ids that are not lower.
func sameState(t *testing.T, before, after *flux.Evidence) {
	t.Helper()
	names := func(e *flux.Evidence) string {
		var b strings.Builder
		for _, n := range e.State.Drains().Nodes() {
			fmt.Fprintf(&b, "%s %.0f %s\n", n.Host, n.Timestamp, n.Reason)
		}
		return b.String()
	}
	if names(before) == "" {
		t.Error("the store has no drained nodes, so this test says nothing")
	}
	if names(before) != names(after) {
		t.Errorf("drained nodes are\n%swere\n%s", names(after), names(before))
	}
	if after.State.HighestJob < before.State.HighestJob {
		t.Errorf("highest job is %s, was %s", after.State.HighestJob.F58(), before.State.HighestJob.F58())
	}
}

func loseDirectories(t *testing.T, path string) {
	t.Helper()
	// Directory objects are stored as text below 256 bytes and as LZ4 blocks, which begin with the same text, above.
	sql(t, path, `DELETE FROM objects WHERE instr(substr(object,1,24), CAST('{"data":{' AS BLOB)) > 0`)
}

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	dir := statedir(t, fluxlab.Options{Seed: 3})
	sql(t, db(dir), loseNewestRoot)
	must(t, os.MkdirAll(filepath.Join(dir, "dump"), 0o755))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dump", "RESTORE")))
	before := tree(t, dir)
	cfg := config(t, dir)
	cfg.DryRun = true
	rep, err := recover.Run(context.Background(), cfg)
	if err != nil || rep.Route != recover.RouteRepair || rep.Link == nil || rep.Link.Aside == "" || rep.Code() != 1 {
		t.Fatalf("%v %+v", err, rep)
	}
	if after := tree(t, dir); after != before {
		t.Errorf("a dry run changed\n%sto\n%s", before, after)
	}
}

// tree lists names, times and contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %s %d", path, fi.Mode(), fi.ModTime().UnixNano())
		if fi.Mode().IsRegular() {
			fmt.Fprintf(&b, " %x", sha256.Sum256(read(t, path)))
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

func TestForbidden(t *testing.T) {
	dir := statedir(t, fluxlab.Options{Seed: 4})
	loseDirectories(t, db(dir))
	before := read(t, db(dir))
	cfg := config(t, dir)
	cfg.NoMinimal = true
	_, err := recover.Run(context.Background(), cfg)
	if !errors.Is(err, recover.ErrRefused) {
		t.Fatal(err)
	}
	if !bytes.Equal(before, read(t, db(dir))) || exists(filepath.Join(dir, "fettle-recover.tmp")) {
		t.Error("a refused recovery changed something")
	}
}

func TestInUse(t *testing.T) {
	dir := statedir(t, fluxlab.Options{Seed: 4})
	unlock, err := sqlitefile.LockExclusive(db(dir))
	must(t, err)
	if _, err := recover.Run(context.Background(), config(t, dir)); err == nil || !strings.Contains(err.Error(), "in use") && !strings.Contains(err.Error(), "lock") {
		t.Errorf("a locked store: %v", err)
	}
	must(t, unlock())
	if rep := recovered(t, config(t, dir)); rep.Code() != 0 {
		t.Errorf("%+v", rep)
	}
}

// A link that would undo the result, or make Flux empty the store, must be gone before Flux starts; any other stays.
func TestRestoreLink(t *testing.T) {
	for _, c := range []struct {
		name   string
		make   func(t *testing.T, dir string)
		damage bool
		hash   string
		stays  bool
		route  recover.Route
	}{
		{name: "dangling, sound store", route: recover.RouteLink, make: func(t *testing.T, dir string) {}},
		{name: "garbage, sound store", route: recover.RouteLink, make: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "dump", "x.tgz"), noise(2000)) }},
		{name: "empty archive, sound store", route: recover.RouteLink, make: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "dump", "x.tgz"), emptyArchive(t)) }},
		{name: "good, sound store", route: recover.RouteNothing, stays: true, make: func(t *testing.T, dir string) { dumpOf(t, db(dir), filepath.Join(dir, "dump", "x.tgz")) }},
		{name: "good, sound sha256 store", route: recover.RouteLink, hash: "sha256", make: func(t *testing.T, dir string) { dumpOf(t, db(dir), filepath.Join(dir, "dump", "x.tgz")) }},
		{name: "older, repaired store", route: recover.RouteRepair, damage: true, make: func(t *testing.T, dir string) { dumpOf(t, db(dir), filepath.Join(dir, "dump", "x.tgz")) }},
		{name: "dangling, repaired store", route: recover.RouteRepair, damage: true, make: func(t *testing.T, dir string) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := statedir(t, fluxlab.Options{Seed: 5, Hash: c.hash})
			must(t, os.MkdirAll(filepath.Join(dir, "dump"), 0o755))
			c.make(t, dir)
			link := filepath.Join(dir, "dump", "RESTORE")
			must(t, os.Symlink("x.tgz", link))
			if c.damage {
				sql(t, db(dir), loseNewestRoot)
			}
			rep := recovered(t, config(t, dir))
			if rep.Route != c.route {
				t.Fatalf("route %s: %s; %q", rep.Route, rep.Why, rep.Notes)
			}
			if exists(link) != c.stays {
				t.Errorf("the link is there: %t, want %t (%+v)", exists(link), c.stays, rep.Link)
			}
			if !c.stays && !exists(rep.Link.Aside) {
				t.Error("the link was not set aside")
			}
		})
	}
}

func emptyArchive(t *testing.T) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(make([]byte, 1024))
	must(t, err)
	must(t, z.Close())
	return b.Bytes()
}

// Ids that only the prefix of a lost job directory tells are kept too, and a good older dump does not make them lower.
func TestIDsOfALostDirectory(t *testing.T) {
	dir := statedir(t, fluxlab.Options{Seed: 6, Jobs: 40})
	before := evidence(t, db(dir))
	dumpOf(t, db(dir), filepath.Join(dir, "dump", "20200101_000000.tgz"))
	loseDirectories(t, db(dir))
	rep := recovered(t, config(t, dir))
	if rep.Route != recover.RouteRestore || rep.HighestID < uint64(before.State.HighestJob) {
		t.Errorf("%s, highest %d, was %d", rep.Route, rep.HighestID, before.State.HighestJob)
	}
}

// Every variant of the fixtures ends in a clean store, whose drained nodes are those of the evidence.
func TestFixtures(t *testing.T) {
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Skip("FETTLE_FIXTURES is not set")
	}
	found, err := filepath.Glob(filepath.Join(root, "flux", "*", "*.sqlite.zst"))
	must(t, err)
	more, err := filepath.Glob(filepath.Join(root, "flux", "*", "*", "*.sqlite.zst"))
	must(t, err)
	found = append(found, more...)
	if len(found) == 0 {
		t.Fatalf("no stores below %s", root)
	}
	for _, f := range found {
		name, err := filepath.Rel(root, f)
		must(t, err)
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			unpack(t, f, db(dir))
			if wal := strings.TrimSuffix(f, ".zst") + "-wal.zst"; exists(wal) {
				unpack(t, wal, db(dir)+"-wal")
			}
			rep := recovered(t, config(t, dir))
			t.Logf("%s: %s", rep.Route, rep.Why)
			if rep.Route != recover.RouteEmpty && !exists(db(dir)) {
				t.Error("no database")
			}
		})
	}
}

func unpack(t *testing.T, from, to string) {
	t.Helper()
	f, err := os.Open(from)
	must(t, err)
	defer f.Close()
	z, err := zstd.NewReader(f)
	must(t, err)
	defer z.Close()
	out, err := os.Create(to)
	must(t, err)
	defer out.Close()
	_, err = out.ReadFrom(z)
	must(t, err)
}
