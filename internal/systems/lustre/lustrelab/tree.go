package lustrelab

import (
	"errors"
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mkldiskfs"
)

// builder writes the namespace over all targets.
type builder struct {
	plan    *plan
	targets []*target
	pending map[int][]pendingLink // names that later directories will get
	number  uint64                // of files so far
	made    Made
}

// holder is a directory inode that names are being put into: a plain directory or a shard.
type holder struct {
	dir, shard int // shard is -1 for a plain directory
	fid        lustre.FID
	t          *target
	ino        uint32
	entries    []mkldiskfs.Entry
	links      uint16
}

func (b *builder) target(mdt int) *target { return b.targets[mdt] }

// name adds a name for an object that is on the MDT of the holder, or else makes an agent for it there.
func (b *builder) name(h *holder, name string, fid lustre.FID, mode uint16, mdt int, ino uint32) error {
	if mdt != h.t.index {
		var err error
		if ino, err = h.t.agent(fid, mode, h.ino); err != nil {
			return err
		}
		b.made.Remote++
	}
	h.entries = append(h.entries, mkldiskfs.Entry{Name: name, Ino: ino, Type: ext4.DirentTypeOf(mode), FID: fid})
	if mode&ext4.ModeTypeMask == ext4.ModeDir {
		h.links++
	}
	return nil
}

// newDir takes an inode for a directory that will be named in h, names it, and hangs it under REMOTE_PARENT_DIR if it is remote.
func (b *builder) newDir(h *holder, name string, fid lustre.FID, mdt int) (uint32, error) {
	t := b.target(mdt)
	ino, err := t.alloc(true)
	if err != nil {
		return 0, err
	}
	if mdt != h.t.index {
		t.remote(fid, ino, ext4.TypeDir)
	}
	return ino, b.name(h, name, fid, ext4.ModeDir, mdt, ino)
}

// putDir writes a directory that has its names. up is the holder that names it.
func (b *builder) putDir(h *holder, up *holder, name string, mode uint16, incompat uint32, xattrs ...mkldiskfs.Xattr) error {
	o := &object{ino: h.ino, mode: ext4.ModeDir | mode, links: h.links, lma: lustre.LMA{Incompat: incompat, FID: h.fid}}
	parent := mkldiskfs.Entry{Ino: up.ino, FID: up.fid}
	if up.t != h.t {
		parent.Ino = h.t.parents.ino
		o.lma.Incompat |= lustre.LMAIRemoteParent
	}
	if name != "" {
		link, _ := lustre.LinkEA{}.Add(up.fid, name).Encode(0)
		o.xattrs = append(o.xattrs, trusted("link", link))
	}
	o.xattrs = append(o.xattrs, xattrs...)
	return h.t.putDir(o, parent, h.entries, 0)
}

// root takes the inode of ROOT on MDT0.
func (b *builder) root() error {
	t := b.target(0)
	ino, err := t.alloc(true)
	b.plan.dirs[0].ino = ino
	t.root.add(mkldiskfs.Entry{Name: "ROOT", Ino: ino, Type: ext4.TypeDir})
	return err
}

// directory writes one directory of the namespace: its inode, or those of master and shards.
func (b *builder) directory(i int) error {
	d := &b.plan.dirs[i]
	h := &holder{dir: i, shard: -1, fid: d.fid, t: b.target(int(d.mdt)), ino: d.ino, links: 2}
	b.made.Dirs++
	if i == 0 {
		if err := errors.Join(b.dotLustre(h), b.foreign(h)); err != nil {
			return err
		}
		if err := b.fill(h); err != nil {
			return err
		}
		o := &object{ino: h.ino, mode: ext4.ModeDir | 0o755, links: h.links, lma: lustre.LMA{FID: h.fid}}
		return h.t.putDir(o, mkldiskfs.Entry{Ino: ext4.InoRoot}, h.entries, 0)
	}
	up, name := b.above(i), b.plan.dirName(i)
	if d.stripe >= 0 {
		return b.striped(h, up, name)
	}
	if err := b.fill(h); err != nil {
		return err
	}
	return b.putDir(h, up, name, 0o755, 0)
}

// above gives what names directory i, without its entries.
func (b *builder) above(i int) *holder {
	parent := b.plan.parent(i)
	k, fid, mdt := b.plan.holder(parent, b.plan.dirName(i))
	return &holder{dir: parent, shard: k, fid: fid, t: b.target(mdt), ino: b.plan.holderIno(parent, k)}
}

