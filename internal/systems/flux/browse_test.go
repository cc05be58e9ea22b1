package flux_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ncruces/go-sqlite3"

	"fettle/internal/format/fluxdump"
	"fettle/internal/format/treeobj"
	"fettle/internal/lab"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
	"fettle/internal/systems/flux"
	"fettle/internal/systems/flux/fluxlab"
)

// browse opens the store at path as the shell does. A damaged store is never an error.
func browse(t testing.TB, path string) store.View {
	t.Helper()
	ctx := context.Background()
	st, err := flux.System{}.Open(ctx, store.Location{Paths: []string{path}, Text: path}, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	v, err := st.Units()[0].(store.Browser).Browse(ctx, store.BrowseEnv{Scratch: t.TempDir(), Workers: 2, Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// command runs one command of the view.
func command(t testing.TB, v store.View, name string, args ...string) (out string, err error) {
	t.Helper()
	for _, c := range v.Commands() {
		if c.Name == name {
			var o, e bytes.Buffer
			err = c.Run(context.Background(), store.BrowseCall{Args: args, Out: &o, Raw: &o, Err: &e})
			return o.String() + e.String(), err
		}
	}
	t.Fatalf("no command %s", name)
	return "", nil
}

// inspect visits every different directory once and reads everything. It returns what is wrong with which key, and holds the promises of a
// view: what shows no trouble can be read, with the size that was shown; what cannot be read shows trouble.
func inspect(t *testing.T, v store.View) map[string]string {
	t.Helper()
	ctx := context.Background()
	trouble := map[string]string{}
	root, err := v.Lookup(ctx, nil, true)
	if err != nil {
		return trouble
	}
	seen := map[string]bool{}
	todo := []store.Node{root}
	for len(todo) > 0 {
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		list, err := v.List(ctx, dir, true)
		if (err != nil) != (dir.Trouble != "") && !strings.HasPrefix(dir.Trouble, "malformed") && !strings.HasPrefix(dir.Trouble, "Flux cannot") {
			t.Errorf("%s: trouble %q, but listing it gives %v", v.Format(dir.Path), dir.Trouble, err)
		}
		for _, n := range list {
			if n.Trouble != "" {
				trouble[v.Format(n.Path)] = n.Trouble
			}
			if n.Dir {
				if !seen[n.Identity] || n.Identity == "" {
					seen[n.Identity] = true
					todo = append(todo, n)
				}
				continue
			}
			if n.Link == "" {
				checkRead(t, v, n)
			}
		}
	}
	return trouble
}

func checkRead(t *testing.T, v store.View, n store.Node) {
	t.Helper()
	var b bytes.Buffer
	err := v.Read(context.Background(), n, -1, &b)
	switch {
	case n.Trouble == "" && err != nil:
		t.Errorf("%s shows no trouble, but reading it gives %v", v.Format(n.Path), err)
	case strings.Contains(n.Trouble, "lost or damaged") && !errors.Is(err, store.ErrPartial):
		t.Errorf("%s: %s, but reading it gives %v", v.Format(n.Path), n.Trouble, err)
	case n.Size >= 0 && int64(b.Len()) != n.Size:
		t.Errorf("%s: %d bytes read, %d shown", v.Format(n.Path), b.Len(), n.Size)
	}
	if _, err := v.Stat(context.Background(), n); err != nil {
		t.Errorf("stat %s: %v", v.Format(n.Path), err)
	}
}

// tryCommands runs every command that looks at the whole store; none may fail for another reason than damage.
func tryCommands(t *testing.T, v store.View, damaged bool) {
	t.Helper()
	for _, c := range [][]string{{"checkpoints", "-at"}, {"jobs"}, {"jobs", "-a"}, {"drained"}, {"eventlog", "resource.eventlog"}, {"eventlog", "admin.eventlog"},
		{"blob", "stat", "sha1-254bad6c70e3c911e95cc1307403bc1ba359c612"}} {
		out, err := command(t, v, c[0], c[1:]...)
		if err != nil && !damaged && c[0] != "blob" {
			t.Errorf("%v: %v", c, err)
		}
		if c[0] == "checkpoints" && err != nil {
			t.Errorf("%v: %v (%q)", c, err, out)
		}
	}
}

// checkDump writes an archive and reads it back: it is whole and has the keys it says, or there is none.
func checkDump(t *testing.T, v store.View) (keys int) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "all.tgz")
	_, err := command(t, v, "dump", name)
	f, openErr := os.Open(name)
	if err != nil && !errors.Is(err, store.ErrPartial) {
		if openErr == nil {
			t.Errorf("dump failed (%v) but left an archive behind", err)
		}
		return 0
	}
	if openErr != nil {
		t.Fatal(openErr)
	}
	defer f.Close()
	r, err := fluxdump.NewReader(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := r.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("key %d of the archive: %v", keys, err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		keys++
	}
	if keys == 0 {
		t.Error("an empty archive")
	}
	return keys
}

// TestBrowseLab injures a store in every way there is. What the truth names is shown as trouble, and everything else can be read.
func TestBrowseLab(t *testing.T) {
	ctx := context.Background()
	whole := filepath.Join(t.TempDir(), "content.sqlite")
	if _, err := fluxlab.Make(ctx, whole, fluxlab.Options{Seed: 3, Jobs: 40}); err != nil {
		t.Fatal(err)
	}
	v := browse(t, whole)
	if bad := inspect(t, v); len(bad) > 0 || len(v.Notes()) > 0 {
		t.Errorf("a whole store shows trouble: %v, %q", bad, v.Notes())
	}
	tryCommands(t, v, false)
	all := checkDump(t, v)
	shown := []string{flux.DanglingValref, flux.DanglingDirref, flux.HashMismatch, flux.UndecodableBlob, flux.InvalidTreeobj, flux.NotADirectory}
	for _, r := range fluxlab.Recipes() {
		t.Run(filepath.Base(r.Class), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "content.sqlite")
			if err := lab.CopyStore(whole, path); err != nil {
				t.Fatal(err)
			}
			truth, err := fluxlab.Damage(ctx, path, 7, []lab.Injury{{Class: r.Class, Count: 3}})
			if err != nil {
				t.Fatal(err)
			}
			before := storetest.Digest(t, filepath.Dir(path))
			v := browse(t, path)
			bad := inspect(t, v)
			tryCommands(t, v, true)
			if keys := checkDump(t, v); keys > all {
				t.Logf("%d keys, %d before the damage", keys, all)
			}
			if storetest.Digest(t, filepath.Dir(path)) != before {
				t.Error("browsing changed something")
			}
			for _, n := range v.Notes() {
				if strings.Contains(n, "checkpoint") || strings.Contains(n, "no root") {
					return // another tree than the one that the truth is about
				}
			}
			for _, e := range truth.Expected {
				if e.Path != nil && *e.Path != "" && slices.Contains(shown, e.Class) && bad[*e.Path] == "" {
					t.Errorf("%s shows no trouble; shown: %v", e.Line(), bad)
				}
			}
		})
	}
}

// TestBrowseFixtures opens every damaged real store.
func TestBrowseFixtures(t *testing.T) {
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Skip("FETTLE_FIXTURES is not set: real stores are not at hand")
	}
	dirs, err := filepath.Glob(filepath.Join(root, "flux", "variants", "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no variants below %s: %v", root, err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var truth struct {
				Base   string                  `json:"base"`
				Direct []struct{ Path string } `json:"newest_direct"`
			}
			if err := json.Unmarshal(inflate(t, filepath.Join(dir, "truth.json")), &truth); err != nil {
				t.Fatal(err)
			}
			path := injure(t, filepath.Join(root, "flux", "bases"), dir, truth.Base)
			before := storetest.Digest(t, filepath.Dir(path))
			v := browse(t, path)
			bad := inspect(t, v)
			tryCommands(t, v, true)
			if !strings.Contains(dir, "v39") { // 2^24 keys take their time
				checkDump(t, v)
			}
			if storetest.Digest(t, filepath.Dir(path)) != before {
				t.Error("browsing changed something")
			}
			if truth.Direct == nil {
				return
			}
			want := map[string]bool{}
			for _, d := range truth.Direct {
				if d.Path != "" { // "" is the root: an older one is shown then
					want[d.Path] = true
				}
			}
			if got := keysOf(bad); !slices.Equal(got, keysOf(want)) {
				t.Errorf("trouble with %q, want %q", got, keysOf(want))
			}
		})
	}
}

