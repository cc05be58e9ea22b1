package lustre

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"fettle/internal/format/lustre"
	"fettle/internal/lab"
	"fettle/internal/store"
	"fettle/internal/systems/lustre/lustrelab"
)

// browseLab makes a small file system with everything that the lab knows.
func browseLab(t testing.TB) []string {
	t.Helper()
	made, err := lustrelab.Make(t.Context(), t.TempDir(), lustrelab.Options{Seed: 3, Files: 120, Dirs: 24, HardLinks: 100, LostFound: true})
	if err != nil {
		t.Fatal(err)
	}
	return made.Paths
}

func browsePaths(t testing.TB, paths ...string) *view {
	t.Helper()
	v, err := openPaths(t, nil, paths...).(store.Browser).Browse(t.Context(), store.BrowseEnv{Scratch: t.TempDir(), Workers: 2, Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return v.(*view)
}

// run runs a command of the view.
func (v *view) run(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	for _, c := range v.Commands() {
		if c.Name == name {
			err := c.Run(t.Context(), store.BrowseCall{Args: args, Out: &out, Raw: &out, Err: &out})
			return out.String(), err
		}
	}
	t.Fatalf("no command %s", name)
	return "", nil
}

// seenAll is what a walk over everything met.
type seenAll struct {
	nodes   int
	trouble map[string]string
	kinds   map[string]int
	fids    map[string]string // of the namespace, by path
	partly  []string
}

// visitAll walks everything, shows and reads every node, and finds every one again by its text.
func visitAll(t testing.TB, v *view) seenAll {
	t.Helper()
	ctx := t.Context()
	out := seenAll{trouble: map[string]string{}, kinds: map[string]int{}, fids: map[string]string{}}
	root, err := v.Lookup(ctx, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for todo := []store.Node{root}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		text := v.Format(n.Path)
		out.nodes++
		out.kinds[n.Kind]++
		if n.Trouble != "" {
			out.trouble[text] = n.Trouble
		}
		th := n.Handle.(*thing)
		if !th.raw {
			out.fids[text] = th.fid.String()
		}
		if strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("control characters in %q", text)
		}
		if back, err := v.Resolve(ctx, nil, "/"+text); err != nil || !slices.Equal(back, n.Path) {
			t.Errorf("%q is understood as %q, not %q (%v)", text, back, n.Path, err)
		}
		if again, err := v.Lookup(ctx, n.Path, false); err != nil || again.Kind != n.Kind && n.Trouble == "" {
			t.Errorf("%s is a %s, and then a %s (%v)", text, n.Kind, again.Kind, err)
		}
		if _, err := v.Lookup(ctx, n.Path, true); err != nil {
			t.Errorf("%s, links followed: %v", text, err)
		}
		if _, err := v.Stat(ctx, n); err != nil {
			t.Errorf("stat %s: %v", text, err)
		}
		if !n.Dir {
			var b bytes.Buffer
			if err := v.Read(ctx, n, -1, &b); err == nil && n.Size >= 0 && int64(b.Len()) != n.Size {
				t.Errorf("%s: %d bytes, %d shown", text, b.Len(), n.Size)
			} else if err != nil && !errors.Is(err, store.ErrPartial) && n.Trouble == "" {
				t.Errorf("%s shows no trouble, but reading it gives %v", text, err)
			}
			continue
		}
		if n.Identity == "" || seen[n.Identity] {
			continue
		}
		seen[n.Identity] = true
		list, err := v.List(ctx, n, true)
		if errors.Is(err, store.ErrPartial) {
			out.partly = append(out.partly, text+": "+err.Error())
		} else if err != nil {
			t.Errorf("list %s: %v", text, err)
		}
		todo = append(todo, list...)
	}
	return out
}

func TestBrowseLab(t *testing.T) {
	v := browsePaths(t, browseLab(t)...)
	all := visitAll(t, v)
	if len(all.trouble)+len(all.partly) > 0 {
		t.Errorf("a healthy file system shows %v %v", all.trouble, all.partly)
	}
	for _, kind := range []string{"dir", "file", "symlink", kindStriped, kindAgent, kindShard} {
		if all.kinds[kind] == 0 {
			t.Errorf("no %s among %v", kind, all.kinds)
		}
	}
	inside := func(path string) bool {
		return path != "" && path != dotLustre && !strings.HasPrefix(path, dotLustre+"/")
	}
	for path, fid := range all.fids {
		if !inside(path) {
			continue
		}
		out, err := v.run(t, "path2fid", "/"+path)
		if err != nil || strings.TrimSpace(out) != fid {
			t.Errorf("path2fid %s: %q (%v), listing says %s", path, out, err, fid)
		}
		out, err = v.run(t, "fid2path", fid)
		if err != nil || !slices.Contains(strings.Split(out, "\n"), "/"+path) && !strings.Contains(out, "no room for more") || strings.Contains(out, "!") {
			t.Errorf("fid2path %s does not give %s: %q (%v)", fid, path, out, err)
		}
		for _, c := range []string{"linkea", "oi", "mdt", "lmv", "xattrs"} {
			if out, err := v.run(t, c, fid); err != nil || out == "" || strings.Contains(out, "! ") {
				t.Errorf("%s %s: %q (%v)", c, fid, out, err)
			}
		}
		n, err := v.Lookup(t.Context(), []string{dotLustre, "fid", fid}, false)
		if err != nil || n.Handle.(*thing).fid.String() != fid {
			t.Errorf("/.lustre/fid/%s: %+v (%v)", fid, n, err)
		}
	}
}

// A view of one of the MDTs shows what is there, and says what is not.
func TestBrowseOneMDT(t *testing.T) {
	paths := browseLab(t)
	for i, p := range paths {
		v := browsePaths(t, p)
		all := visitAll(t, v)
		if len(v.Notes()) == 0 {
			t.Errorf("%s alone: no note", p)
		}
		if i == 0 && all.kinds[kindUnseen] == 0 {
			t.Errorf("MDT0 alone: nothing is on the other MDT: %v", all.kinds)
		}
		if i > 0 && all.kinds["file"] == 0 {
			t.Errorf("MDT%d alone: no file in its own tree: %v", i, all.kinds)
		}
	}
}

// Without object indexes everything is found by a search.
func TestBrowseWithoutIndex(t *testing.T) {
	v := browsePaths(t, browseLab(t)...)
	want := visitAll(t, v).fids
	for _, small := range []bool{false, true} {
		v := browsePaths(t, paths(v)...)
		for _, target := range v.targets {
			target.marks.oi = nil
		}
		if small {
			v.memory = 1024 // no room for a table
		}
		if got := visitAll(t, v); len(got.trouble) > 0 || len(got.fids) != len(want) {
			t.Errorf("small %v: %d names, %d with indexes; trouble %v", small, len(got.fids), len(want), got.trouble)
		}
	}
}

func paths(v *view) []string {
	var out []string
	for _, t := range v.targets {
		out = append(out, t.path)
	}
	return out
}

// Whatever happens to the images, what can be read is shown, and nothing breaks.
func TestBrowseDamaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 3 {
		whole := browseLab(t) // made anew: the images are nearly all holes, and a copy through memory would not be
		for _, p := range whole {
			garble(t, p, 40<<(2*round), rng)
		}
		visitHurt(t, browsePaths(t, whole...))
	}
}