// striped writes master and shards of a directory. The names are in the shards; the master names the shards only.
func (b *builder) striped(master, up *holder, name string) error {
	l := &b.plan.layouts[b.plan.dirs[master.dir].stripe]
	for k := range l.shards {
		s := &l.shards[k]
		var err error
		if s.ino, err = b.newDir(master, lustre.ShardName(s.fid, k), s.fid, int(s.mdt)); err != nil {
			return err
		}
	}
	for k := range l.shards {
		s := &l.shards[k]
		h := &holder{dir: master.dir, shard: k, fid: s.fid, t: b.target(int(s.mdt)), ino: s.ino, links: 2}
		if err := b.fill(h); err != nil {
			return err
		}
		lmv := l.lmv
		lmv.Magic, lmv.Index = lustre.LMVShard, uint32(k)
		err := b.putDir(h, master, lustre.ShardName(s.fid, k), 0o755, lustre.LMAIStriped, trusted("lmv", lmv.Encode()))
		if err != nil {
			return err
		}
	}
	return b.putDir(master, up, name, 0o755, lustre.LMAIStriped, trusted("lmv", l.lmv.Encode()))
}

// fill puts names into a holder: sub-directories, files, and links that files before asked for.
func (b *builder) fill(h *holder) error {
	mine := func(name string) bool {
		if h.shard < 0 {
			return true
		}
		k, _, _ := b.plan.holder(h.dir, name)
		return k == h.shard
	}
	first, end := b.plan.children(h.dir)
	for c := first; c < end; c++ {
		name, d := b.plan.dirName(c), &b.plan.dirs[c]
		if !mine(name) {
			continue
		}
		var err error
		if d.ino, err = b.newDir(h, name, d.fid, int(d.mdt)); err != nil {
			return err
		}
		b.made.Names++
	}
	for j := range int(b.plan.dirs[h.dir].files) {
		if name := fileName(h.dir, j); mine(name) {
			if err := b.file(h, name, j); err != nil {
				return fmt.Errorf("file %d: %w", j, err)
			}
		}
	}
	return b.putPending(h)
}

// foreign makes an empty directory whose layout Lustre keeps for another system.
func (b *builder) foreign(root *holder) error {
	if !b.plan.opt.Foreign {
		return nil
	}
	fid := lustre.FID{Seq: seqBase(0), OID: 0x200}
	ino, err := b.newDir(root, "foreign", fid, 0)
	if err != nil {
		return err
	}
	b.made.Dirs++
	b.made.Names++
	lmv := lustre.Foreign{Type: 0xda05, Value: []byte("daos://pool/container")}.Encode(lustre.LMVForeign)
	return b.putDir(&holder{fid: fid, t: root.t, ino: ino, links: 2}, root, "foreign", 0o755, 0, trusted("lmv", lmv))
}

// dotLustre makes .lustre with what belongs to it in ROOT.
func (b *builder) dotLustre(root *holder) error {
	t := root.t
	at := func(fid lustre.FID) (*holder, error) {
		ino, err := t.alloc(true)
		return &holder{fid: fid, t: t, ino: ino, links: 2}, err
	}
	dot, err := at(lustre.FIDDotLustre)
	if err != nil {
		return err
	}
	byFID, err := at(lustre.FIDDotLustreFID)
	if err != nil {
		return err
	}
	lost, err := at(lustre.FIDDotLustreLost)
	if err != nil {
		return err
	}
	for _, n := range []struct {
		up, down *holder
		name     string
	}{{root, dot, ".lustre"}, {dot, byFID, "fid"}, {dot, lost, "lost+found"}} {
		if err := b.name(n.up, n.name, n.down.fid, ext4.ModeDir, 0, n.down.ino); err != nil {
			return err
		}
	}
	if b.plan.opt.LostFound {
		for _, t := range b.targets {
			fid := lostFID(t.index)
			ino, err := b.newDir(lost, lustre.MDTName(uint32(t.index)), fid, t.index)
			if err != nil {
				return err
			}
			h := &holder{fid: fid, t: t, ino: ino, links: 2}
			if err := b.putDir(h, lost, lustre.MDTName(uint32(t.index)), 0o700, 0); err != nil {
				return err
			}
		}
	}
	// .lustre/fid alone has no link EA.
	if err := b.putDir(byFID, dot, "", 0o100, 0); err != nil {
		return err
	}
	if err := b.putDir(lost, dot, "lost+found", 0o500, 0); err != nil {
		return err
	}
	return b.putDir(dot, root, ".lustre", 0o755, 0)
}
