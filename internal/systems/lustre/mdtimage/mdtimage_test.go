package mdtimage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fettle/internal/format/ext4"
	"fettle/internal/format/mdtbackup"
)

// list is a backup in memory.
type list struct {
	members []*mdtbackup.Member
	at      int
	body    string
}

func (l *list) Next() (*mdtbackup.Member, error) {
	if l.at == len(l.members) {
		return nil, io.EOF
	}
	l.at++
	return l.members[l.at-1], nil
}
func (l *list) Content(most int64) ([]byte, error) {
	return []byte(l.body[:min(int64(len(l.body)), most)]), nil
}
func (l *list) Done() int64          { return 0 }
func (l *list) Odd() (int64, string) { return 0, "" }
func (l *list) Stop()                {}
func (l *list) Close() error         { return nil }

// endless is a backup with a member that is skipped for ever, unless it is stopped.
type endless struct {
	list
	stop, in chan struct{}
}

func (e *endless) Next() (*mdtbackup.Member, error) {
	close(e.in)
	<-e.stop
	return nil, io.ErrUnexpectedEOF
}
func (e *endless) Stop() { close(e.stop) }

// A member that takes for ever to be skipped can be stopped, and the error says that it was.
func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := &endless{stop: make(chan struct{}), in: make(chan struct{})}
	go func() {
		<-e.in
		cancel()
	}()
	if _, err := Lay(ctx, e, Options{Dir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// An image is given up before it fills the place where it lies, by inodes, by attributes and by directories.
func TestSpace(t *testing.T) {
	big := mdtbackup.Xattr{Name: "big", Value: make([]byte, 60<<10)}
	for name, one := range map[string]func(i int) *mdtbackup.Member{
		"inodes":      func(i int) *mdtbackup.Member { return member("ROOT/a") },
		"attributes":  func(i int) *mdtbackup.Member { m := member("ROOT/a"); m.Xattrs = append(m.Xattrs, big); return m },
		"directories": func(i int) *mdtbackup.Member { return member(fmt.Sprintf("ROOT/%d/", i)) },
	} {
		t.Run(name, func(t *testing.T) {
			l := &many{one: one}
			asked := 0
			opt := Options{Dir: t.TempDir(), free: func() (int64, int64, error) {
				asked++
				return int64(60-10*asked) << 20, 400 << 20, nil // 20 MiB of it are for others
			}}
			_, err := Lay(t.Context(), l, opt)
			if !errors.Is(err, ErrNoSpace) || asked != 4 || !strings.Contains(err.Error(), "20 MiB are free, of which 20 stay for others") {
				t.Errorf("asked %d times: %v", asked, err)
			}
			if l.n > 40000 {
				t.Errorf("%d members were taken", l.n)
			}
		})
	}
}

// many is a backup that does not end.
type many struct {
	list
	n   int
	one func(i int) *mdtbackup.Member
}

func (l *many) Next() (*mdtbackup.Member, error) {
	l.n++
	return l.one(l.n), nil
}

func parts(path string) []string {
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// member makes a member: "dir/", "file", "name=target" of a hard link, "name->target" of a symbolic link.
func member(text string) *mdtbackup.Member {
	lma := []mdtbackup.Xattr{{Name: "lma", Value: []byte(text)}}
	if name, to, ok := strings.Cut(text, "->"); ok {
		return &mdtbackup.Member{Parts: parts(name), Mode: mdtbackup.ModeSymlink | 0o777, Target: to, Xattrs: lma}
	}
	if name, to, ok := strings.Cut(text, "="); ok {
		return &mdtbackup.Member{Parts: parts(name), Mode: mdtbackup.ModeRegular, Same: parts(to)}
	}
	if name, ok := strings.CutSuffix(text, "/"); ok {
		return &mdtbackup.Member{Parts: parts(name), Mode: mdtbackup.ModeDirectory | 0o700, Xattrs: lma}
	}
	return &mdtbackup.Member{Parts: parts(text), Mode: mdtbackup.ModeRegular | 0o600, Size: 4, Xattrs: lma}
}

func members(texts ...string) *list {
	l := &list{body: "body"}
	for _, t := range texts {
		l.members = append(l.members, member(t))
	}
	return l
}

func lay(t testing.TB, l *list) *Image {
	t.Helper()
	im, err := Lay(t.Context(), l, Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := im.Close(); err != nil {
			t.Error(err)
		}
	})
	return im
}

// tree reads an image back: "path lma links", and for a name of nothing "path ?".
func tree(t testing.TB, im *Image) []string {
	t.Helper()
	fs, err := ext4.New(im, im.Size(), "image")
	if err != nil {
		t.Fatal(err)
	}
	note := func(p ext4.Problem) { t.Errorf("damage: %v", p) }
	for _, p := range fs.Problems() {
		note(p)
	}
	if r := fs.Refusals(); len(r) > 0 {
		t.Errorf("refused: %v", r[0])
	}
	var out []string
	used := map[uint32]bool{}
	var walk func(path string, ino, up uint32)
	walk = func(path string, ino, up uint32) {
		in, err := fs.Inode(ino)
		if err != nil {
			t.Fatal(err)
		}
		if !in.Allocated {
			out = append(out, path+" ?")
			return
		}
		used[ino] = true
		lma, _, err := fs.Xattr(in, ext4.XattrIndexTrusted, "lma")
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %s %d", path, lma, in.Links))
		if !in.IsDir() {
			return
		}
		in = in.Clone()
		type child struct {
			name string
			ino  uint32
		}
		var all []child
		if err := fs.Dir(in, func(e ext4.Dirent) bool {
			switch name := string(e.Name); {
			case name == "." && e.Inode != ino, name == ".." && e.Inode != up:
				t.Errorf("%q of %s leads to inode %d", name, path, e.Inode)
			case name != "." && name != "..":
				all = append(all, child{name, e.Inode})
			}
			return true
		}, note); err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			walk(strings.TrimPrefix(path+"/"+c.name, "./"), c.ino, ino)
		}
	}
	walk(".", ext4.InoRoot, ext4.InoRoot)
	if err := fs.SweepInodes(t.Context(), ext4.SweepOptions{Report: note}, func(in *ext4.Inode) error {
		if in.Number > 11 && !used[in.Number] && in.Flags&ext4.FlagEAInode == 0 {
			t.Errorf("inode %d (%s) has no name", in.Number, im.Path(in.Number))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func TestLay(t *testing.T) {
	for _, c := range []struct {
		name  string
		in    []string
		want  []string
		notes int
	}{
		{"plain", []string{"/", "ROOT/", "ROOT/a", "ROOT/d/", "ROOT/d/b"}, []string{". / 3", "ROOT ROOT/ 3", "ROOT/a ROOT/a 1", "ROOT/d ROOT/d/ 2", "ROOT/d/b ROOT/d/b 1"}, 0},
		{"directories that come late or never", []string{"ROOT/d/b", "ROOT/e/f/c", "ROOT/d/", "ROOT/"},
			[]string{".  3", "ROOT ROOT/ 4", "ROOT/d ROOT/d/ 2", "ROOT/d/b ROOT/d/b 1", "ROOT/e  3", "ROOT/e/f  2", "ROOT/e/f/c ROOT/e/f/c 1"}, 0},
		{"hard links", []string{"ROOT/", "ROOT/b=ROOT/a", "ROOT/a", "ROOT/c=ROOT/a"}, []string{".  3", "ROOT ROOT/ 2", "ROOT/a ROOT/a 3", "ROOT/b ROOT/a 3", "ROOT/c ROOT/a 3"}, 0},
		{"hard link to a hard link", []string{"ROOT/c=ROOT/b", "ROOT/b=ROOT/a", "ROOT/a"}, []string{".  3", "ROOT  2", "ROOT/a ROOT/a 3", "ROOT/b ROOT/a 3", "ROOT/c ROOT/a 3"}, 0},
		{"hard link to a symbolic link", []string{"ROOT/a->x", "ROOT/b=ROOT/a"}, []string{".  3", "ROOT  2", "ROOT/a ROOT/a->x 2", "ROOT/b ROOT/a->x 2"}, 0},
		{"hard links to nothing", []string{"ROOT/x", "ROOT/a=ROOT/none", "ROOT/b=nowhere/none", "ROOT/c=ROOT"}, []string{".  3", "ROOT  2", "ROOT/a ?", "ROOT/b ?", "ROOT/c ?", "ROOT/x ROOT/x 1"}, 1},
		{"hard links in a circle", []string{"ROOT/x", "ROOT/a=ROOT/b", "ROOT/b=ROOT/c", "ROOT/c=ROOT/a", "ROOT/d=ROOT/d"}, []string{".  3", "ROOT  2", "ROOT/a ?", "ROOT/b ?", "ROOT/c ?", "ROOT/x ROOT/x 1"}, 1},
		{"the last one wins", []string{"ROOT/a", "ROOT/b", "ROOT/a->1", "ROOT/a->2", "ROOT/b=ROOT/a"}, []string{".  3", "ROOT  2", "ROOT/a ROOT/a->2 2", "ROOT/b ROOT/a->2 2"}, 0},
		{"a linked file whose first name is taken", []string{"ROOT/a", "ROOT/b=ROOT/a", "ROOT/a=ROOT/b"}, []string{".  3", "ROOT  2", "ROOT/a ROOT/a 2", "ROOT/b ROOT/a 2"}, 0},
		{"a file and a directory", []string{"ROOT/a", "ROOT/a/b", "ROOT/a", "ROOT/a="}, []string{".  3", "ROOT  3", "ROOT/a  2", "ROOT/a/b ROOT/a/b 1"}, 1},
		{"a long symbolic link", []string{"ROOT/a->" + strings.Repeat("x", 5000)}, []string{".  3", "ROOT  2", "ROOT/a ROOT/a->" + strings.Repeat("x", 5000) + " 1"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			im := lay(t, members(c.in...))
			if got := tree(t, im); !slices.Equal(got, c.want) {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
			if len(im.Notes()) != c.notes {
				t.Errorf("notes: %q", im.Notes())
			}
		})
	}
}

func TestRefused(t *testing.T) {
	none := members("ROOT/a")
	none.members[0].Xattrs = nil
	for _, c := range []struct {
		name string
		in   *list
		want error
	}{{"no attributes", none, ErrNoAttributes}, {"no target", members("/", "etc/", "etc/passwd"), ErrNoTarget}, {"nothing", members(), ErrNoTarget}} {
		im, err := Lay(t.Context(), c.in, Options{Dir: t.TempDir()})
		if !errors.Is(err, c.want) || im != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Attributes of any number and length find room, or are said not to; those that judges need come first.
func TestAttributes(t *testing.T) {
	long := func(n int) []byte { return []byte(strings.Repeat("v", n)) }
	l := members("ROOT/few", "ROOT/long", "ROOT/many", "ROOT/huge")
	l.members[0].Xattrs = append(l.members[0].Xattrs, mdtbackup.Xattr{Name: "link", Value: long(100)})
	l.members[1].Xattrs = []mdtbackup.Xattr{{Name: "a", Value: long(3000)}, {Name: "b", Value: long(3000)}, {Name: "c", Value: long(3000)}, {Name: "link", Value: long(3900)}, {Name: "lma", Value: []byte("x")}}
	for i := range 500 {
		l.members[2].Xattrs = append(l.members[2].Xattrs, mdtbackup.Xattr{Name: fmt.Sprintf("x%03d", i), Value: long(50)})
	}
	l.members[3].Xattrs = []mdtbackup.Xattr{{Name: "link", Value: long(900_000)}, {Name: "lmv", Value: long(60_000)}}
	im := lay(t, l)
	fs, err := ext4.New(im, im.Size(), "image")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := fs.SweepInodes(t.Context(), ext4.SweepOptions{}, func(in *ext4.Inode) error {
		return in.Xattrs(fs, func(x ext4.Xattr) bool {
			got[im.Path(in.Number)] += fmt.Sprintf(" %s:%d", x.Name, len(x.Value))
			return true
		}, func(p ext4.Problem) { t.Error(p) })
	}); err != nil {
		t.Fatal(err)
	}
	if got["ROOT/few"] != " lma:8 link:100" || got["ROOT/huge"] != " link:65536 lmv:60000" {
		t.Errorf("few: %s; huge: %s", got["ROOT/few"], got["ROOT/huge"])
	}
	if s := got["ROOT/long"]; !strings.Contains(s, " lma:1") || !strings.Contains(s, " link:3900") {
		t.Errorf("long: %s", s)
	}
	if strings.Count(got["ROOT/many"], ":") > maxXattrs || len(im.Notes()) != 1 {
		t.Errorf("many: %s; notes: %q", got["ROOT/many"], im.Notes())
	}
}

// Only small files of the target itself keep their contents.
func TestContents(t *testing.T) {
	l := members("ROOT/a", "CONFIGS/mountdata", "last_rcvd", "PENDING/b", "oi.16.0", "O/1/d1/9")
	l.members[5].Size = maxContent + 1
	im := lay(t, l)
	fs, err := ext4.New(im, im.Size(), "image")
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.SweepInodes(t.Context(), ext4.SweepOptions{}, func(in *ext4.Inode) error {
		p := im.Path(in.Number)
		if p == "" || in.IsDir() {
			return nil
		}
		b, err := fs.ReadAll(in, 4)
		want := "" // a hole of the file's size
		if p == "CONFIGS/mountdata" || p == "last_rcvd" {
			want = "body"
		}
		if got := strings.Trim(string(b), "\x00"); got != want || in.Size != 4 && p != "O/1/d1/9" {
			t.Errorf("%s holds %q, %v", p, b, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// The same backup gives the same image, because a run that goes on has numbers of inodes and bytes in it.
func TestSameBytes(t *testing.T) {
	var texts []string
	for i := range 700 {
		texts = append(texts, fmt.Sprintf("ROOT/d%d/file-with-a-rather-long-name-%d", i%7, i), fmt.Sprintf("ROOT/l%d=ROOT/d%d/file-with-a-rather-long-name-%d", i, i%7, i))
	}
	var first []byte
	for range 2 {
		im := lay(t, members(texts...))
		b := make([]byte, 40<<20)
		n, err := im.ReadAt(b, 0)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if first == nil {
			first = b[:n]
		} else if !slices.Equal(first, b[:n]) {
			t.Error("the second image differs")
		}
	}
}

// e2fsck finds nothing wrong with an image.
func TestE2fsck(t *testing.T) {
	e2fsck, err := exec.LookPath("e2fsck")
	if err != nil {
		if e2fsck, err = exec.LookPath("/sbin/e2fsck"); err != nil {
			t.Skip("there is no e2fsck here")
		}
	}
	texts := []string{"/", "lost+found/", "ROOT/", "ROOT/l->" + strings.Repeat("x", 100), "ROOT/b=ROOT/d1/3", "ROOT/d1/3"}
	for i := range 3 * perGroup / 2 {
		texts = append(texts, fmt.Sprintf("ROOT/d%d/file-with-a-rather-long-name-%d", i%9, i))
	}
	l := members(texts...)
	for i, m := range l.members {
		if i%500 == 0 && m.Same == nil {
			m.Xattrs = append(m.Xattrs, mdtbackup.Xattr{Name: "link", Value: []byte(strings.Repeat("v", i%9000))}, mdtbackup.Xattr{Name: "lov", Value: make([]byte, 900)})
		}
	}
	im := lay(t, l)
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < im.Size(); at += int64(len(buf)) {
		n, err := im.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if !slices.Equal(buf[:n], zero[:n]) {
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Truncate(im.Size()); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), e2fsck, "-fn", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%.3000s", err, out)
	}
}

// One directory with many names, and more inodes than one group has.
func TestWide(t *testing.T) {
	l := &list{}
	const n = 2*perGroup + 100
	for i := range n {
		l.members = append(l.members, member(fmt.Sprintf("ROOT/%06d", i)))
	}
	im := lay(t, l)
	fs, err := ext4.New(im, im.Size(), "image")
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	if err := fs.SweepInodes(t.Context(), ext4.SweepOptions{}, func(in *ext4.Inode) error {
		if p := im.Path(in.Number); strings.HasPrefix(p, "ROOT/") {
			if b, _, err := fs.Xattr(in, ext4.XattrIndexTrusted, "lma"); err != nil || string(b) != p {
				t.Fatalf("inode %d is %s and has the attribute of %s, %v", in.Number, p, b, err)
			}
			got++
		} else if in.IsDir() && p == "ROOT" {
			names := 0
			if err := fs.Dir(in.Clone(), func(ext4.Dirent) bool { names++; return true }, func(p ext4.Problem) { t.Error(p) }); err != nil || names != n+2 {
				t.Errorf("%d names, %v", names, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got != n {
		t.Errorf("%d of %d inodes", got, n)
	}
}

// Names come back in order whether they fit in memory or not.
func TestSort(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newNameSorter(os.TempDir())
		defer s.close()
		s.most = rapid.IntRange(300, 3000).Draw(rt, "memory")
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		var want []record
		for i := range rapid.IntRange(0, 300).Draw(rt, "names") {
			r := record{dir: rnd.Uint32N(5), name: strings.Repeat("n", 1+rnd.IntN(3)) + string(rune('a'+rnd.IntN(4))), ino: uint32(i), typ: 1}
			want = append(want, r)
			if err := s.add(r); err != nil {
				rt.Fatal(err)
			}
		}
		slices.SortStableFunc(want, func(a, b record) int { return cmp.Or(cmp.Compare(a.dir, b.dir), cmp.Compare(a.name, b.name)) })
		for range 2 {
			var got []record
			if err := s.each(func(r record) error { got = append(got, r); return nil }); err != nil {
				rt.Fatal(err)
			}
			if !slices.Equal(got, want) {
				rt.Fatalf("got %v, want %v", got, want)
			}
		}
	})
}
