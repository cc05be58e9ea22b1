package flux

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"fettle/internal/format/treeobj"
	"fettle/internal/repair"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
)

// at makes a case's directory and a bench for it.
func at(t testing.TB, dir string) *bench {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, dir: dir, path: filepath.Join(dir, FileName)}
}

// smallTree is a store with two checkpoints: a few keys, and one key "data.log" of three blobs whose middle one is lost in
// the newest tree.
func smallTree(t testing.TB) *seedTree {
	s := newSeed(t)
	long := strings.Repeat("some text that LZ4 can shorten ", 20)
	keep := s.valref(s.put(long))
	s.checkpoint(s.put(s.dirText("keep", keep, "data", s.dir("log", s.valref(s.put("one\n"))))))
	log := s.valref(s.put("one\n"), s.lose("two\n"), s.put("three\n"))
	s.checkpoint(s.put(s.dirText("keep", keep, "data", s.dir("log", log, "x", s.val("y")))))
	return s
}

// wholeTree is smallTree before anything was lost.
func wholeTree(t testing.TB) *seedTree {
	s := smallTree(t)
	clear(s.gone)
	return s
}

// leaveWAL runs statements in WAL mode and leaves the store as a killed program does: the -wal holds all of it.
func (b *bench) leaveWAL(statements ...string) {
	b.t.Helper()
	db, err := sqlite3.Open(b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, s := range append([]string{"PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0"}, statements...) {
		if err := db.Exec(s); err != nil {
			b.t.Fatalf("%s: %v", s, err)
		}
	}
	kept := map[string][]byte{}
	for _, p := range []string{b.path, b.path + "-wal"} {
		if kept[p], err = os.ReadFile(p); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		b.t.Fatal(err)
	}
	os.Remove(b.path + "-shm")
	for p, content := range kept {
		writeFile(b.t, p, content)
	}
}

// zero overwrites page n of 4096 bytes.
func (b *bench) zero(n int64) { b.patch((n-1)*4096, make([]byte, 4096)...) }

// rootPage is the root page of a table or index.
func (b *bench) rootPage(name string) int64 {
	b.t.Helper()
	u, done := b.open()
	defer done()
	objects, _ := u.file.Schema()
	for _, o := range objects {
		if o.Name == name {
			return int64(o.Root)
		}
	}
	b.t.Fatalf("no %s in the schema", name)
	return 0
}

const newRow10 = `INSERT INTO checkpt_v2(value) VALUES('garbage')`

// atOnce keeps the suite from losing and tearing writes of a case: a whole file is put in place by rename and is durable at
// once. Crashes and undo of these cases are tested by TestSwapCutOff.
var atOnce = []string{"rebuild"}

// conformance are small stores, one for each way in which a repair writes.
var conformance = []storetest.Case{
	{Name: "pages", Want: map[string]int{DanglingValref: 1}, Make: func(t testing.TB, dir string) {
		smallTree(t).build(at(t, dir).path)
	}},
	{Name: "wal and rows", Want: map[string]int{DanglingValref: 1, BadCheckpoint: 1}, Make: func(t testing.TB, dir string) {
		b := at(t, dir)
		wholeTree(t).build(b.path)
		two := treeobj.Hash(treeobj.SHA1, []byte("two\n"))
		b.leaveWAL("DELETE FROM objects WHERE hash = "+sqlText(two), newRow10)
	}},
	{Name: "wal alone", Want: map[string]int{WALTruncated: 1}, Make: func(t testing.TB, dir string) {
		b := at(t, dir)
		wholeTree(t).build(b.path)
		b.leaveWAL("CREATE TABLE extra(a)", "DROP TABLE extra", "UPDATE objects SET epoch = 2")
		fi, err := os.Stat(b.path + "-wal")
		if err == nil {
			err = os.Truncate(b.path+"-wal", fi.Size()-100)
		}
		if err != nil {
			t.Fatal(err)
		}
	}},
	{Name: "rebuild", Allow: atOnce, Want: map[string]int{BadHeader: 1, DanglingValref: 1}, Make: func(t testing.TB, dir string) {
		b := at(t, dir)
		smallTree(t).build(b.path)
		b.patch(0, make([]byte, 100)...)
	}},
	{Name: "rebuild with wal", Allow: atOnce, Want: map[string]int{BadIndex: 1, DanglingValref: 1}, Make: func(t testing.TB, dir string) {
		b := at(t, dir)
		smallTree(t).build(b.path)
		index := b.rootPage("sqlite_autoindex_objects_1")
		b.leaveWAL("UPDATE checkpt_v2 SET value = value || ' '")
		b.zero(index)
	}},
	{Name: "checkpoint rows", Want: map[string]int{BadCheckpoint: 2}, Make: func(t testing.TB, dir string) {
		b := at(t, dir)
		wholeTree(t).build(b.path)
		b.sql(newRow10 + "; INSERT INTO checkpt_v2(value) VALUES(NULL)")
	}},
	{Name: "legacy", Want: map[string]int{LegacyCheckpoint: 1}, Make: func(t testing.TB, dir string) {
		b := at(t, dir)
		s := wholeTree(t)
		s.build(b.path)
		b.sql("DROP TABLE checkpt_v2; CREATE TABLE checkpt(key TEXT UNIQUE, value TEXT);" +
			"INSERT INTO checkpt VALUES('kvs-primary','" + rootOf(t, s).String() + "')")
	}},
	{Name: "storage class", Want: map[string]int{HashStorageClass: 1, DamagedOrphan: 1}, Make: func(t testing.TB, dir string) {
		b := at(t, dir)
		s := wholeTree(t)
		orphan := s.put("nothing refers to this")
		s.build(b.path)
		two := treeobj.Hash(treeobj.SHA1, []byte("two\n"))
		b.sql("UPDATE objects SET hash = CAST(hash AS BLOB) WHERE hash = " + sqlText(two) +
			"; UPDATE objects SET object = x'00', size = -1 WHERE hash = " + sqlText(orphan))
	}},
	{Name: "empty", Allow: atOnce, Want: map[string]int{BadSchema: 1, NoCheckpoint: 1}, Make: func(t testing.TB, dir string) {
		if err := os.WriteFile(at(t, dir).path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}},
}

// rootOf is the root of the newest checkpoint of a seed.
func rootOf(t testing.TB, s *seedTree) treeobj.Ref {
	t.Helper()
	var v struct {
		Rootref string `json:"rootref"`
	}
	if err := json.Unmarshal([]byte(s.ckpts[len(s.ckpts)-1]), &v); err != nil {
		t.Fatal(err)
	}
	ref, err := treeobj.ParseRef(v.Rootref)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// sqlText writes a hash as a literal of the class that Flux stores.
func sqlText(r treeobj.Ref) string {
	const digits = "0123456789abcdef"
	var hex []byte
	for _, b := range r.Sum() {
		hex = append(hex, digits[b>>4], digits[b&15])
	}
	return "CAST(x'" + string(hex) + "' AS TEXT)"
}

// TestConformance crashes repairs of small stores at every write and sync. With -short only some of them.
func TestConformance(t *testing.T) {
	s := storetest.Suite{System: System{}, Cases: conformance, Tears: true, Resumes: true}
	if testing.Short() {
		s.MaxCrashes = 4
	}
	storetest.Run(t, s)
}

// TestSwapCutOff cuts a repair that swaps in a new database off before every write and sync, and then resumes or undoes it.
func TestSwapCutOff(t *testing.T) {
	for _, c := range conformance {
		if c.Allow == nil {
			continue
		}
		for _, way := range []string{"resume", "undo"} {
			t.Run(c.Name+"/"+way, func(t *testing.T) {
				base := filepath.Join(t.TempDir(), "base")
				c.Make(t, base)
				ops, over := 0, false
				for ; !over; ops++ {
					over = swapCutOff(t, base, way, ops)
				}
				if ops < 3 {
					t.Errorf("there were only %d operations", ops-1)
				}
			})
		}
	}
}

func swapCutOff(t *testing.T, base, way string, ops int) (over bool) {
	b := newBench(t)
	storetest.CopyTree(t, base, b.dir)
	original := b.digest()
	b.makePlan(b.check())
	err := b.applyDying(ops)
	if err != nil && !errors.Is(err, errDead) {
		t.Fatalf("apply: %v", err)
	}
	if err != nil && way == "resume" {
		b.resume()
	}
	if err == nil || way == "resume" {
		if fs := b.check(); len(fs) > 0 {
			t.Errorf("cut off after %d operations: found %q", ops, briefs(fs))
		}
		accept(t, b.path).accepted("after the swap")
	}
	b.undo()
	if b.digest().Content != original.Content {
		t.Errorf("cut off after %d operations, then %s: undo gives other bytes or leaves files behind: %q", ops, way, listDir(t, b.dir))
	}
	return err == nil
}

func listDir(t testing.TB, dir string) []string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// dyingUnit is a unit whose program dies after a number of writes and syncs.
type dyingUnit struct {
	store.Planner
	left int
}

type dyingWriter struct {
	store.Writer
	unit *dyingUnit
}

var errDead = errors.New("the program is dead")

func (u *dyingUnit) OpenWriter(ctx context.Context, work string) (store.Writer, error) {
	w, err := u.Planner.OpenWriter(ctx, work)
	if err != nil {
		return nil, err
	}
	return &dyingWriter{w, u}, nil
}

func (u *dyingUnit) alive() error {
	if u.left == 0 {
		return errDead
	}
	u.left--
	return nil
}

func (w *dyingWriter) Write(ctx context.Context, c store.Change) error {
	if err := w.unit.alive(); err != nil {
		return err
	}
	return w.Writer.Write(ctx, c)
}

func (w *dyingWriter) Sync(ctx context.Context) error {
	if err := w.unit.alive(); err != nil {
		return err
	}
	return w.Writer.Sync(ctx)
}

// applyDying applies the plan with a Writer that lets so many operations through.
func (b *bench) applyDying(ops int) error {
	u, done := b.open()
	defer done()
	_, err := repair.Apply(context.Background(), b.config(&dyingUnit{u, ops}))
	return err
}

// TestHotJournal cuts a repair off between two page writes and lets SQLite open the database: it must roll back to what
// was there before, and the repair can still be resumed or undone.
func TestHotJournal(t *testing.T) {
	for _, way := range []string{"resume", "undo"} {
		t.Run(way, func(t *testing.T) {
			clean := newBench(t)
			smallTree(t).build(clean.path)
			for writes, over := 1, false; !over; writes++ {
				over = hotJournal(t, clean, way, writes)
				if over && writes < 4 {
					t.Fatalf("the repair has only %d writes", writes)
				}
			}
		})
	}
}

// hotJournal lets so many writes through; it tells whether that was all of them.
func hotJournal(t *testing.T, clean *bench, way string, writes int) (over bool) {
	b := newBench(t)
	storetest.CopyTree(t, clean.dir, b.dir)
	before, original := accept(t, b.path), b.digest()
	b.makePlan(b.check())
	err := b.applyDying(writes)
	if err == nil {
		return true
	}
	if !errors.Is(err, errDead) {
		t.Fatalf("apply: %v", err)
	}
	if _, err := os.Stat(b.path + "-journal"); err != nil {
		t.Fatalf("after %d writes there is no rollback journal: %v", writes, err)
	}
	if b.digest().Content == original.Content {
		t.Fatal("nothing was written")
	}
	// On a copy, and then on the store itself, as a Flux that starts too early would.
	for _, real := range []bool{false, true} {
		path := b.path
		if !real {
			path = filepath.Join(t.TempDir(), "copy", FileName)
			storetest.CopyTree(t, b.dir, filepath.Dir(path))
		}
		db, err := sqlite3.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		o := &oracle{t: t}
		o.query(db, "SELECT count(*) FROM objects", func(st *sqlite3.Stmt) {
			if n := st.ColumnInt(0); n != len(before.blobs) {
				t.Errorf("after %d writes SQLite sees %d rows, before %d", writes, n, len(before.blobs))
			}
		})
		o.accepted("SQLite rolls back")
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		after := accept(t, path)
		if after.root != before.root || len(after.wrong) != len(before.wrong) {
			t.Errorf("after %d writes and a rollback: root %v, wrong %q; before: %v, %q", writes, after.root, after.wrong, before.root, before.wrong)
		}
	}
	if way == "undo" {
		b.undo()
		if b.digest().Content != original.Content {
			t.Errorf("undo after %d writes: other bytes", writes)
		}
		return false
	}
	b.resume()
	if fs := b.check(); len(fs) > 0 {
		t.Errorf("resume after %d writes: found %q", writes, briefs(fs))
	}
	accept(t, b.path).accepted("after resume")
	b.undo()
	if b.digest().Content != original.Content {
		t.Errorf("undo after %d writes and resume: other bytes", writes)
	}
	return false
}
