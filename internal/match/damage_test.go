package match

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"fettle/internal/claim"
)

// spilledRun makes a run of n claims on disk and returns its mark.
func spilledRun(t fataler, dir string, n int, id func(i int) uint64, partitions int) Mark {
	t.Helper()
	m, w := newMatch(t, Options{Dir: dir, Memory: MinMemory, Partitions: partitions})
	for i := range n {
		mustAdd(t, w, numbered(id(i), uint64(i)))
	}
	k := checkpoint(t, m)
	if err := m.Suspend(); err != nil {
		t.Fatalf("%v", err)
	}
	return k
}

// TestEveryFlippedByteIsFound changes one byte anywhere in a file, or cuts or swaps
// files, and wants an error that names the file; in loaded, split and hot files.
func TestEveryFlippedByteIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		n  int
		id func(int) uint64
	}{
		"loaded": {2000, func(i int) uint64 { return uint64(i) }},
		"split":  {20000, func(i int) uint64 { return uint64(i) }},
		"hot":    {20000, func(i int) uint64 { return 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mark := spilledRun(t, dir, c.n, c.id, 1)
			path := filepath.Join(dir, partitionName(0))
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			rapid.Check(t, func(t *rapid.T) {
				bad := append([]byte(nil), good...)
				at := rapid.IntRange(0, len(bad)-1).Draw(t, "at")
				bad[at] ^= rapid.ByteRange(1, 255).Draw(t, "flip")
				wantCorrupt(t, dir, path, bad, mark)
			})
		})
	}
}

func wantCorrupt(t fataler, dir, path string, data []byte, mark Mark) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	m, err := Resume(Options{Dir: dir, Memory: MinMemory}, mark)
	if err == nil {
		err = m.Groups(context.Background(), Pass{}, newCollector().group)
		if err := m.Suspend(); err != nil {
			t.Fatalf("%v", err)
		}
	}
	var c *CorruptError
	if !errors.As(err, &c) || c.Path != path || c.Offset > int64(len(data)) {
		t.Fatalf("got %v, want damage in %s", err, path)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, splitPrefix+"*")); len(names) > 0 {
		t.Fatalf("split files are left: %v", names)
	}
}

func TestMisplacedBlocks(t *testing.T) {
	dir := t.TempDir()
	mark := spilledRun(t, dir, 4000, func(i int) uint64 { return uint64(i) }, 2)
	one, two := filepath.Join(dir, partitionName(0)), filepath.Join(dir, partitionName(1))
	a, err := os.ReadFile(one)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(two)
	if err != nil {
		t.Fatal(err)
	}
	n := min(len(a), len(b))
	t.Run("of another partition", func(t *testing.T) { wantCorrupt(t, dir, one, append(b[:n:n], a[n:]...), mark) })
	t.Run("cut at the mark's end", func(t *testing.T) { wantCorrupt(t, dir, one, a[:len(a)-1], mark) })
	t.Run("empty", func(t *testing.T) { wantCorrupt(t, dir, one, nil, mark) })
	s := &spillFile{path: one, size: int64(len(a))}
	payload, _, _, err := s.parse(a, 0)
	if err != nil {
		t.Fatal(err)
	}
	first := blockHeader + len(payload)
	t.Run("moved within the file", func(t *testing.T) {
		wantCorrupt(t, dir, one, append(append([]byte(nil), a[first:]...), a[:first]...), mark)
	})
	t.Run("counts that do not add up", func(t *testing.T) {
		k := jsonMark(t, mark)
		k.Partitions[0].Claims--
		wantCorrupt(t, dir, one, a, k)
	})
}

// failing is a spill file whose disk has only so much room, for all files together.
type failing struct {
	file
	room *int64
	err  error
}

func (f failing) WriteAt(b []byte, off int64) (int, error) {
	if *f.room -= int64(len(b)); *f.room < 0 {
		n, _ := f.file.WriteAt(b[:len(b)/2], off)
		return n, &fs.PathError{Op: "write", Path: "?", Err: f.err}
	}
	return f.file.WriteAt(b, off)
}

func (f failing) Sync() error {
	if *f.room < 0 {
		return f.err
	}
	return f.file.Sync()
}

func withRoom(m *Matcher, room int64) {
	m.open = func(path string, create bool) (file, error) {
		f, err := openOSFile(path, create)
		return failing{f, &room, syscall.ENOSPC}, err
	}
}

