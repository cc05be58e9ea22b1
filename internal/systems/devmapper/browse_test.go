package devmapper

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"fettle/internal/store"
	"fettle/internal/systems/devmapper/dmlab"
)

// labSet makes a small healthy set.
func labSet(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "set")
	if _, err := dmlab.Make(t.Context(), dir, dmlab.Options{Seed: 5, Images: 2, Layers: 3, Containers: 3, BaseBlocks: 16}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func browseSet(t testing.TB, dir string) *view {
	t.Helper()
	v, err := openSet(t, dir).Browse(t.Context(), store.BrowseEnv{Scratch: t.TempDir(), Workers: 2, Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return v.(*view)
}

// visitAll walks everything, reads every leaf and tries every name as text. It returns how many nodes there are and what is wrong with them.
func visitAll(t testing.TB, v *view) (nodes int, trouble map[string]string) {
	t.Helper()
	ctx := t.Context()
	trouble = map[string]string{}
	root, err := v.Lookup(ctx, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	todo := []store.Node{root}
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		nodes++
		text := v.Format(n.Path)
		if n.Trouble != "" {
			trouble[text] = n.Trouble
		}
		if strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("control characters in %q", text)
		}
		if back, err := v.Resolve(ctx, nil, "/"+text); err != nil || !slices.Equal(back, n.Path) {
			t.Errorf("%q is understood as %q, not %q (%v)", text, back, n.Path, err)
		}
		if _, err := v.Stat(ctx, n); err != nil {
			t.Errorf("stat %s: %v", text, err)
		}
		if !n.Dir {
			var b bytes.Buffer
			err := v.Read(ctx, n, -1, &b)
			if err != nil && !errors.Is(err, store.ErrPartial) && n.Trouble == "" && v.inv.Whole {
				t.Errorf("%s shows no trouble, but reading it gives %v", text, err)
			}
			if n.Size >= 0 && err == nil && int64(b.Len()) != n.Size {
				t.Errorf("%s: %d bytes, %d shown", text, b.Len(), n.Size)
			}
			continue
		}
		if n.Identity != "" && seen[n.Identity] {
			continue
		}
		seen[n.Identity] = true
		list, err := v.List(ctx, n, true)
		if err != nil && v.inv.Whole {
			t.Errorf("ls %s: %v", text, err)
		}
		todo = append(todo, list...)
	}
	return nodes, trouble
}

func TestBrowseHealthy(t *testing.T) {
	v := browseSet(t, labSet(t))
	nodes, trouble := visitAll(t, v)
	if len(trouble) > 0 || nodes < 200 || !v.inv.Whole {
		t.Errorf("%d nodes, trouble %v", nodes, trouble)
	}
	if len(v.Notes()) > 0 {
		t.Errorf("notes %q", v.Notes())
	}
	// What List shows, Lookup finds, as the same thing.
	list, err := v.List(t.Context(), store.Node{Path: []string{"files", "metadata.db", "v1", "snapshots"}, Handle: fileNode{bolt: v.layer("metadata.db"), keys: []string{"v1", "snapshots"}, isDir: true}}, true)
	if err != nil || len(list) != len(v.inv.j.store.Snapshots) {
		t.Fatalf("%d snapshots of %d (%v)", len(list), len(v.inv.j.store.Snapshots), err)
	}
	for _, n := range list {
		again, err := v.Lookup(t.Context(), n.Path, true)
		if err != nil || again.Kind != n.Kind || again.Identity != n.Identity {
			t.Errorf("%v: %v, %v", n, again, err)
		}
	}
	for _, p := range [][]string{{"nothing"}, {"files", "x"}, {"files", "meta.db", "v2"}, {"files", "meta.db", "v1", "version", "x"}, {"ids", "1", "x"}, {"files", "thin.meta", "x"}} {
		if _, err := v.Lookup(t.Context(), p, true); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: %v", p, err)
		}
	}
}

// Names of any bytes are written so that they can be typed, and are understood again.
func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := string(rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "name"))
		text := formatName(name)
		if back := parseName(text); back != name {
			t.Fatalf("%q is written %q and read %q", name, text, back)
		}
		if strings.ContainsFunc(text, unicode.IsControl) || strings.Contains(text, "/") || text == "." || text == ".." || text == "" {
			t.Fatalf("%q is written %q", name, text)
		}
	})
	v := &view{}
	for text, want := range map[string]string{"/images/n/docker.io/library/x:1": "images|n|docker.io/library/x:1", "/devices/a/b": "devices|a/b", "..": "", "../devices": "devices",
		"/files/a/b%2Fc/%": "files|a|b/c|", "x/./y/../z": "ids|x/z", "/ids//7": "ids|7", "/snapshots/n/a/..": "snapshots|n"} {
		got, err := v.Resolve(t.Context(), []string{"ids"}, text)
		if err != nil || strings.Join(got, "|") != want {
			t.Errorf("%q: %q, want %q (%v)", text, strings.Join(got, "|"), want, err)
		}
	}
}

