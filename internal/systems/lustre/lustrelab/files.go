package lustrelab

import (
	"encoding/binary"
	"strconv"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mkldiskfs"
)

// pendingLink is a further name of a file, for a directory that is written later.
type pendingLink struct {
	name  string
	shard int // of the directory, -1 for a plain one
	fid   lustre.FID
	mode  uint16
	mdt   int
	ino   uint32
}

const (
	linkEARoom  = 4000 // what fits in a block of attributes: a server drops records that do not
	popularDir  = 2    // the first file of this directory gets popular names
	popular     = 150
	farthest    = 64 // how many directories further a second name may be
	ostSequence = 1 << 20
)

// fileName is the name of the j-th file of a directory. Some look like those of temporary and backup files, which the crush hashes
// treat in their own way; some are long or not ASCII.
func fileName(dir, j int) string {
	b := make([]byte, 0, 48)
	h := mix(uint64(dir)<<32 | uint64(j))
	switch h % 64 {
	case 0:
		b = append(strconv.AppendInt(append(b, ".tmp"...), int64(j), 10), ".aB3xY9"...)
	case 1:
		b = append(strconv.AppendInt(append(b, "data"...), int64(j), 10), '~')
	case 2:
		b = append(strconv.AppendInt(append(b, "conf"...), int64(j), 10), ".orig"...)
	case 3:
		b = append(strconv.AppendInt(append(b, "größe-"...), int64(j), 10), ".dat"...)
	case 4:
		b = append(strconv.AppendInt(append(b, "run."...), int64(j), 10), ".20240131"...)
	case 5:
		b = append(strconv.AppendInt(append(b, "a-name-that-is-longer-than-most-of-the-others-are-"...), int64(j), 10), ".h5"...)
	default:
		b = append(strconv.AppendInt(append(b, 'f'), int64(j), 10), '.')
		b = strconv.AppendUint(b, h>>40, 36)
	}
	return string(b)
}

// file makes one file and its name in h.
func (b *builder) file(h *holder, name string, j int) error {
	t := h.t
	b.number++
	ino, err := t.alloc(false)
	if err != nil {
		return err
	}
	b.made.Files++
	b.made.Names++
	fid := b.plan.seqs[t.index].next()
	o := &object{ino: ino, mode: ext4.ModeRegular | 0o644, links: 1, lma: lustre.LMA{FID: fid}, file: true}
	switch b.plan.chance(forKind, b.number) % 64 {
	case 0, 1:
		o.mode, o.m = ext4.ModeSymlink|0o777, mkldiskfs.FastSymlink("../"+name[:min(len(name), 50)])
	case 2:
		o.mode = ext4.ModeFIFO | 0o600
	}
	h.entries = append(h.entries, mkldiskfs.Entry{Name: name, Ino: ino, Type: ext4.DirentTypeOf(o.mode), FID: fid})
	ea := lustre.LinkEA{Links: []lustre.Link{{Parent: h.fid, Name: name}}}
	if o.mode&ext4.ModeTypeMask == ext4.ModeRegular {
		b.moreNames(h, o, &ea, j)
	}
	o.xattrs = append(o.xattrs, trusted("link", b.encodeLinks(ea)))
	if o.mode&ext4.ModeTypeMask == ext4.ModeRegular {
		ost := lustre.FID{Seq: seqBase(b.plan.opt.MDTs) + b.number/ostSequence, OID: uint32(b.number%ostSequence) + 1}
		o.xattrs = append(o.xattrs, trusted("lov", lovOne(fid, ost)))
	}
	if err := t.put(o); err != nil {
		return err
	}
	return b.deleted(h)
}

// deleted leaves now and then what a removed file leaves: a free inode with its content, and bytes of its name.
func (b *builder) deleted(h *holder) error {
	c := b.plan.chance(forDeleted, b.number)
	if int(c%1000) >= b.plan.opt.Deleted {
		return nil
	}
	ino, err := h.t.im.AllocInode(false)
	if err != nil {
		return err
	}
	fid := b.plan.seqs[h.t.index].next()
	link, _ := lustre.LinkEA{}.Add(h.fid, "gone").Encode(0)
	in := mkldiskfs.Inode{Mode: ext4.ModeRegular | 0o644, Generation: h.t.im.Generation(ino), Deleted: defaultDay,
		Xattrs: []mkldiskfs.Xattr{trusted("lma", lustre.LMA{FID: fid}.Encode()), trusted("link", link)}}
	if err := h.t.im.PutInode(ino, &in); err != nil {
		return err
	}
	h.t.im.FreeInode(ino, false)
	if c>>32%2 == 0 {
		h.entries[len(h.entries)-1].Slack = 12 + int(c>>40%12)*4
	} else {
		h.entries = append(h.entries, mkldiskfs.Entry{Name: "gone", Type: ext4.TypeRegular, FID: fid})
	}
	return nil
}

