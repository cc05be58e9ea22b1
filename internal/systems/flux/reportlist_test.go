package flux

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestListDeepDamage names a damaged key under very many directories, and damage in each of them: neither the work nor
// what is kept may grow with the square of the depth.
func TestListDeepDamage(t *testing.T) {
	const levels = 50000
	s := newSeed(t)
	at := s.put(s.dirText("bad", s.valref(s.lose("lost"))))
	for range levels {
		at = s.put(s.dirText("d", s.dirref(at)))
	}
	s.checkpoint(at)
	b := newBench(t)
	s.build(b.path)
	fs := b.check()
	if len(fs) != 1 || fs[0].PathOr("") != strings.Repeat("d.", levels)+"bad" {
		t.Fatalf("%d findings, want the one key with its whole path", len(fs))
	}
}

// TestListBudget finds damage at each level of a deep tree and leaves out paths once they are too long together, and says so.
func TestListBudget(t *testing.T) {
	const levels = 13000 // the paths have 2*levels*levels/2 bytes
	s := newSeed(t)
	lost := s.valref(s.lose("lost"))
	at := s.put(s.dirText("bad", lost))
	for range levels {
		at = s.put(s.dirText("bad", lost, "d", s.dirref(at)))
	}
	s.checkpoint(at)
	b := newBench(t)
	s.build(b.path)
	u, done := b.open()
	defer done()
	env := &findingEnv{quietEnv: quietEnv{dir: t.TempDir(), workers: 2}}
	for _, p := range u.Passes() {
		if err := p.Run(context.Background(), env); err != nil {
			t.Fatal(err)
		}
	}
	size := 0
	for i := range env.found {
		size += len(env.found[i].PathOr(""))
	}
	if n := len(env.found); n < 1000 || n >= levels || size > maxLongPaths+longPath*longPath {
		t.Errorf("%d findings with %d bytes of path", n, size)
	}
	if !slices.ContainsFunc(env.notes, func(n string) bool { return strings.Contains(n, "not listed") }) {
		t.Errorf("nothing is said about the rest: %q", env.notes)
	}
}

// TestOddNames repairs entries whose names Flux cannot read: what is kept of them gets a name that it can.
func TestOddNames(t *testing.T) {
	s := newSeed(t)
	lost := s.valref(s.lose("lost"))
	s.checkpoint(s.put(s.dirText("in", s.dir(`\u0000nul`, lost, "good", s.val("x")), "\x1b[31m", lost)))
	b := newBench(t)
	s.build(b.path)
	if fs := b.repaired(); len(fs) != 2 {
		t.Fatalf("found %q", briefs(fs))
	}
	if fs := b.check(); len(fs) != 0 {
		t.Errorf("after the repair: %q", briefs(fs))
	}
}

// TestRecognizeFIFO does not wait for a writer.
func TestRecognizeFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	if ok, err := (System{}).Recognize(path); ok || err != nil {
		t.Errorf("a FIFO is recognised: %v, %v", ok, err)
	}
}
