package wholefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/fault"
	"fettle/internal/store"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bench is a file in a directory and a shelf for it.
type bench struct {
	t     *testing.T
	dir   string
	file  string
	shelf Shelf
}

func newBench(t *testing.T, beside bool) *bench {
	b := &bench{t: t, dir: t.TempDir()}
	b.file = filepath.Join(b.dir, "data.db")
	b.shelf.Work = t.TempDir()
	if beside {
		b.shelf.Beside = []string{b.file}
	}
	b.write(b.file, "old")
	return b
}

func (b *bench) write(path, content string) {
	b.t.Helper()
	must(b.t, os.WriteFile(path, []byte(content), 0o600))
}

// is checks the file ("-" for none) and what else lies in its directory.
func (b *bench) is(want string, others int) {
	b.t.Helper()
	got, err := os.ReadFile(b.file)
	if errors.Is(err, os.ErrNotExist) {
		got, err = []byte("-"), nil
	}
	must(b.t, err)
	all, err := os.ReadDir(b.dir)
	must(b.t, err)
	n := len(all)
	if string(got) != "-" {
		n--
	}
	if string(got) != want || n != others {
		b.t.Errorf("the file is %q and %d others are there: %v; want %q and %d", got, n, all, want, others)
	}
}

// build makes a new file and the change that swaps it in.
func (b *bench) build(content string) store.Change {
	b.t.Helper()
	tmp := b.file + ".build"
	if len(b.shelf.Beside) == 0 {
		tmp = filepath.Join(b.shelf.Work, "build")
	}
	b.write(tmp, content)
	before, err := Read(b.file)
	must(b.t, err)
	r, err := b.shelf.AdoptBuilt(tmp, b.file)
	must(b.t, err)
	return store.Change{Addr: "file", Before: before, After: r.Bytes()}
}

func (b *bench) place(c store.Change) {
	b.t.Helper()
	for range 2 { // as after a crash: again
		must(b.t, b.shelf.Place(b.file, c))
		if got, err := Read(b.file); err != nil || string(got) != string(c.After) {
			b.t.Errorf("the record is %s, %v; want %s", got, err, c.After)
		}
	}
}

func TestRecord(t *testing.T) {
	b := newBench(t, false)
	got, err := Read(b.file)
	must(t, err)
	const want = `{"size":3,"sha256":"5e6dddeb`
	if !strings.HasPrefix(string(got), `{"size":3,"sha256":"`) {
		t.Errorf("%s, want %s", got, want)
	}
	r, err := Parse(got)
	must(t, err)
	if string(r.Bytes()) != string(got) {
		t.Errorf("%s becomes %s", got, r.Bytes())
	}
	if got, err := Read(b.file + "2"); got != nil || err != nil {
		t.Errorf("no file: %s, %v", got, err)
	}
	sum := strings.Repeat("0", 64)
	for _, bad := range []string{"", "x", "{}", `{"size":-1,"sha256":"` + sum + `"}`, `{"size":1,"sha256":"../../../` + sum[:55] + `"}`, `{"size":1,"sha256":"` + sum[1:] + `"}`} {
		if _, err := Parse(store.Bytes(bad)); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

// A built file goes in, comes out without a trace, and can be built and put in again.
func TestSwap(t *testing.T) {
	b := newBench(t, true)
	c := b.build("new")
	b.is("old", 1)
	b.place(c)
	b.is("new", 1)
	b.place(c.Inverse())
	b.is("old", 0)
	c = b.build("new")
	b.place(c)
	b.is("new", 1)
	b.place(c.Inverse())
	b.is("old", 0)
}

// An undo after an apply that was cut off before the swap leaves nothing behind.
func TestSwapCutOff(t *testing.T) {
	b := newBench(t, true)
	c := b.build("new")
	b.place(c.Inverse())
	b.is("old", 0)

	c = b.build("new")
	must(t, b.shelf.keepPresent(b.file, c.Before)) // cut off when the old content was kept
	b.is("old", 2)
	b.place(c)
	b.is("new", 1)
}

// Where there was no file a built one appears and goes again.
func TestSwapFromNothing(t *testing.T) {
	b := newBench(t, true)
	must(t, os.Remove(b.file))
	c := b.build("new")
	b.place(c)
	b.is("new", 0)
	b.place(c.Inverse())
	b.is("-", 0)
}

// A small file is taken away and comes back from the work directory.
func TestTakeAway(t *testing.T) {
	b := newBench(t, false)
	must(t, os.Chmod(b.file, 0o640))
	r, err := b.shelf.Keep(b.file)
	must(t, err)
	again, err := b.shelf.Keep(b.file)
	must(t, err)
	if again != r {
		t.Errorf("%v, then %v", r, again)
	}
	c := store.Change{Addr: "file", Before: r.Bytes()}
	b.place(c)
	b.is("-", 0)
	b.place(c.Inverse())
	b.is("old", 0)
	if fi, err := os.Stat(b.file); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", fi, err)
	}
}

// A change says what is there. When something else is there, it is not kept under a wrong name.
func TestOtherContent(t *testing.T) {
	b := newBench(t, true)
	c := b.build("new")
	b.write(b.file, "other")
	must(t, b.shelf.Place(b.file, c))
	b.is("new", 0)
}

// Kept content that somebody has deleted is asked for by name, and what is in place stays.
func TestKeptContentIsGone(t *testing.T) {
	for _, beside := range []bool{true, false} {
		b := newBench(t, beside)
		c := b.build("new")
		b.place(c)
		r, err := Parse(c.Before)
		must(t, err)
		must(t, os.Remove(b.shelf.Path(r, b.file)))
		err = b.shelf.Place(b.file, c.Inverse())
		var f *fault.Error
		if !errors.As(err, &f) || f.Hint == "" || !strings.Contains(err.Error(), b.shelf.Path(r, b.file)) {
			t.Errorf("beside %v: %v", beside, err)
		}
		b.is("new", 0)
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	b := newBench(t, false)
	victim := filepath.Join(t.TempDir(), "victim")
	b.write(victim, "precious")
	to := filepath.Join(b.dir, "copy")
	must(t, os.Symlink(victim, to+".part"))
	must(t, Copy(b.file, to))
	must(t, os.Symlink(victim, b.file+".fettle-new"))
	r, err := b.shelf.Keep(b.file)
	must(t, err)
	must(t, os.Remove(b.file))
	must(t, b.shelf.Place(b.file, store.Change{After: r.Bytes()}))
	if got, _ := os.ReadFile(victim); string(got) != "precious" {
		t.Errorf("written through a link: %q", got)
	}
	if !Same(to, b.file) || Same(to, victim) || Same(to, to+"2") {
		t.Error("Same")
	}
}

func TestBuiltTakesModeOver(t *testing.T) {
	b := newBench(t, true)
	must(t, os.Chmod(b.file, 0o604))
	b.place(b.build("new"))
	if fi, err := os.Stat(b.file); err != nil || fi.Mode().Perm() != 0o604 {
		t.Errorf("%v, %v", fi, err)
	}
}
