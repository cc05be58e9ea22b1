package lustre

import (
	"fmt"

	"fettle/internal/finding"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// orphan judges an object that no name leads to.
func (j *judge) orphan(o *object) {
	if j.special() || j.cut {
		return
	}
	v := j.view(o)
	if v.covered > 0 || v.unseen > 0 {
		return // some name leads to it and says something else, which is told there; or nobody can tell
	}
	if len(v.links) == 0 && !j.s.complete() {
		return // its name may be on an MDT that was not given
	}
	var d *draft
	switch {
	case len(v.lost) > 0:
		d = j.stray(Orphan, &v)
		j.belongs(d, v.lost[0])
		d.Title = fmt.Sprintf("no name leads to the %s, which says that it is %q", ext4.TypeName(ext4.DirentTypeOf(o.mode)), lustre.NameText(v.lost[0].Name))
	case len(v.taken) > 0:
		d = j.occupied(&v)
	case len(v.gone) > 0:
		l := v.gone[0]
		d = j.stray(Orphan, &v)
		j.belongs(d, l)
		d.causes(keyGone(l.Parent)).provides(keyLost(l.Parent))
		d.Title = fmt.Sprintf("no name leads to the %s, and the directory that it says it is in is gone", ext4.TypeName(ext4.DirentTypeOf(o.mode)))
		d.prefer(Reattach, "the lost directory is made anew under "+lustre.LostName{Object: l.Parent, Type: lustre.LostParent}.String()+" in lost+found, and the object gets its name there")
	case len(v.links) == 0 && j.shardUp(o, &v):
		d = j.stray(Orphan, &v)
		d.Title = "no name leads to the shard, whose layout and '..' tell which one of which directory it is"
		d.Detail.Parent, d.Detail.Name = j.dirOf(o).up.String(), lustre.ShardName(j.fid, *d.Detail.Stripe)
	default:
		d = j.stray(Orphan, &v)
		d.Title = fmt.Sprintf("no name leads to the %s, and it does not say where it belongs", ext4.TypeName(ext4.DirentTypeOf(o.mode)))
		d.prefer(finding.Quarantine, "it does not say where it belongs")
	}
	if dirMode(o.mode) && d.Detail.Parent != "" {
		if parent, err := lustre.ParseFID(d.Detail.Parent); err == nil {
			d.provides(keyChild(parent))
		}
	}
	if b := j.dirOf(o); b != nil && b.has(dirUpFID) {
		d.provides(keyChild(b.up))
	}
}

// shardUp tells whether an object is a shard whose '..' has the FID of its master.
func (j *judge) shardUp(o *object, v *linkView) bool {
	d := j.dirOf(o)
	if d == nil || !d.has(dirUpFID) || d.up == j.fid || !d.up.IsNormal() || !o.has(objLMV) {
		return false
	}
	m, err := lustre.DecodeLMV(o.lmv)
	return err == nil && m.Insane() == "" && m.IsShard()
}

// stray is a finding about an object that no name leads to.
func (j *judge) stray(class string, v *linkView) *draft {
	o := v.o
	d := j.add(class, j.objectSays(o), j.linkSays(o), says("names on all MDTs", "none leads to it")).on(j, o)
	for _, r := range j.remote {
		d.Evidence = append(d.Evidence, says(fmt.Sprintf("REMOTE_PARENT_DIR of MDT%04x", j.s.indexes[r.mdt]), "%s is inode %d", j.fid.Bare(), r.ino))
	}
	for _, b := range j.backend {
		d.Evidence = append(d.Evidence, says(fmt.Sprintf("lost+found of MDT%04x", j.s.indexes[b.mdt]), "holds inode %d, put there by e2fsck", b.ino))
	}
	d.Detail.Links = mdtrecord.Links(v.links)
	d.Detail.LostName = j.lostName(v).String()
	if o.has(objLMV) {
		if m, err := lustre.DecodeLMV(o.lmv); err == nil && m.IsShard() {
			k := int(m.Index)
			d.Detail.Stripe = &k
		}
	}
	return d.provides(keyObject(j.fid)).unless(keyInode(o.mdt, o.ino), keyNamed(j.fid))
}

// lostName is what the object is called if it goes to lost+found.
func (j *judge) lostName(v *linkView) lustre.LostName {
	n := lustre.LostName{Object: j.fid, Type: lustre.LostOrphan}
	if !dirMode(v.o.mode) {
		return n
	}
	if len(v.links) == 0 { // e2fsck leaves the FID of '..' as it was
		if d := j.dirOf(v.o); d != nil && d.has(dirUpFID) && d.up != j.fid && (d.up.IsNormal() || d.up.IsRoot()) {
			n.Type, n.Parent = lustre.LostDirectory, d.up
		}
	} else {
		n.Type, n.Parent = lustre.LostDirectory, v.links[0].Parent
	}
	if m, err := lustre.DecodeLMV(v.o.lmv); err == nil && m.IsShard() && n.Type == lustre.LostDirectory {
		n.Type = lustre.LostShard
	}
	return n
}

// occupied is about an object whose name leads to another one.
func (j *judge) occupied(v *linkView) *draft {
	l := v.taken[0]
	for _, k := range v.taken {
		if !j.lookups[k].exists {
			l = k
		}
	}
	look := j.lookups[l]
	if !look.exists && look.entry.hasFID {
		d := j.stray(Orphan, v)
		j.belongs(d, l)
		d.causes(keyGone(look.entry.fid), keyGone(lustre.IGIF(look.entry.ino, 0))) // a name without a sane FID is known by its inode
		d.Title = fmt.Sprintf("the object says that it is %q, which leads to %v, which is gone", lustre.NameText(l.Name), look.entry.fid)
		return d
	}
	d := j.stray(MultipleReferenced, v)
	j.belongs(d, l)
	d.Detail.Have = look.entry.fid.String()
	d.Title = fmt.Sprintf("two objects say that they are %q, which leads to %v", lustre.NameText(l.Name), look.entry.fid)
	return d
}
