package ext4edit

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fettle/internal/format/ext4"

	"pgregory.net/rapid"
)

// tb is what *testing.T and *rapid.T have in common.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// nothing is the panic of an operation that finds nothing to do.
type nothing struct{}

// try runs an operation that may find nothing to do.
func try(op func()) {
	defer func() {
		if p := recover(); p != nil && p != (nothing{}) {
			panic(p)
		}
	}()
	op()
}

// model is what a file system shall hold: names by directory, and attributes by inode.
type model struct {
	t     tb
	e     *Edit
	names map[uint32]map[string]Name
	attrs map[uint32]map[string]string // by "index.name"
	links map[uint32]int
	count int
}

// newModel takes the state of a file system.
func newModel(t tb, e *Edit) *model {
	m := &model{t: t, e: e, names: map[uint32]map[string]Name{}, attrs: map[uint32]map[string]string{}, links: map[uint32]int{}}
	m.load(ext4.InoRoot)
	return m
}

func (m *model) load(dir uint32) {
	in, err := m.e.view.Inode(dir)
	if err != nil {
		m.t.Fatal(err)
	}
	m.links[dir] = int(in.Links)
	m.names[dir] = list(m.t, m.e.view, dir)
	for name, n := range m.names[dir] {
		if n.Type == ext4.TypeDir && name != "." && name != ".." {
			m.load(n.Inode)
		} else if n.Type != ext4.TypeDir {
			in, err := m.e.view.Inode(n.Inode)
			if err != nil {
				m.t.Fatal(err)
			}
			m.links[n.Inode] = int(in.Links)
		}
	}
}

// list reads a directory.
func list(t tb, fs *ext4.FS, dir uint32) map[string]Name {
	in, err := fs.Inode(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]Name{}
	err = fs.Dir(in, func(d ext4.Dirent) bool {
		if _, twice := names[string(d.Name)]; twice {
			t.Fatalf("%q is in directory %d twice", d.Name, dir)
		}
		names[string(d.Name)] = Name{bytes.Clone(d.Name), d.Inode, d.Type, d.Flags, bytes.Clone(d.Data)}
		return true
	}, func(p ext4.Problem) { t.Fatal(p) })
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// check compares the edited file system with the model, by walking and by looking names up.
func (m *model) check(t tb, fs *ext4.FS) {
	t.Helper()
	for dir, want := range m.names {
		got := list(t, fs, dir)
		if !maps.EqualFunc(got, want, func(a, b Name) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
			for name, n := range want {
				if fmt.Sprint(got[name]) != fmt.Sprint(n) {
					t.Fatalf("directory %d: %q is %v, should be %v", dir, name, got[name], n)
				}
			}
			t.Fatalf("directory %d has %d names, should have %d", dir, len(got), len(want))
		}
	}
	for ino, n := range m.links {
		in, err := fs.Inode(ino)
		if err != nil || int(in.Links) != n {
			t.Fatalf("inode %d has %d links, should have %d, %v", ino, in.Links, n, err)
		}
	}
	for ino, want := range m.attrs {
		in, err := fs.Inode(ino)
		if err != nil {
			t.Fatal(err)
		}
		got, before := map[string]string{}, attr{}
		if err := in.Xattrs(fs, func(x ext4.Xattr) bool {
			now := attr{index: x.Index, name: bytes.Clone(x.Name)}
			if x.Where == ext4.InBlock && attrOrder(before, now) >= 0 {
				t.Fatalf("inode %d: attribute %s is out of order", ino, x.FullName())
			}
			if x.Where == ext4.InBlock {
				before = now
			}
			if x.Index != ext4.XattrIndexSystem {
				got[fmt.Sprintf("%d.%s", x.Index, x.Name)] = string(x.Value)
			}
			return true
		}, func(p ext4.Problem) { t.Fatal(p) }); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got, want) {
			t.Fatalf("inode %d has attributes %.200q, should have %.200q", ino, got, want)
		}
	}
	m.lookups(t)
}

// lookups finds every name by its hash.
func (m *model) lookups(t tb) {
	t.Helper()
	for dir, names := range m.names {
		in, err := m.e.view.Inode(dir)
		if err != nil || in.IsInline() {
			continue
		}
		for name, want := range names {
			if name == "." || name == ".." {
				continue
			}
			x, err := m.e.Find(dir, []byte(name))
			if err != nil || x.Inode != want.Inode || !bytes.Equal(x.Data, want.Data) || x.Flags != want.Flags {
				t.Fatalf("lookup gives %+v, should be %+v, %v", x, want, err)
			}
		}
		if _, err := m.e.Find(dir, []byte("not there")); !errors.Is(err, ErrAbsent) {
			t.Fatalf("lookup of a name that is not there: %v", err)
		}
	}
}

