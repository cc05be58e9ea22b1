package lustre

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"fettle/internal/fault"
	"fettle/internal/repair"
	"fettle/internal/store"
	"fettle/internal/systems/lustre/lustrelab"
)

// wreckage is a pair of images that is damaged and made whole again.
type wreckage struct {
	m      *matrix
	blocks []wreckBlock // blocks that something is read from
}

type wreckBlock struct {
	mdt int
	at  int64
}

func newWreckage(t testing.TB, o lustrelab.Options) *wreckage {
	o = smallPair(o)
	o.Files, o.Dirs, o.BigDir = 16, 5, 90 // as few as have one of each kind of record: an execution reads all of it several times
	made, err := lustrelab.Make(t.Context(), filepath.Join(t.TempDir(), "pair"), o)
	if err != nil {
		t.Fatal(err)
	}
	p := &patient{t: t, paths: made.Paths}
	p.u = openPaths(t, nil, made.Paths...).(*unit)
	p.w = newWorld(p.u)
	p.look()
	w := &wreckage{m: &matrix{patient: p}}
	for _, r := range dissect(p, 4) {
		if b := (wreckBlock{r.mdt, r.at / 4096 * 4096}); !slices.Contains(w.blocks, b) {
			w.blocks = append(w.blocks, b)
		}
	}
	return w
}

// wreck changes bytes. Each change is 7 bytes: number of the block, offset in it, what is done, a value.
func (w *wreckage) wreck(t *testing.T, edits []byte) (heal func()) {
	files := map[int]*os.File{}
	was := map[wreckBlock][]byte{}
	file := func(mdt int) *os.File {
		if files[mdt] == nil {
			f, err := os.OpenFile(w.m.paths[mdt], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			files[mdt] = f
		}
		return files[mdt]
	}
	write := func(b wreckBlock, data []byte) {
		if _, err := file(b.mdt).WriteAt(data, b.at); err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; len(edits) >= 7 && n < 64; n, edits = n+1, edits[7:] {
		b := w.blocks[int(binary.LittleEndian.Uint16(edits))%len(w.blocks)]
		buf := make([]byte, 4096)
		if _, err := file(b.mdt).ReadAt(buf, b.at); err != nil {
			t.Fatal(err)
		}
		if was[b] == nil {
			was[b] = slices.Clone(buf)
		}
		at := int(binary.LittleEndian.Uint16(edits[2:])) % 4092
		switch edits[4] % 4 {
		case 0:
			buf[at] = edits[5]
		case 1:
			copy(buf[at:], edits[5:7])
		case 2:
			clear(buf[at:min(at+int(edits[5]), 4096)])
		case 3: // bytes of another block
			other := w.blocks[(int(edits[5])|int(edits[6])<<8)%len(w.blocks)]
			if _, err := file(other.mdt).ReadAt(buf[at:], other.at+int64(at)); err != nil {
				t.Fatal(err)
			}
		}
		write(b, buf)
	}
	return func() {
		for b, data := range was {
			write(b, data)
		}
		for _, f := range files {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// roam walks what the shell shows, as far as a budget of nodes goes, and runs each command on what it meets.
func roam(ctx context.Context, u store.Unit, dir string, budget int) error {
	v, err := u.(store.Browser).Browse(ctx, store.BrowseEnv{Scratch: dir, Workers: 2, Memory: 64 << 20})
	if err != nil {
		return err
	}
	commands := v.Commands()
	var walk func(n store.Node, depth int) error
	walk = func(n store.Node, depth int) error {
		if budget--; budget < 0 || depth > 12 || ctx.Err() != nil {
			return ctx.Err()
		}
		text := v.Format(n.Path)
		if again, err := v.Resolve(ctx, nil, text); err != nil || !slices.Equal(again, n.Path) {
			return fmt.Errorf("path %q is shown as %q and understood as %q: %v", n.Path, text, again, err)
		}
		if strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("path %q is shown with control characters", text)
		}
		// What is damaged may be told by errors; only that they end well is of interest.
		_, _ = v.Stat(ctx, n)
		_ = v.Read(ctx, n, -1, &limited{room: 1 << 20})
		if c := commands[budget%len(commands)]; c.MinArgs <= 1 && c.MaxArgs != 0 {
			_ = c.Run(ctx, store.BrowseCall{Args: []string{text}, Out: io.Discard, Raw: io.Discard, Err: io.Discard})
		}
		if !n.Dir {
			return nil
		}
		below, _ := v.List(ctx, n, true)
		for i := range below[:min(len(below), 40)] {
			if err := walk(below[i], depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	root, err := v.Lookup(ctx, nil, true)
	if err != nil {
		return nil
	}
	return walk(root, 0)
}

// limited takes so many bytes.
type limited struct{ room int }

func (l *limited) Write(b []byte) (int, error) {
	if l.room -= len(b); l.room < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

// FuzzImages damages a pair of images anywhere, and checks, looks around and plans a repair: nothing panics, hangs, or ends with an
// error that is no refusal, and nothing but the images' own blocks is read.
func FuzzImages(f *testing.F) {
	w := newWreckage(f, lustrelab.Options{})
	f.Add([]byte{})
	f.Add([]byte{0, 0, 88, 4, 0, 1, 2})
	f.Add([]byte{9, 0, 12, 0, 0, 1, 2, 20, 0, 4, 0, 2, 200, 0, 30, 0, 0, 0, 3, 7, 0})
	f.Fuzz(func(t *testing.T, edits []byte) {
		defer w.wreck(t, edits)()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		fs, _, err := w.m.check(t)
		if refused, ok := errors.AsType[*fault.Error](err); ok && refused.Op == "open" {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		st, err := System{}.Open(ctx, store.Location{Paths: w.m.paths}, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		u := st.Units()[0]
		if crc32.ChecksumIEEE(edits)%8 == 0 { // as long as all the rest
			if err := roam(ctx, u, t.TempDir(), 100); err != nil {
				t.Errorf("look around: %v", err)
			}
		}
		if len(fs) == 0 || len(fs) > 200 {
			return
		}
		_, err = repair.Make(ctx, repair.MakeConfig{Run: "test", Store: "images", Units: []store.Planner{u.(store.Planner)}, Findings: repair.Slice(fs), WorkDir: repair.WorkDirs(t.TempDir())})
		if err != nil {
			t.Errorf("plan: %v", err)
		}
	})
}
