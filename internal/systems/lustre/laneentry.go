package lustre

import (
	"fmt"

	"fettle/internal/claim"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// noteEntry tells of damage to entries, and keeps that of a wrong inode number for entry.
func (r *runner) noteEntry(p ext4.Problem) {
	if p.Kind == ext4.KindDirentInode {
		r.outside = &p
		return
	}
	r.note(p)
}

// entry takes in one directory entry.
func (r *runner) entry(d *dirState, e ext4.Dirent) error {
	if r.outside != nil {
		if b, ok := e.LUFID(); d.role != roleNone || !ok || !lustre.BigFID(b).Sane() { // else the FID tells what it should lead to, and a judge that it does not
			r.note(*r.outside)
		}
		r.outside = nil
	}
	if e.Name[0] == '.' && len(e.Name) <= 2 {
		if len(e.Name) == 1 {
			d.dot(r, e)
			return nil
		}
		if e.Name[1] == '.' {
			d.up(e)
			return nil
		}
	}
	switch d.role {
	case roleRemote:
		f, ok := lustre.ParseRemoteParentName(string(e.Name))
		if !ok {
			r.note(ext4.Problem{Kind: kindOwnName, Inode: d.ino, Offset: e.At, Text: fmt.Sprintf("inode %d: REMOTE_PARENT_DIR has the name %q, which is no FID", d.ino, e.Name)})
			return nil
		}
		return r.listed(f, kRemote, e)
	case rolePending:
		f, ok := lustre.ParsePendingName(string(e.Name))
		if !ok {
			f, _ = r.resolve(e.Inode)
		}
		return r.listed(f, kPending, e)
	case roleBackend:
		f, _ := r.resolve(e.Inode)
		return r.listed(f, kBackend, e)
	}
	return r.named(d, e)
}

// listed makes the claim of an entry of one of the target's own directories.
func (r *runner) listed(f lustre.FID, kind claim.Kind, e ext4.Dirent) error {
	r.says = r.says[:0]
	return r.add(f, r.t.index, kind, uint64(e.At), uint64(e.Inode))
}

// dot takes '.' in.
func (d *dirState) dot(r *runner, e ext4.Dirent) {
	d.dotted = true
	if e.Inode != d.ino {
		r.note(ext4.Problem{Kind: kindNoDot, Inode: d.ino, Offset: e.At, Text: fmt.Sprintf("inode %d: '.' leads to inode %d", d.ino, e.Inode)})
	}
}

// up takes '..' in.
func (d *dirState) up(e ext4.Dirent) {
	d.sum.bits |= dirUp
	if e.Type != ext4.TypeDir && e.Type != 0 {
		d.sum.bits |= dirUpType
	}
	d.sum.upIno, d.sum.upAt = e.Inode, e.At
	if b, ok := e.LUFID(); ok {
		d.sum.up = lustre.BigFID(b)
		d.sum.bits |= dirUpFID
	}
}

// named makes the claim of a name in the namespace.
func (r *runner) named(d *dirState, e ext4.Dirent) error {
	n := &r.nam
	*n = name{ino: e.Inode, typ: e.Type, parent: d.fid}
	n.hash = linkHash(d.fid, e.Name)
	if first, same := r.same.met(n.hash, e.Inode); same {
		r.sameName(d, e, first)
	}
	own := uint32(0) // an IGIF in the namespace is one of MDT0
	var f lustre.FID
	b, ok := e.LUFID()
	if ok {
		f = lustre.BigFID(b)
	}
	switch {
	case !ok:
		n.bits |= nameNoFID
		f, own = r.resolve(e.Inode)
	case !f.Sane():
		n.bits |= nameInsane
		f, own = r.resolve(e.Inode)
	case f.IsIGIF():
		own = 0
	case f.IsLocal():
		own = r.t.index
	}
	if e.Type == ext4.TypeDir {
		d.sum.subdirs++
	}
	r.counts.Names++
	d.striping(n, e.Name)
	r.says = n.says(r.says[:0])
	return r.add(f, own, kName, uint64(e.At), uint64(d.ino))
}

// striping says what a name means in a striped directory.
func (d *dirState) striping(n *name, text []byte) {
	if text[0] == '[' {
		if _, index, ok := lustre.ParseShardName(string(text)); ok && index >= 0 {
			n.bits |= nameShardForm
			n.index = uint32(index)
			d.sum.shards++
		}
	}
	if !n.has(nameShardForm) {
		d.sum.others++
	}
	switch {
	case d.lmv == nil:
	case d.seen != nil:
		n.bits |= nameInMaster
		n.master = d.raw
		if n.has(nameShardForm) && n.index < d.lmv.Count {
			bit := uint64(1) << (n.index % 64)
			d.twin = d.twin || d.seen[n.index/64]&bit != 0
			d.seen[n.index/64] |= bit
		}
	case misplaced(d.lmv, string(text)):
		n.bits |= nameMisplaced
		d.sum.misplaced++
	}
}

// misplaced tells whether a shard with that layout must not hold the name.
func misplaced(v *lustre.LMV, name string) bool {
	allowed := v.Allowed(name)
	for _, i := range allowed {
		if i == int(v.Index) {
			return false
		}
	}
	return len(allowed) > 0
}

// resolve gives the FID of an inode of this target, for names that do not say it themselves. Of a free inode it is an IGIF of
// generation 0.
func (r *runner) resolve(ino uint32) (f lustre.FID, own uint32) {
	in, err := r.t.fs.Inode(ino)
	if err != nil || !in.Allocated {
		return lustre.IGIF(ino, 0), r.t.index
	}
	var x attrs
	if err := x.read(r.t.fs, in, nil); err != nil || !x.known {
		return lustre.IGIF(ino, in.Generation), r.t.index
	}
	return x.lma.FID, r.t.index
}