// name makes a Name, with a FID where there can be one.
func (m *model) name(name string, ino uint32, kind uint8, data bool) Name {
	n := Name{Name: []byte(name), Inode: ino, Type: kind}
	if data && m.e.sb.Dirdata() {
		m.count++
		n.Flags, n.Data = ext4.DirdataLUFID, ext4.LUFIDRecord(fid(m.count))
	}
	return n
}

// insert puts a name in, and into the model. It gives up quietly when there is no room in ways that are allowed.
func (m *model) insert(dir uint32, n Name) bool {
	_, err := m.e.InsertName(dir, n)
	if _, there := m.names[dir][string(n.Name)]; there {
		if !errors.Is(err, ErrExists) {
			m.t.Fatalf("a name that exists: %v", err)
		}
		return false
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.names[dir][string(n.Name)] = n
	return true
}

func (m *model) setLinks(ino uint32, n int) {
	m.links[ino] = n
	if err := m.e.SetLinks(ino, uint16(n)); err != nil {
		m.t.Fatal(err)
	}
}

// ops are the operations of the property test. Each fails the test when the edit does not do what the model does.
func (m *model) ops() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"create": func(r *rapid.T) { m.create(m.dir(r), newName.Draw(r, "name"), rapid.Bool().Draw(r, "fid")) },
		"many": func(r *rapid.T) {
			dir, pad := m.dir(r), strings.Repeat("x", rapid.IntRange(0, 200).Draw(r, "pad"))
			first, n := "", rapid.IntRange(1, 60).Draw(r, "n")
			for i := range n {
				m.count++
				name := fmt.Sprintf("%d-%s-%d", m.count, pad, i)
				if first == "" {
					m.create(dir, name, true)
					first = name
					continue
				}
				target := m.names[dir][first]
				m.insert(dir, m.name(name, target.Inode, target.Type, i%3 > 0))
				m.setLinks(target.Inode, m.links[target.Inode]+1)
			}
		},
		"mkdir":  m.mkdir,
		"link":   m.link,
		"remove": m.remove,
		"rename": m.rename,
		"xattr":  m.xattr,
		"fid":    m.setFID,
		"dotdot": m.dotdot,
	}
}

var newName = rapid.OneOf(rapid.StringMatching(`[a-z]{1,3}`), rapid.StringMatching(`[a-zA-Z0-9._-]{5,255}`),
	rapid.SampledFrom([]string{"caf\xc3\xa9", "\xff\xfe\x80", " ", "...", strings.Repeat("y", 255)}))

// dir draws a directory that can be changed.
func (m *model) dir(r *rapid.T) uint32 {
	dirs := slices.Sorted(maps.Keys(m.names))
	dirs = slices.DeleteFunc(dirs, func(d uint32) bool { in, err := m.e.view.Inode(d); return err != nil || in.IsInline() })
	if len(dirs) == 0 {
		panic(nothing{})
	}
	return rapid.SampledFrom(dirs).Draw(r, "dir")
}

// entry draws a name of a file made here, or of any kind.
func (m *model) entry(r *rapid.T, dir uint32, dirs bool) Name {
	var names []string
	for name, n := range m.names[dir] {
		if name != "." && name != ".." && n.Inode > 11 && (dirs || n.Type != ext4.TypeDir) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		panic(nothing{})
	}
	slices.Sort(names)
	return m.names[dir][rapid.SampledFrom(names).Draw(r, "entry")]
}

func (m *model) create(dir uint32, name string, data bool) {
	if _, there := m.names[dir][name]; there {
		return
	}
	ino, err := m.e.AllocInode(NewInode{Near: dir, Mode: ext4.ModeRegular | 0o644, UID: 70000, GID: 5})
	if err != nil {
		m.t.Fatal(err)
	}
	m.links[ino] = 1
	m.insert(dir, m.name(name, ino, ext4.TypeRegular, data))
}

func (m *model) mkdir(r *rapid.T) {
	dir, name := m.dir(r), newName.Draw(r, "name")
	if _, there := m.names[dir][name]; there || len(m.names) > 12 {
		return
	}
	up := m.name("..", dir, ext4.TypeDir, rapid.Bool().Draw(r, "fid"))
	var f *[16]byte
	if up.Data != nil {
		f = (*[16]byte)(up.Data[1:])
	}
	ino, err := m.e.MakeDir(NewInode{Near: dir, Mode: 0o755}, dir, f)
	if err != nil {
		m.t.Fatal(err)
	}
	m.links[ino] = 2
	m.names[ino] = map[string]Name{".": {[]byte("."), ino, ext4.TypeDir, 0, nil}, "..": up}
	m.insert(dir, m.name(name, ino, ext4.TypeDir, true))
	m.setLinks(dir, m.links[dir]+1)
}