// garble puts random bytes in so many places of an image. The first 8 KiB, which tell which MDT it is, are spared.
func garble(t testing.TB, path string, places int, rng *rand.Rand) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for range places {
		at := 8192 + rng.Int64N(fi.Size()-8192-8)
		if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, rng.Uint64()), at); err != nil {
			t.Fatal(err)
		}
	}
}

// visitHurt walks damaged images: it must end without an error that is not about damage.
func visitHurt(t testing.TB, v *view) {
	t.Helper()
	root, err := v.Lookup(t.Context(), nil, true)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for todo := []store.Node{root}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, err := v.Stat(t.Context(), n); err != nil {
			t.Errorf("stat %s: %v", v.Format(n.Path), err)
		}
		if !n.Dir || seen[n.Identity] {
			continue
		}
		seen[n.Identity] = true
		list, err := v.List(t.Context(), n, false)
		if err != nil && !errors.Is(err, store.ErrPartial) {
			t.Errorf("list %s: %v", v.Format(n.Path), err)
		}
		todo = append(todo, list...)
	}
}

// Injuries of the lab show where they are.
func TestBrowseInjured(t *testing.T) {
	for _, c := range []struct{ class, kind string }{{DanglingName, kindGone}, {BadNameHash, ""}, {NoFID, ""}, {DirentInode, ""}, {AgentMissing, ""}} {
		dir := t.TempDir()
		if _, err := lustrelab.Make(t.Context(), dir, lustrelab.Options{Seed: 4, Files: 400}); err != nil {
			t.Fatal(err)
		}
		truth, err := lustrelab.Damage(t.Context(), dir, 5, []lab.Injury{{Class: c.class, Count: 2}})
		if err != nil {
			t.Fatal(err)
		}
		all := visitAll(t, browsePaths(t, lustrelab.Files(dir)...))
		if len(all.trouble) == 0 || c.kind != "" && all.kinds[c.kind] == 0 {
			t.Errorf("%s (%+v): trouble %v, kinds %v", c.class, truth.Expected, all.trouble, all.kinds)
		}
	}
}