// encodeLinks drops records that do not fit in a block of attributes, and notes the time, as a server does.
func (b *builder) encodeLinks(ea lustre.LinkEA) []byte {
	room := linkEARoom
	if b.plan.opt.EAInode {
		room = lustre.LinkEAMax
	}
	for {
		b, dropped := ea.Encode(defaultDay)
		if dropped == 0 && len(b) <= room {
			return b
		}
		ea.Links = ea.Links[:len(ea.Links)-1]
		ea.Overflow = defaultDay
	}
}

// moreNames decides over further names of a file, here and in directories that are written later.
func (b *builder) moreNames(h *holder, o *object, ea *lustre.LinkEA, j int) {
	count, long := 0, ""
	c := b.plan.chance(forLink, b.number)
	switch {
	case b.plan.opt.HardLinks == 0:
	case h.dir == popularDir && j == 0:
		count, long = popular, "-one-of-very-many-names"
	case int(c%1000) < b.plan.opt.HardLinks:
		count = 1
		if c>>32%16 == 0 {
			count = 2 + int(c>>40%8)
		}
	}
	remote := false
	for n := range count {
		name := "ln" + strconv.FormatUint(b.number, 36) + "-" + strconv.Itoa(n) + long
		far := int(b.plan.chance(forTarget, b.number<<16|uint64(n)) % farthest)
		dir := min(h.dir+far, len(b.plan.dirs)-1)
		k, fid, mdt := b.plan.holder(dir, name)
		switch {
		case dir == h.dir && k != h.shard, mdt != h.t.index && (remote || count == popular):
			continue // that shard may be written already; one remote name is what e2fsck has room for in its count
		case dir == h.dir:
			h.entries = append(h.entries, mkldiskfs.Entry{Name: name, Ino: o.ino, Type: ext4.DirentTypeOf(o.mode), FID: o.lma.FID})
		default:
			b.pending[dir] = append(b.pending[dir], pendingLink{name, k, o.lma.FID, o.mode, h.t.index, o.ino})
		}
		if mdt != h.t.index {
			remote = true
			o.lma.Incompat |= lustre.LMAIRemoteParent
			h.t.remote(o.lma.FID, o.ino, ext4.DirentTypeOf(o.mode))
		}
		ea.Links = append(ea.Links, lustre.Link{Parent: fid, Name: name})
		o.links++
		b.made.Links++
		b.made.Names++
	}
}

// putPending adds the names that files before asked for.
func (b *builder) putPending(h *holder) error {
	all := b.pending[h.dir]
	rest := all[:0]
	for _, l := range all {
		if l.shard != h.shard {
			rest = append(rest, l)
			continue
		}
		if err := b.name(h, l.name, l.fid, l.mode, l.mdt, l.ino); err != nil {
			return err
		}
	}
	if b.pending[h.dir] = rest; len(rest) == 0 {
		delete(b.pending, h.dir)
	}
	return nil
}

// unlinked makes files that are open but have no name, in PENDING. Their link EA still says where they were.
func (b *builder) unlinked(t *target) error {
	return t.dir(&t.root, "PENDING", 0o755, lustre.LMA{FID: t.localFID()}, func(d *localDir) error {
		for n := range b.plan.opt.Pending {
			ino, err := t.alloc(false)
			if err != nil {
				return err
			}
			fid := b.plan.seqs[t.index].next()
			o := &object{ino: ino, mode: ext4.ModeRegular | 0o644, links: 1, lma: lustre.LMA{FID: fid}, file: true}
			if n%2 == 1 {
				o.lma.Incompat = lustre.LMAIOrphan
			}
			link, _ := lustre.LinkEA{}.Add(lustre.FIDRoot, "deleted"+strconv.Itoa(n)).Encode(0)
			o.xattrs = append(o.xattrs, trusted("link", link))
			d.add(mkldiskfs.Entry{Name: lustre.PendingName(fid), Ino: ino, Type: ext4.TypeRegular, FID: fid})
			if err := t.put(o); err != nil {
				return err
			}
		}
		return nil
	})
}

// lovOne is a plain layout with one object on OST 0.
func lovOne(owner, object lustre.FID) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(le.AppendUint32(make([]byte, 0, 56), lustre.LOVv1), 1)
	b = le.AppendUint64(le.AppendUint64(b, uint64(owner.OID)), owner.Seq)
	b = le.AppendUint32(b, 1<<20)
	b = le.AppendUint16(le.AppendUint16(b, 1), 0)
	b = object.AppendLittle(b)
	return le.AppendUint32(le.AppendUint32(b, 0), 0)
}