func (m *model) link(r *rapid.T) {
	from := m.dir(r)
	n := m.entry(r, from, false)
	if m.insert(m.dir(r), m.name(newName.Draw(r, "name"), n.Inode, n.Type, true)) {
		m.setLinks(n.Inode, m.links[n.Inode]+1)
	}
}

func (m *model) remove(r *rapid.T) {
	dir := m.dir(r)
	n := m.entry(r, dir, false)
	m.drop(dir, n)
	if left := m.links[n.Inode] - 1; left > 0 || !m.e.made[n.Inode] {
		m.setLinks(n.Inode, left)
		if left == 0 { // not of this edit's making: it gets its name back
			m.setLinks(n.Inode, 1)
			m.insert(dir, n)
		}
		return
	}
	if err := m.e.FreeInode(n.Inode); err != nil {
		m.t.Fatal(err)
	}
	delete(m.links, n.Inode)
	delete(m.attrs, n.Inode)
}

// drop removes a name.
func (m *model) drop(dir uint32, n Name) {
	x, err := m.e.Find(dir, n.Name)
	if err == nil {
		err = m.e.RemoveName(dir, n.Name, x.At)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	delete(m.names[dir], string(n.Name))
}

func (m *model) rename(r *rapid.T) {
	from, to := m.dir(r), m.dir(r)
	n := m.entry(r, from, true)
	now := n
	now.Name = []byte(newName.Draw(r, "name"))
	if n.Type == ext4.TypeDir && from != to {
		return
	}
	if m.insert(to, now) {
		m.drop(from, n)
	}
}

func (m *model) xattr(r *rapid.T) {
	n := m.entry(r, m.dir(r), true)
	name := rapid.SampledFrom([]string{"lma", "link", "lov", "x", "a-much-longer-name"}).Draw(r, "attr")
	key := "4." + name
	if m.attrs[n.Inode] == nil {
		m.attrs[n.Inode] = map[string]string{}
	}
	_, there := m.attrs[n.Inode][key]
	if rapid.Bool().Draw(r, "remove") {
		err := m.e.RemoveXattr(n.Inode, ext4.XattrIndexTrusted, name)
		if there != (err == nil) || err != nil && !errors.Is(err, ErrAbsent) {
			m.t.Fatalf("remove an attribute: %v, it was there: %v", err, there)
		}
		delete(m.attrs[n.Inode], key)
		return
	}
	value := bytes.Repeat([]byte{byte(rapid.IntRange(1, 250).Draw(r, "byte"))}, rapid.IntRange(0, 1200).Draw(r, "size"))
	err := m.e.SetXattr(n.Inode, ext4.XattrIndexTrusted, name, value)
	if errors.Is(err, ErrNoSpace) && len(value) > 300 {
		return
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.attrs[n.Inode][key] = string(value)
}

func (m *model) setFID(r *rapid.T) {
	if !m.e.sb.Dirdata() {
		panic(nothing{})
	}
	dir := m.dir(r)
	n := m.entry(r, dir, true)
	m.count++
	x, err := m.e.Find(dir, n.Name)
	if err != nil {
		m.t.Fatal(err)
	}
	at, err := m.e.SetLUFID(dir, n.Name, x.At, fid(m.count))
	if err != nil {
		m.t.Fatal(err)
	}
	n.Flags, n.Data = ext4.DirdataLUFID, ext4.LUFIDRecord(fid(m.count))
	m.names[dir][string(n.Name)] = n
	if x, err = m.e.Find(dir, n.Name); err != nil || x.At != at {
		m.t.Fatalf("%q is at %v, said to be at %v, %v", n.Name, x.At, at, err)
	}
}

func (m *model) dotdot(r *rapid.T) {
	dir := m.dir(r)
	n := m.names[dir][".."]
	var f *[16]byte
	if m.e.sb.Dirdata() && rapid.Bool().Draw(r, "fid") {
		m.count++
		v := fid(m.count)
		f = &v
		n.Flags, n.Data = ext4.DirdataLUFID, ext4.LUFIDRecord(v)
	}
	err := m.e.SetDotDot(dir, n.Inode, f)
	if errors.Is(err, ErrNeedsSplit) {
		return
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.names[dir][".."] = n
}
