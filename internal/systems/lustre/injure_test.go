package lustre

import (
	"context"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/store/storetest"
	"fettle/internal/systems/lustre/lustrelab"
)

// patient is a made file system whose bytes can be changed.
type patient struct {
	t     testing.TB
	paths []string
	u     *unit
	w     *world
	all   []body
}

// body is one object of the namespace, with its names.
type body struct {
	place
	in    *ext4.Inode
	lma   lustre.LMA
	link  lustre.LinkEA
	lmv   *lustre.LMV
	names []limb
}

// limb is a directory entry.
type limb struct {
	place        // of the directory
	ino   uint32 // in the entry
	at    int64
	text  string
	fid   lustre.FID
}

// newPatient makes a file system in a directory, with the default shape changed by o.
func newPatient(t testing.TB, dir string, o lustrelab.Options) *patient {
	t.Helper()
	if o.Files == 0 {
		o.Files = 300
	}
	o.Dirs = 24
	m, err := lustrelab.Make(context.Background(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	p := &patient{t: t, paths: m.Paths}
	p.u = openPaths(t, nil, m.Paths...).(*unit)
	p.w = newWorld(p.u)
	p.look()
	return p
}

// look reads all objects and names.
func (p *patient) look() {
	index := map[lustre.FID]int{}
	var names []limb
	for m, t := range p.u.targets {
		err := t.fs.SweepInodes(context.Background(), ext4.SweepOptions{}, func(in *ext4.Inode) error {
			var x attrs
			if err := x.read(t.fs, in, nil); err != nil {
				return err
			}
			if !x.known || x.lma.Has(lustre.LMAIAgent) || t.marks.own(in.Number) {
				return nil
			}
			b := body{place: place{m, in.Number}, in: in.Clone(), lma: x.lma}
			b.link = p.w.tenant(b.place).link
			if v, err := lustre.DecodeLMV(x.lmv); err == nil {
				b.lmv = &v
			}
			index[x.lma.FID] = len(p.all)
			p.all = append(p.all, b)
			if !in.IsDir() {
				return nil
			}
			return t.fs.Dir(in, func(e ext4.Dirent) bool {
				if raw, ok := e.LUFID(); ok || string(e.Name) != "." {
					l := limb{place: b.place, ino: e.Inode, at: e.At, text: string(e.Name)}
					if ok {
						l.fid = lustre.BigFID(raw)
					}
					names = append(names, l)
				}
				return true
			}, nil)
		})
		if err != nil {
			p.t.Fatal(err)
		}
	}
	for _, n := range names {
		if i, ok := index[n.fid]; ok && n.text != ".." {
			p.all[i].names = append(p.all[i].names, n)
		}
	}
}

// pick gives the first object that fits.
func (p *patient) pick(what string, fits func(b *body) bool) *body {
	p.t.Helper()
	for i := range p.all {
		if fits(&p.all[i]) {
			return &p.all[i]
		}
	}
	p.t.Fatalf("there is no %s", what)
	return nil
}

func (p *patient) file() *body {
	return p.pick("file", func(b *body) bool {
		return b.in.IsRegular() && len(b.names) == 1 && b.names[0].mdt == b.mdt && !p.striped(b.names[0].place)
	})
}

func (p *patient) hardLink() *body {
	return p.pick("file with several names", func(b *body) bool {
		return b.in.IsRegular() && len(b.names) == 2 && b.names[0].mdt == b.mdt && b.names[1].mdt == b.mdt
	})
}

func (p *patient) remote() *body {
	return p.pick("remote directory", func(b *body) bool {
		return b.in.IsDir() && b.lmv == nil && len(b.names) == 1 && b.names[0].mdt != b.mdt
	})
}

func (p *patient) master() *body {
	return p.pick("master", func(b *body) bool { return b.lmv != nil && b.lmv.IsMaster() && b.lmv.HashType == lustre.HashFNV })
}

func (p *patient) shard(remote bool) *body {
	return p.pick("shard", func(b *body) bool {
		return b.lmv != nil && b.lmv.IsShard() && len(b.names) == 1 && (b.names[0].mdt != b.mdt) == remote && b.lmv.HashType == lustre.HashFNV
	})
}

func (p *patient) striped(dir place) bool {
	return slices.ContainsFunc(p.all, func(b body) bool { return b.place == dir && b.lmv != nil })
}

// write changes bytes of a target.
func (p *patient) write(mdt int, at int64, b []byte) {
	p.t.Helper()
	f, err := os.OpenFile(p.paths[mdt], os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(b, at)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// xattr gives an attribute of an inode.
func (p *patient) xattr(b *body, name string) ext4.Xattr {
	p.t.Helper()
	var out ext4.Xattr
	b.in.InodeXattrs(func(a ext4.Xattr) bool {
		if string(a.Name) == name {
			out = a
		}
		return true
	}, nil)
	if out.Name == nil {
		p.t.Fatalf("inode %d has no %s", b.ino, name)
	}
	return out
}

// lose renames an attribute, so that nobody finds it.
func (p *patient) lose(b *body, name string) {
	p.write(b.mdt, p.xattr(b, name).EntryAt+ext4.XattrEntrySize, []byte{'x'})
}

// patch changes bytes of an attribute's value.
func (p *patient) patch(b *body, name string, at int, with []byte) {
	p.write(b.mdt, p.xattr(b, name).ValueAt+int64(at), with)
}

func (p *patient) links(b *body, n uint16) {
	p.write(b.mdt, b.in.Offset+ext4.InodeLinks, binary.LittleEndian.AppendUint16(nil, n))
}

// free takes an inode out of use.
func (p *patient) free(b *body) { p.freeIno(b.place) }

func (p *patient) freeIno(at place) {
	fs := p.u.targets[at.mdt].fs
	in, err := fs.Inode(at.ino)
	if err != nil {
		p.t.Fatal(err)
	}
	g, err := fs.Group(in.Group)
	if err != nil {
		p.t.Fatal(err)
	}
	map1 := make([]byte, fs.Super().BlockSize)
	if err := fs.InodeBitmap(in.Group, map1); err != nil {
		p.t.Fatal(err)
	}
	p.write(at.mdt, int64(g.InodeBitmap)*int64(fs.Super().BlockSize)+int64(in.Index/8), []byte{map1[in.Index/8] &^ (1 << (in.Index % 8))})
}

// drop removes a name.
func (p *patient) drop(l limb) { p.write(l.mdt, l.at, make([]byte, 4)) }

// fid changes the FID in a name.
func (p *patient) fid(l limb, f lustre.FID) {
	p.write(l.mdt, l.at+ext4.DirentHeader+int64(len(l.text))+2, f.AppendBig(nil))
}

// entry finds an entry of a directory.
func (p *patient) entry(dir place, name string) limb {
	p.t.Helper()
	r, ok := p.w.find(dir, name)
	if !ok {
		p.t.Fatalf("inode %d has no name %q", dir.ino, name)
	}
	return limb{place: dir, ino: r.ino, at: r.at, text: name, fid: r.fid}
}

// indexAt gives the byte of an object's entry in the object index.
func (p *patient) indexAt(b *body) int64 {
	t := p.u.targets[b.mdt]
	n, err := lustre.OIFile(b.lma.FID, len(t.marks.oi))
	if err != nil {
		p.t.Fatal(err)
	}
	in, err := t.fs.Inode(t.marks.oi[n])
	if err != nil {
		p.t.Fatal(err)
	}
	size, at := int64(t.fs.Super().BlockSize), int64(-1)
	buf := make([]byte, size)
	err = in.Blocks(t.fs, func(x ext4.Extent) bool {
		for i := range uint64(x.Length) {
			if t.fs.ReadBlock(x.Physical+i, buf) != nil || lustre.IAMBlockKind(buf) != lustre.IAMLeafBlock {
				continue
			}
			if k := strings.Index(string(buf), string(b.lma.FID.AppendBig(nil))); k >= 0 {
				at = int64(x.Physical+i)*size + int64(k)
			}
		}
		return true
	}, nil)
	if err != nil || at < 0 {
		p.t.Fatalf("%v is not in the object index: %v", b.lma.FID, err)
	}
	return at
}

func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

// injuries are ways to damage a file system, with the classes of the findings that come of each by itself, and of those that
// follow from them.
var injuries = []struct {
	name string
	do   func(p *patient)
	want map[string]int
	then map[string]int // with a cause
}{
	{"nothing", func(p *patient) {}, nil, nil},
	{"inode of a file freed", func(p *patient) { p.free(p.file()) }, map[string]int{DanglingName: 1}, map[string]int{IndexStale: 1}},
	{"name of a file dropped", func(p *patient) { p.drop(p.file().names[0]) }, map[string]int{Orphan: 1}, nil},
	{"one of two names dropped", func(p *patient) { p.drop(p.hardLink().names[1]) }, map[string]int{LostName: 1}, nil},
	{"one of two names dropped with its link", func(p *patient) {
		b := p.hardLink()
		p.drop(b.names[1])
		p.links(b, 1)
	}, map[string]int{LinkRedundant: 1}, nil},
	{"name of a remote directory dropped", func(p *patient) { p.drop(p.remote().names[0]) }, map[string]int{Orphan: 1}, map[string]int{AgentStale: 1, BadNlink: 1}},
	{"agent freed", func(p *patient) {
		l := p.remote().names[0]
		p.freeIno(place{l.mdt, l.ino})
	}, map[string]int{AgentMissing: 1}, nil},
	{"entry of REMOTE_PARENT_DIR dropped", func(p *patient) {
		b := p.remote()
		p.drop(p.entry(place{b.mdt, p.u.remotes[b.mdt]}, b.lma.FID.Bare()))
	}, map[string]int{RemoteMissing: 1}, nil},
	{"LMA lost", func(p *patient) { p.lose(p.file(), "lma") }, map[string]int{MissingLMA: 1}, nil},
	{"LMA of a remote directory lost", func(p *patient) { p.lose(p.remote(), "lma") }, map[string]int{MissingLMA: 1}, nil},
	{"LMA of a directory lost", func(p *patient) {
		p.lose(p.pick("directory with a file", func(b *body) bool {
			return b.in.IsDir() && b.lmv == nil && len(b.names) == 1 && b.names[0].mdt == b.mdt && slices.ContainsFunc(p.all, func(c body) bool { return len(c.names) > 0 && c.names[0].place == b.place })
		}), "lma")
	}, map[string]int{MissingLMA: 1}, nil},
	{"link EA lost", func(p *patient) { p.lose(p.file(), "link") }, map[string]int{LinkMissing: 1}, nil},
	{"link EA without magic", func(p *patient) { p.patch(p.file(), "link", 0, []byte{1, 2, 3}) }, map[string]int{LinkCrashed: 1}, nil},
	{"link EA with another name", func(p *patient) { p.patch(p.file(), "link", 24+18, []byte{'#'}) }, map[string]int{UnmatchedPair: 1}, nil},
	{"link EA with a parent that does not exist", func(p *patient) { p.patch(p.file(), "link", 24+2+8, []byte{9, 9, 9, 9}) }, map[string]int{UnmatchedPair: 1}, nil},
	{"link EA with a length that is wrong", func(p *patient) { p.patch(p.file(), "link", 24, []byte{0, 9}) }, map[string]int{LinkCrashed: 1}, nil},
	{"type of a name", func(p *patient) { p.write(p.file().names[0].mdt, p.file().names[0].at+7, []byte{0x12}) }, map[string]int{BadType: 1}, nil},
	{"links of a file", func(p *patient) { p.links(p.file(), 7) }, map[string]int{BadNlink: 1}, nil},
	{"links of a directory", func(p *patient) { p.links(p.remote(), 77) }, map[string]int{BadNlink: 1}, nil},
	{"FID of a name", func(p *patient) {
		f := p.file().lma.FID
		f.OID += 0x7000
		p.fid(p.file().names[0], f)
	}, map[string]int{DirentFIDMismatch: 1}, nil},
	{"FID of a remote name", func(p *patient) {
		f := p.remote().lma.FID
		f.OID += 0x70000
		p.fid(p.remote().names[0], f)
	}, map[string]int{DirentFIDMismatch: 1}, nil},
	{"FID of a name is that of another object", func(p *patient) { p.fid(p.file().names[0], p.hardLink().lma.FID) }, map[string]int{DirentFIDMismatch: 1}, nil},
	{"FID of a name is none", func(p *patient) { p.fid(p.file().names[0], lustre.FID{Seq: 1 << 40, OID: 1, Ver: 77}) }, map[string]int{DirentFIDInsane: 1}, nil},
	{"inode number of a name", func(p *patient) { p.write(p.file().names[0].mdt, p.file().names[0].at, le32(p.hardLink().ino)) }, map[string]int{DirentInode: 1}, nil},
	{"flag of the FID taken off", func(p *patient) { p.write(p.file().names[0].mdt, p.file().names[0].at+7, []byte{1}) }, map[string]int{NoFID: 1}, nil},
	{"two inodes with one FID", func(p *patient) { p.patch(p.file(), "lma", 8, p.hardLink().lma.FID.AppendLittle(nil)) }, map[string]int{DuplicateFID: 1}, map[string]int{DirentFIDMismatch: 1}},
	{"'..' leads elsewhere", func(p *patient) {
		b := p.remote()
		p.fid(p.entry(b.place, ".."), p.hardLink().lma.FID)
	}, map[string]int{DotdotMismatch: 1}, nil},
	{"'..' and link EA lead to a parent that does not exist", func(p *patient) {
		b := p.remote()
		f := b.link.Links[0].Parent
		f.OID += 0x7000
		p.fid(p.entry(b.place, ".."), f)
		p.patch(b, "link", 24+2, f.AppendBig(nil))
	}, map[string]int{UnmatchedPair: 1}, map[string]int{DotdotMismatch: 1}},
	{"LMV of a master lost", func(p *patient) { p.lose(p.master(), "lmv") }, map[string]int{MasterLMVMissing: 1}, nil},
	{"LMV of a shard lost", func(p *patient) { p.lose(p.shard(true), "lmv") }, map[string]int{ShardLMVMissing: 1}, nil},
	{"hash of a master", func(p *patient) { p.patch(p.master(), "lmv", 12, le32(77)) }, map[string]int{MasterLMVWrong: 1}, nil},
	{"name in a shard", func(p *patient) {
		b := p.pick("file in a shard", func(b *body) bool {
			return b.in.IsRegular() && len(b.names) == 1 && b.names[0].mdt == b.mdt && p.striped(b.names[0].place) && len(b.names[0].text) > 2
		})
		l := b.names[0]
		var v lustre.LMV
		for _, s := range p.all {
			if s.place == l.place {
				v = *s.lmv
			}
		}
		for c := byte('A'); c <= 'Z'; c++ {
			text := string(c) + l.text[1:]
			if _, taken := p.w.find(l.place, text); !taken && misplaced(&v, text) {
				p.write(l.mdt, l.at+8, []byte{c})
				return
			}
		}
		p.t.Fatal("every letter leads to this shard")
	}, map[string]int{BadNameHash: 1}, map[string]int{UnmatchedPair: 1}},
	{"name of a shard dropped", func(p *patient) { p.drop(p.shard(false).names[0]) }, map[string]int{Orphan: 1}, map[string]int{StripeLost: 1, BadNlink: 1}},
	{"entry of the object index lost", func(p *patient) {
		b := p.file()
		p.write(b.mdt, p.indexAt(b), make([]byte, 24))
	}, map[string]int{IndexMissing: 1, Damage: 1}, nil}, // a key out of order, at which searches for others stumble
	{"entry of the object index leads elsewhere", func(p *patient) {
		b := p.file()
		p.write(b.mdt, p.indexAt(b)+16, binary.BigEndian.AppendUint32(nil, p.hardLink().ino))
	}, map[string]int{IndexStale: 1}, nil},
	{"block of a directory", func(p *patient) {
		l := p.file().names[0]
		size := int64(p.u.targets[l.mdt].fs.Super().BlockSize)
		p.write(l.mdt, l.at/size*size+12+4, []byte{3, 0})
	}, map[string]int{Damage: 1}, nil},
}

func injure(i int) func(t testing.TB, dir string) {
	return func(t testing.TB, dir string) { injuries[i].do(newPatient(t, dir, lustrelab.Options{HardLinks: 300})) }
}

// Each injury gives the findings that it should, and nothing else that has no cause.
func TestInjuries(t *testing.T) {
	for i, c := range injuries {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			injure(i)(t, dir)
			fs := checkPaths(t, nil, filepath.Join(dir, "mdt0.img"), filepath.Join(dir, "mdt1.img"))
			have, then := map[string]int{}, map[string]int{}
			for _, f := range fs {
				if f.CausedBy != nil {
					then[f.Class]++
				} else {
					have[f.Class]++
				}
			}
			if c.name == "block of a directory" { // how many names lie behind it depends on the block
				clear(then)
			}
			if !maps.Equal(have, c.want) || !maps.Equal(then, c.then) && len(then)+len(c.then) > 0 {
				t.Errorf("found %v and caused by them %v, want %v and %v", have, then, c.want, c.then)
				tell(t, fs)
			}
		})
	}
}

func TestConformance(t *testing.T) {
	s := storetest.Suite{System: System{}, Resumes: true}
	for i, c := range injuries {
		if i%4 != 0 && c.then == nil {
			continue
		}
		want := map[string]int{}
		for class, n := range c.want {
			want[class] += n
		}
		for class, n := range c.then {
			want[class] += n
		}
		s.Cases = append(s.Cases, storetest.Case{Name: c.name, Make: injure(i), Want: want, NoRepair: true,
			Location: func(path string) string {
				return "lustre:" + filepath.Join(path, "mdt0.img") + "," + filepath.Join(path, "mdt1.img")
			}})
	}
	storetest.Run(t, s)
}

var _ = finding.Error