func keysOf[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// inflate reads a file or its compressed form; nil when there is neither.
func inflate(t testing.TB, name string) []byte {
	t.Helper()
	if b, err := os.ReadFile(name); err == nil {
		return b
	}
	packed, err := os.ReadFile(name + ".zst")
	if err != nil {
		return nil
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := z.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// injure makes the store of a variant.
func injure(t *testing.T, bases, dir, base string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "content.sqlite")
	content := inflate(t, filepath.Join(dir, "content.sqlite"))
	if content == nil {
		content = inflate(t, filepath.Join(bases, base+".content.sqlite"))
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if wal := inflate(t, filepath.Join(bases, base+".content.sqlite-wal")); wal != nil {
		if err := os.WriteFile(path+"-wal", wal, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if sql := inflate(t, filepath.Join(dir, "damage.sql")); sql != nil {
		exec1(t, path, "PRAGMA journal_mode=DELETE;"+string(sql))
	}
	script := filepath.Join(dir, "damage.sh")
	if _, err := os.Stat(script); err == nil {
		cmd := exec.Command("sh", script)
		cmd.Dir = filepath.Dir(path)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("damage.sh: %v: %s", err, out)
		}
	}
	return path
}

func exec1(t testing.TB, path, sql string) {
	t.Helper()
	db, err := sqlite3.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Exec(sql); err != nil {
		t.Fatal(err)
	}
}

// small makes a store of the given blobs whose newest root is the last one.
func small(t testing.TB, blobs ...[]byte) string {
	t.Helper()
	var sql strings.Builder
	sql.WriteString(`BEGIN; CREATE TABLE objects(hash BLOB PRIMARY KEY, size INT, object BLOB, epoch INT DEFAULT 0);
		CREATE TABLE checkpt_v2(id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, value TEXT);`)
	var root treeobj.Ref
	for _, b := range blobs {
		root = treeobj.Hash(treeobj.SHA1, b)
		fmt.Fprintf(&sql, "INSERT OR IGNORE INTO objects VALUES (CAST(X'%x' AS TEXT), -1, X'%x', 1);", root.Sum(), b)
	}
	fmt.Fprintf(&sql, `INSERT INTO checkpt_v2 (value) VALUES ('{"version":1,"rootref":"%s","sequence":4,"timestamp":1700000000.5}'); COMMIT;`, root)
	path := filepath.Join(t.TempDir(), "content.sqlite")
	exec1(t, path, sql.String())
	return path
}

func dirOf(entries string) []byte { return []byte(`{"data":{` + entries + `},"type":"dir","ver":1}`) }

func refOf(b []byte) string { return treeobj.Hash(treeobj.SHA1, b).String() }

// TestBrowseOddTrees is about what a tree may contain: links, odd names, directories within directories, and entries that are no good.
func TestBrowseOddTrees(t *testing.T) {
	link := func(target string) string { return `{"data":{"target":"` + target + `"},"type":"symlink","ver":1}` }
	val := `{"data":"eA==","type":"val","ver":1}`
	cut := []byte(`{"data":{"good":` + val + `,"bad":{"data":"e`)
	path := small(t, cut, dirOf(`"a":`+link("b.c")+`,"b":{"data":{"c":`+val+`,"self":`+link("b")+`},"type":"dir","ver":1},`+
		`"loop1":`+link("loop2")+`,"loop2":`+link("loop1")+`,"ns":{"data":{"target":"x","namespace":"job-1"},"type":"symlink","ver":1},`+
		`"p":{"data":{"target":"b.c","namespace":"primary"},"type":"symlink","ver":1},"x.y":`+val+`,"q\"\n":`+val+`,"fA":`+val+`,`+
		`"cut":{"data":["`+refOf(cut)+`"],"type":"dirref","ver":1},"odd":{"data":5,"type":"val","ver":1},"up":`+link(".")))
	v := browse(t, path)
	ctx := context.Background()
	for _, c := range []struct {
		cwd  []string
		text string
		want string // what reading it gives, or the path of a directory, or "!" and a part of the error
	}{
		{text: "a", want: "x"}, {text: "b.c", want: "x"}, {text: "b.self.self.c", want: "x"}, {text: "up.up.b.c", want: "x"}, {text: "p", want: "x"},
		{text: "b.self", want: "b"}, {text: "loop1", want: "!10 links"}, {text: "ns", want: `!namespace "job-1"`}, {text: "a.x", want: "!is a value"},
		{text: `"x.y"`, want: "x"}, {text: `"q\"\n"`, want: "x"}, {text: "nope", want: "!no such key"}, {text: "cut.good", want: "x"},
		{text: "cut.other", want: "!part of its directory"}, {text: "odd", want: "!malformed"}, {text: ".", want: ""}, {text: "/", want: ""}, {text: "b.", want: "b"},
		{cwd: []string{"b"}, text: "c", want: "x"}, {cwd: []string{"b"}, text: "/b.c", want: "x"}, {cwd: []string{"b"}, text: "..", want: ""}, {text: "..", want: ""},
		{text: "fA", want: "x"}, {text: "fB", want: "!no such key"}, {text: "ƒB.eventlog", want: "!no such key"}, {text: "a..b", want: "!empty name"},
	} {
		got := func() string {
			path, err := v.Resolve(ctx, c.cwd, c.text)
			if err != nil {
				return "!" + err.Error()
			}
			n, err := v.Lookup(ctx, path, true)
			if err != nil {
				return "!" + err.Error()
			}
			if n.Dir {
				return v.Format(n.Path)
			}
			var b bytes.Buffer
			if err := v.Read(ctx, n, -1, &b); err != nil {
				return "!" + err.Error()
			}
			return b.String()
		}()
		if got != c.want && !(strings.HasPrefix(c.want, "!") && strings.HasPrefix(got, "!") && strings.Contains(got, c.want[1:])) {
			t.Errorf("%v %q: %q, want %q", c.cwd, c.text, got, c.want)
		}
	}
	bad := inspect(t, v)
	if got := keysOf(bad); !slices.Equal(got, []string{"cut", "cut.bad", "odd"}) {
		t.Errorf("trouble: %v", bad)
	}
	if _, err := v.Lookup(ctx, []string{"nope"}, true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	job, err := v.Resolve(ctx, []string{"b"}, "ƒzzz.R")
	if err != nil || len(job) != 6 || job[0] != "job" || job[5] != "R" {
		t.Errorf("a job id is %q, %v", job, err)
	}
}

// TestBrowseUse switches between trees; one that cannot be read leaves the old one.
func TestBrowseUse(t *testing.T) {
	old := dirOf(`"a":{"data":"MQ==","type":"val","ver":1}`)
	path := small(t, []byte("no directory"), old, dirOf(`"a":{"data":"Mg==","type":"val","ver":1}`))
	exec1(t, path, `INSERT INTO checkpt_v2 (id, value) VALUES (9, 'junk'), (8, '{"version":1,"rootref":"`+refOf([]byte("no directory"))+`","sequence":7}')`)
	v := browse(t, path)
	read := func() string {
		var b bytes.Buffer
		n, err := v.Lookup(context.Background(), []string{"a"}, true)
		if err == nil {
			err = v.Read(context.Background(), n, 0, &b)
		}
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got := read(); got != "2" || len(v.Notes()) != 1 || !strings.Contains(v.Notes()[0], "checkpt_v2 row 1, not the newest") {
		t.Errorf("%s, %q", got, v.Notes())
	}
	for _, c := range []struct{ use, want, err string }{
		{refOf(old), "1", ""}, {"8", "1", "no directory"}, {"7", "1", "no directory"}, {"9", "1", "no checkpoint"}, {"1", "2", ""}, {"4", "2", ""},
		{"sha1-0000000000000000000000000000000000000000", "2", "no such row"}, {"x", "2", "no checkpoint"},
	} {
		_, err := command(t, v, "use", c.use)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("use %s: %v", c.use, err)
		}
		if got := read(); got != c.want {
			t.Errorf("after use %s: %s", c.use, got)
		}
	}
	out, err := command(t, v, "checkpoints", "-a")
	for _, want := range []string{"  9 ", "malformed: ", "  8      7 ", "the blob is no directory", "* 1      4        2023-11-14 22:13:20Z"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%q is not in %s (%v)", want, out, err)
		}
	}
}

// TestBrowseDeep is about a tree that is deeper than anybody needs: looking into it works, and a dump says what it left out.
func TestBrowseDeep(t *testing.T) {
	const levels = 1500
	blobs := [][]byte{dirOf(`"v":{"data":"eA==","type":"val","ver":1}`)}
	for range levels {
		below := blobs[len(blobs)-1]
		blobs = append(blobs, dirOf(`"d":{"data":["`+refOf(below)+`"],"type":"dirref","ver":1},"v":{"data":"eQ==","type":"val","ver":1}`))
	}
	v := browse(t, small(t, blobs...))
	path := append(strings.Split(strings.TrimSuffix(strings.Repeat("d.", levels), "."), "."), "v")
	n, err := v.Lookup(context.Background(), path, true)
	if err != nil || n.Size != 1 {
		t.Fatalf("%+v, %v", n, err)
	}
	out, err := command(t, v, "dump", filepath.Join(t.TempDir(), "deep.tar"))
	if !errors.Is(err, store.ErrPartial) || !strings.Contains(out, "1001 keys in ") || !strings.Contains(out, "levels deep") {
		t.Errorf("%s, %v", out, err)
	}
}