func TestDiskFull(t *testing.T) {
	t.Run("adding", func(t *testing.T) {
		dir := t.TempDir()
		m, w := newMatch(t, Options{Dir: dir, Memory: MinMemory})
		withRoom(m, 600<<10)
		var err error
		for i := range uint64(1e6) {
			if err = w.Add(numbered(i, i)); err != nil {
				break
			}
		}
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "hint") {
			t.Errorf("error %v", err)
		}
		if _, err := m.Checkpoint(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("checkpoint after it: %v", err)
		}
		if err := m.Groups(context.Background(), Pass{}, func(Group) error { return nil }); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("groups after it: %v", err)
		}
		mustClose(t, m)
		wantEmpty(t, dir)
	})
	t.Run("splitting", func(t *testing.T) {
		dir := t.TempDir()
		mark := spilledRun(t, dir, 20000, func(i int) uint64 { return uint64(i) }, 1)
		m, err := Resume(Options{Dir: dir, Memory: MinMemory}, mark)
		if err != nil {
			t.Fatal(err)
		}
		withRoom(m, 300<<10)
		err = m.Groups(context.Background(), Pass{}, func(Group) error { return nil })
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), dir) {
			t.Errorf("error %v", err)
		}
		withRoom(m, 1<<40) // room again: nothing was lost
		if k := collect(t, m, Pass{}); len(k.subjects) != 20000 {
			t.Errorf("%d subjects", len(k.subjects))
		}
		mustClose(t, m)
		wantEmpty(t, dir)
	})
}

func TestDirectoryIsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Dir: path}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
}

// FuzzSpillFile reads arbitrary bytes as a spill file, as they are and as the
// payload of a block with a right checksum. Reading must end in claims or in a
// *CorruptError.
func FuzzSpillFile(f *testing.F) {
	c := numbered(1, 2)
	enc, err := c.AppendTo(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(enc, uint32(1))
	f.Add(append(enc, enc...), uint32(2))
	f.Add([]byte(blockMagic+"\x03\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), uint32(1))
	f.Add([]byte{}, uint32(0))
	f.Fuzz(func(t *testing.T, data []byte, claims uint32) {
		if len(data) > maxBlock-blockHeader {
			return
		}
		s := &spillFile{path: "fuzz", f: memFile(data), size: int64(len(data)), claims: int64(claims)}
		readBoth(t, s)
		if len(data) < claim.MinEncoded {
			return
		}
		b := block{buf: append(make([]byte, blockHeader), data...), claims: claims}
		framed := make(memFile, len(b.buf))
		s = &spillFile{path: "fuzz", f: framed}
		if err := s.append(&b); err != nil {
			t.Fatal(err)
		}
		readBoth(t, s)
	})
}

// readBoth reads s as a stream and as a leaf; both must agree on the outcome.
func readBoth(t *testing.T, s *spillFile) {
	n := int64(0)
	streamed := s.each(make([]byte, windowSize), func(claim.Subject, []byte) error { n++; return nil })
	m, err := newMatcher(Options{Memory: MinMemory, Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	k := newCollector()
	w := &worker{run: &run{m: m, ctx: context.Background(), fn: k.group}, share: m.plan.shareOut(1)}
	s.claims = min(s.claims, s.size) // what Mark.check guarantees
	loaded := w.loaded(s, keyRange{hi: ^uint64(0)})
	var c *CorruptError
	if streamed != nil && !errors.As(streamed, &c) {
		t.Fatalf("stream: %v", streamed)
	}
	if streamed == nil && n != s.claims {
		t.Fatalf("stream: %d claims of %d", n, s.claims)
	}
	if streamed != nil && loaded == nil && s.size > 0 {
		t.Fatalf("stream says %v, leaf finds nothing wrong", streamed)
	}
}

// memFile is a file in memory, of fixed size.
type memFile []byte

func (f memFile) ReadAt(b []byte, off int64) (int, error) {
	n := copy(b, f[off:])
	if n < len(b) {
		return n, fs.ErrInvalid
	}
	return n, nil
}
func (f memFile) WriteAt(b []byte, off int64) (int, error) { return copy(f[off:], b), nil }
func (f memFile) Truncate(int64) error                     { return nil }
func (f memFile) Sync() error                              { return nil }
func (f memFile) Close() error                             { return nil }
