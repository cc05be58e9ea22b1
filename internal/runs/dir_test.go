package runs

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fettle/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testDir(t testing.TB) *Dir {
	t.Helper()
	d, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func testRun(t testing.TB, d *Dir, id string) *Run {
	t.Helper()
	r, err := d.New(Spec{ID: id, Store: "s", System: "fake"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDefaultDir(t *testing.T) {
	for _, c := range []struct{ state, xdg, home, want string }{
		{"/a", "/b", "/c", "/a"},
		{"", "/b", "/c", "/b/fettle"},
		{"", "relative", "/c", "/c/.local/state/fettle"},
		{"", "", "/c", "/c/.local/state/fettle"},
	} {
		t.Setenv("FETTLE_STATE_DIR", c.state)
		t.Setenv("XDG_STATE_HOME", c.xdg)
		t.Setenv("HOME", c.home)
		if got, err := DefaultDir(); got != c.want || err != nil {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
	t.Setenv("HOME", "")
	got, err := DefaultDir()
	if os.Geteuid() == 0 {
		if got != "/var/lib/fettle" || err != nil {
			t.Errorf("root without a home: %q, %v", got, err)
		}
	} else if len(fault.Hints(err)) == 0 {
		t.Errorf("no home: %q, %v", got, err)
	}
}

func TestLocationOfASystemAloneHasNoPaths(t *testing.T) {
	if loc := (Spec{Store: "devmapper:", System: "devmapper"}).Location(); len(loc.Paths) != 0 || loc.Text != "devmapper:" || loc.System != "devmapper" {
		t.Errorf("the place of this machine becomes %+v", loc)
	}
}

func TestNewWritesASpecThatIsFoundAgain(t *testing.T) {
	d := testDir(t)
	if _, err := os.Stat(d.Path()); !os.IsNotExist(err) {
		t.Fatal("Open created the directory")
	}
	r, err := d.New(Spec{Store: "flux:x", System: "flux", Version: "v1", Settings: map[string]string{"a": "b"}, Skip: []string{"job.*"}})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(d.Path()); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if !idPattern.MatchString(r.ID()) || len(r.ID()) != 19 {
		t.Errorf("id %q", r.ID())
	}
	again, err := d.Find(r.ID())
	if err != nil {
		t.Fatal(err)
	}
	s := again.Spec()
	if s.Type != "run" || s.Schema != Schema || s.Host == "" || s.Cwd == "" || len(s.Argv) == 0 || time.Since(s.Started) > time.Hour ||
		s.Options().Settings["a"] != "b" || s.Options().Skip[0] != "job.*" || s.Location().Paths[0] != "flux:x" {
		t.Errorf("spec %+v", s)
	}
	if st, err := again.Status(); err != nil || st.State != Running || st.PID != os.Getpid() {
		t.Errorf("status %+v, %v", st, err)
	}
	if _, err := again.Summary(); len(fault.Hints(err)) == 0 {
		t.Errorf("summary of a running check: %v", err)
	}
	if _, err := d.New(Spec{ID: "../evil"}); err == nil {
		t.Error("an id that leaves the directory is accepted")
	}
	if _, err := d.New(Spec{ID: r.ID()}); err == nil {
		t.Error("an id is given twice")
	}
}

func TestFindAndList(t *testing.T) {
	d := testDir(t)
	if all, err := d.List(); len(all) != 0 || err != nil {
		t.Errorf("%v, %v", all, err)
	}
	at := func(s string) time.Time { t, _ := time.Parse("20060102-150405", s); return t }
	for _, id := range []string{"20261121-045412-k3f", "20261121-045413-abc", "20261120-000000-xyz"} {
		if _, err := d.New(Spec{ID: id, Started: at(id[:15])}); err != nil {
			t.Fatal(err)
		}
	}
	// A run with a broken spec, one without any file, and things that are no runs.
	broken := filepath.Join(d.Path(), "20261122-000000-bad")
	for _, p := range []string{broken, filepath.Join(d.Path(), "20261119-000000-nil"), filepath.Join(d.Path(), "lost+found")} {
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(broken, SpecFile), []byte("{\"type\":"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range all {
		ids = append(ids, r.ID()[12:])
		if (r.Broken() != nil) != (strings.HasSuffix(r.ID(), "bad") || strings.HasSuffix(r.ID(), "nil")) {
			t.Errorf("%s: %v", r.ID(), r.Broken())
		}
	}
	if got := strings.Join(ids, " "); got != "000-bad 413-abc 412-k3f 000-xyz 000-nil" {
		t.Errorf("listed %s", got)
	}
	for name, want := range map[string]string{
		"20261121-045412-k3f": "20261121-045412-k3f", "k3f": "20261121-045412-k3f", "20261120": "20261120-000000-xyz",
		"last": "20261121-045413-abc", "bad": "20261122-000000-bad",
		filepath.Join(d.Path(), "20261120-000000-xyz"): "20261120-000000-xyz",
	} {
		if r, err := d.Find(name); err != nil || r.ID() != want {
			t.Errorf("Find(%q): %v", name, err)
		}
	}
	for _, name := range []string{"", "202611", "nobody", "045412", "/nonexistent/run", "..", broken} {
		if r, err := d.Find(name); err == nil || fault.KindOf(err) != fault.Usage || len(fault.Hints(err)) == 0 {
			t.Errorf("Find(%q): %v, %v", name, r, err)
		}
	}
	t.Chdir(t.TempDir())
	copied := "case-4711" // a run somebody sent
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(d.Path(), "20261121-045412-k3f"))); err != nil {
		t.Fatal(err)
	}
	r, err := d.Find(copied)
	if err != nil || r.ID() != "20261121-045412-k3f" {
		t.Errorf("a copy: %v", err)
	}
	if err := d.Remove(r); fault.KindOf(err) != fault.Usage {
		t.Errorf("a copy kept elsewhere is removed: %v", err)
	}
}

func TestRemove(t *testing.T) {
	d := testDir(t)
	r := testRun(t, d, "")
	other, err := d.Find(r.ID())
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := other.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(r); err == nil {
		t.Error("a run at work was removed")
	}
	unlock()
	if err := d.Remove(r); err != nil {
		t.Error(err)
	}
	if _, err := d.Find(r.ID()); err == nil {
		t.Error("the run is still there")
	}
	bad := filepath.Join(d.Path(), "20261122-000000-bad")
	if err := os.Mkdir(bad, 0o700); err != nil {
		t.Fatal(err)
	}
	if b, err := d.Find("bad"); err != nil || d.Remove(b) != nil {
		t.Errorf("a broken run cannot be removed: %v", err)
	}
}

func TestBrokenSpecs(t *testing.T) {
	d := testDir(t)
	for name, spec := range map[string]any{
		"newer":    Spec{Type: "run", ID: "x", Schema: Schema + 1},
		"not ours": map[string]string{"type": "package"},
		"array":    []int{1},
	} {
		r := testRun(t, d, "")
		if err := r.WriteJSON(SpecFile, spec); err != nil {
			t.Fatal(err)
		}
		if again, err := d.Find(r.ID()); err != nil || again.Broken() == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWriteJSONLeavesNothingBehind(t *testing.T) {
	r := testRun(t, testDir(t), "")
	if err := r.WriteJSON("x.json", make(chan int)); err == nil {
		t.Error("a channel was written")
	}
	if err := r.WriteJSON("x.json", json.RawMessage(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(r.Path(), func(p string, e fs.DirEntry, err error) error {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("left behind: %s", p)
		}
		if st, err2 := e.Info(); err2 != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v", p, st.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