// tryAll runs every command on whatever there is.
func tryAll(t testing.TB, v *view) {
	t.Helper()
	for _, args := range [][]string{{"who", "dev", "3"}, {"who", "3"}, {"chain", "snap 9"}, {"runs", "3"}, {"shares", "2", "3"}, {"page", "meta.db", "0"}, {"page", "meta.db", "3"},
		{"page", "metadata.db", "4"}, {"page", "containerd-pool.db", "5"}, {"page", "thin.meta", "0"}, {"page", "thin.meta", "7"}, {"strays", "meta.db"},
		{"strays", "metadata.db"}, {"strays", "containerd-pool.db"}} {
		for _, c := range v.Commands() {
			if c.Name == args[0] {
				var out bytes.Buffer
				_ = c.Run(context.Background(), store.BrowseCall{Args: args[1:], Out: &out, Raw: &out, Err: &out}) // damage may make it fail, never panic or hang
			}
		}
	}
}

// Whatever is done to the bytes, everything can be walked, and pages can be shown.
func TestBrowseHostile(t *testing.T) {
	base := labSet(t)
	names := []string{"meta.db", "metadata.db", "containerd-pool.db", "thin.meta"}
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		dir := filepath.Join(t.TempDir(), "set")
		if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, names[round%len(names)])
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		switch round / len(names) % 5 {
		case 0:
			b = b[:r.IntN(len(b))]
		case 1:
			b = nil
		case 2: // a page of noise, not a meta page
			at := (2 + r.IntN(len(b)/4096-2)) * 4096
			for i := range 4096 {
				b[at+i] = byte(r.Uint32())
			}
		case 3: // one page in the place of another
			from, to := r.IntN(len(b)/4096)*4096, r.IntN(len(b)/4096)*4096
			copy(b[to:to+4096], b[from:from+4096])
		default:
			for range 200 {
				b[r.IntN(len(b))] ^= byte(1 << r.IntN(8))
			}
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		v := browseSet(t, dir)
		visitAll(t, v)
		tryAll(t, v)
	}
}

// FuzzBoltPage shows pages of any content.
func FuzzBoltPage(f *testing.F) {
	f.Add([]byte{}, true, 3)
	f.Add(append(make([]byte, 16), 1, 0, 0, 0, 16, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 'n', 'a', 'm', 'e', 1, 2, 3, 4), true, 1)
	f.Add(append(make([]byte, 16), 16, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 'n', 'a', 'm', 'e'), false, 0xffff)
	f.Fuzz(func(t *testing.T, page []byte, leaf bool, count int) {
		if len(page) < boltHeader {
			return
		}
		count &= 0xffff
		var out bytes.Buffer
		if err := pageElements(page, leaf, count, &out); err == nil && strings.Count(out.String(), "\n") != count {
			t.Errorf("%d lines for %d elements", strings.Count(out.String(), "\n"), count)
		}
		_ = pageFreelist(page, count, &out)
		if len(page) >= 4096 {
			_ = thinNode(page[:4096], 1, &out)
		}
	})
}