// What is not there is said to be not there.
func TestBrowseErrors(t *testing.T) {
	v := browsePaths(t, browseLab(t)...)
	for _, path := range [][]string{{"nothing"}, {dotLustre, "fid", "[0x200000400:0x7fffffff:0x0]"}, {dotLustre, "fid", "x"}, {"MDT0000", "nothing"}, {"MDT0007"}, {"MDT0000", "last_rcvd", "x"}} {
		if _, err := v.Lookup(t.Context(), path, true); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("lookup %q: %v", path, err)
		}
	}
	for _, c := range [][]string{{"fid2path", "x"}, {"oi", "x"}, {"fid2path", "[0x200000400:0x7fffffff:0x0]"}, {"path2fid", "/nothing"}, {"xattrs", "/nothing"}} {
		if out, err := v.run(t, c[0], c[1]); err == nil {
			t.Errorf("%v: %q and no error", c, out)
		}
	}
	if out, err := v.run(t, "mdt", "[0x200000400:0x7fffffff:0x0]"); err != nil || !strings.Contains(out, "! no inode") {
		t.Errorf("mdt of an object that is not there: %q (%v)", out, err)
	}
	if out, err := v.run(t, "oi", lustre.FIDRoot.String()); err != nil || !strings.HasPrefix(out, "MDT0000: inode ") {
		t.Errorf("oi of ROOT: %q (%v)", out, err)
	}
}

func TestNamesAsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "name"))
		text := formatName(name)
		if strings.ContainsFunc(text, unicode.IsControl) || strings.Contains(text, "/") || text == "" {
			t.Fatalf("%q is shown as %q", name, text)
		}
		if back := parseName(text); back != name {
			t.Fatalf("%q is shown as %q and understood as %q", name, text, back)
		}
	})
}

// What clients of the real file system saw is what the view shows: names, and FIDs by the inode numbers that are made of them.
func TestBrowseClientList(t *testing.T) {
	v := browsePaths(t, pair(t)...)
	if all := visitAll(t, v); len(all.trouble)+len(all.partly) > 0 {
		t.Errorf("the real file system shows %v %v", all.trouble, all.partly)
	}
	link, err := v.Lookup(t.Context(), []string{"remote_dir", "rc0.d", "K03rhnsd"}, true)
	if err != nil || v.Format(link.Path) != "remote_dir/init.d/rhnsd" {
		t.Errorf("the link rc0.d/K03rhnsd leads to %s (%v)", v.Format(link.Path), err)
	}
	for list, top := range map[string]string{"client-list.txt.zst": "remote_dir", "client-list2.txt.zst": "striped_dir_old"} {
		want := clientList(t, filepath.Join(fixtures(t), "lustre-2.10.0-dne2", list))
		if len(want) < 20 {
			t.Fatalf("%s has %d names", list, len(want))
		}
		got := map[string]uint64{}
		var walk func(n store.Node, prefix string)
		walk = func(n store.Node, prefix string) {
			children, err := v.List(t.Context(), n, false)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range children {
				got[prefix+c.Name()] = c.Handle.(*thing).fid.Flatten()
				if c.Dir {
					walk(c, prefix+c.Name()+"/")
				}
			}
		}
		n, err := v.Lookup(t.Context(), []string{top}, true)
		if err != nil {
			t.Fatal(err)
		}
		walk(n, "")
		for path, ino := range want {
			if got[path] != ino {
				t.Errorf("%s/%s: inode number %d, the client saw %d", top, path, got[path], ino)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d names, the client saw %d", top, len(got), len(want))
		}
	}
}

// Real images with damage of every kind are shown with what is wrong, and nothing breaks.
func TestBrowseDamageCases(t *testing.T) {
	whole := pair(t)
	for _, c := range damageCases(t) {
		c.apply(t, whole, false)
		visitHurt(t, browsePaths(t, whole...))
		c.apply(t, whole, true)
	}
}

// clientList reads what "ls -liR" printed.
func clientList(t testing.TB, path string) map[string]uint64 {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err = r.DecodeAll(b, nil); err != nil {
		t.Fatal(err)
	}
	out := map[string]uint64{}
	dir := ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if d, ok := strings.CutSuffix(line, ":"); ok && strings.HasPrefix(d, ".") {
			if dir = strings.TrimPrefix(strings.TrimPrefix(d, "."), "/"); dir != "" {
				dir += "/"
			}
			continue
		}
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		ino, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		out[dir+f[7]] = ino
	}
	return out
}
