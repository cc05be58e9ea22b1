package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"fettle/internal/format/boltedit"
	"fettle/internal/store"
	"fettle/internal/systems/devmapper"
)

// devmapperMain is a fettle that knows the devmapper snapshotter only, for verbs that have to recognise a store.
func devmapperMain() {
	os.Exit(Main(Env{Systems: []store.System{devmapper.System{}}, Version: "v0.0.0-test", In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Args[1:]))
}

// scriptUnpack lays out one of the small sets of the devmapper snapshotter in testdata/devmapper: unpack healthy DIR. They were made by
// the lab with seed 1: two images of three layers, three containers, a pull under way. The damaged one has a left-over record, a leaked
// device, a lost id, two lost snapshots and a record in an unfinished state.
func scriptUnpack(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: unpack NAME DIR")
	}
	to := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(to, 0o700))
	ts.Check(unpackSet(args[0], to))
}

// testdata is the directory with sets; scripts run elsewhere.
var testdata = func() string {
	dir, err := filepath.Abs("testdata")
	if err != nil {
		panic(err)
	}
	return dir
}()

func unpackSet(name, to string) error {
	names, err := filepath.Glob(filepath.Join(testdata, "devmapper", name, "*.zst"))
	if err != nil {
		return err
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		return err
	}
	defer dec.Close()
	for _, n := range names {
		packed, err := os.ReadFile(n)
		if err != nil {
			return err
		}
		raw, err := dec.DecodeAll(packed, nil)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, strings.TrimSuffix(filepath.Base(n), ".zst")), raw, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// scriptSpoil overwrites bytes of a file with 0xff: spoil FILE OFFSET LENGTH
func scriptSpoil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: spoil FILE OFFSET LENGTH")
	}
	at, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xff}, n), at)
	ts.Check(err)
	ts.Check(f.Close())
}

// Metadata that somebody uses is not read, and what was stopped leaves nothing behind.
func TestRewriteRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := unpackSet("healthy", dir); err != nil {
		t.Fatal(err)
	}
	from, to := filepath.Join(dir, "thin.meta"), filepath.Join(dir, "new.meta")
	run := func(ctx context.Context, from string) (int, string) {
		var out bytes.Buffer
		a := New(Env{Out: &out, Err: &out})
		a.root.SetArgs([]string{"devmapper", "rewrite", from, to})
		err := a.root.ExecuteContext(ctx)
		a.complain(err)
		if _, serr := os.Lstat(to); serr == nil {
			t.Errorf("%s is left", to)
		}
		return exitOfError(err), out.String()
	}
	unlock, err := boltedit.Lock(from)
	if err != nil {
		t.Fatal(err)
	}
	if code, out := run(t.Context(), from); code != exitError || !strings.Contains(out, "it is in use: process") {
		t.Errorf("in use: %d %s", code, out)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if code, out := run(stopped, from); code != exitCancelled {
		t.Errorf("stopped: %d %s", code, out)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, odd := range []string{fifo, "/dev/null", dir, filepath.Join(dir, "nothing")} {
		if code, out := run(t.Context(), odd); code != exitError {
			t.Errorf("%s: %d %s", odd, code, out)
		}
	}
	if err := os.WriteFile(fifo+"2", []byte("<superblock uuid=\"\" time=\"1\""), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := run(t.Context(), fifo+"2"); code != exitError || !strings.Contains(out, "XML that ends early") {
		t.Errorf("half an XML: %d %s", code, out)
	}
}

func TestUsedBy(t *testing.T) {
	image := func(name string, top bool) devmapper.ImageUse {
		return devmapper.ImageUse{Namespace: "n", Name: name, Top: top}
	}
	for _, c := range []struct {
		row  devmapper.Row
		want string
	}{
		{devmapper.Row{}, "-"},
		{devmapper.Row{Leaked: true}, "leaked"},
		{devmapper.Row{Containers: []devmapper.ContainerUse{{ID: "a"}, {ID: "b"}}}, "a, b"},
		{devmapper.Row{Images: []devmapper.ImageUse{image("x", true)}}, "x"},
		{devmapper.Row{Images: []devmapper.ImageUse{image("x", true), image("y", true), image("z", true)}}, "x, 2 more images"},
		{devmapper.Row{Images: []devmapper.ImageUse{image("x", false)}}, "layer of x"},
		{devmapper.Row{Images: []devmapper.ImageUse{image("x", false), image("y", false)}, Below: 3}, "layer of 2 images, 3 containers above"},
		{devmapper.Row{Images: []devmapper.ImageUse{image("x", true), image("y", false)}, Leases: []string{"l"}}, "x, layer of 1 image, lease l"},
	} {
		if got := usedBy(&c.row, whole); got != c.want {
			t.Errorf("%+v: %q, want %q", c.row, got, c.want)
		}
	}
}

// Names from a store cannot act on the terminal, and the table stays in its lines.
func TestRowsAreHarmless(t *testing.T) {
	var out bytes.Buffer
	a := New(Env{Out: &out, Err: &out})
	evil := "x\x1b[2J\n\u202e" + strings.Repeat("long", 400)
	id := uint32(1 << 31)
	inv := &devmapper.Inventory{Rows: []devmapper.Row{{What: devmapper.RowSnapshot, Device: evil, State: evil[:1], Namespace: evil, Key: evil, Backend: evil, Parent: evil,
		DeviceID: &id, Containers: []devmapper.ContainerUse{{Namespace: evil, ID: evil, Image: evil}}, Leases: []string{evil}, Up: -1}}}
	a.shortRows(inv, []int{0})
	for _, l := range strings.Split(out.String(), "\n") {
		if len([]rune(l)) > tableWidth {
			t.Errorf("%d columns: %q", len([]rune(l)), l)
		}
	}
	a.wideRows(inv, []int{0})
	a.shortList(inv, []int{0}, 1)
	if strings.ContainsAny(out.String(), "\x1b\u202e") || strings.Count(out.String(), "\n") != 5 {
		t.Errorf("%q", out.String())
	}
}
