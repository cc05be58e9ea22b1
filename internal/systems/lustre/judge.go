package lustre

import (
	"fmt"

	"fettle/internal/finding"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/say"
)

// judge collects what is wrong with one object. It knows the group, what was read again for it, and the file system's shape;
// it reads nothing.
type judge struct {
	*about
	s     *shape
	found []draft
}

// judgeGroup says everything that is wrong in an enriched group.
func judgeGroup(a *about, s *shape) []draft {
	j := &judge{about: a, s: s}
	switch len(a.objects) {
	case 0:
		j.absent()
	case 1:
		if j.impostor(&a.objects[0]) {
			rest := *a
			rest.objects = nil
			j.about = &rest
			j.absent()
			break
		}
		j.present(&a.objects[0])
	default:
		j.present(j.duplicate())
	}
	return j.found
}

// add records a finding about the group's FID.
func (j *judge) add(class string, evidence ...finding.Evidence) *draft {
	j.found = append(j.found, draft{Class: class, Subject: j.fid.String(), Evidence: evidence, Detail: detail{FID: j.fid.String()}})
	return &j.found[len(j.found)-1]
}

// on says which inode it is about.
func (d *draft) on(j *judge, o *object) *draft {
	d.inode(j.s, o.mdt, o.ino)
	d.Detail.Generation, d.Detail.Type = o.gen, ext4.TypeName(ext4.DirentTypeOf(o.mode))
	if !d.Named {
		d.Dir = place2{o.mdt, o.ino}
	}
	return d
}

func (d *draft) inode(s *shape, mdt int, ino uint32) *draft {
	index := s.indexes[mdt]
	d.Detail.MDT, d.Detail.Inode = &index, ino
	d.Rests = append(d.Rests, record{MDT: index, Inode: ino})
	return d
}

// at says which directory entry it is about.
func (d *draft) at(j *judge, i int) *draft {
	e := j.entryDetail(i)
	d.Detail.Entry = &e
	d.named(j.names[i].mdt, j.names[i].dir, j.texts[i].text)
	d.Rests = append(d.Rests, record{MDT: e.MDT, At: e.At})
	return d
}

func (d *draft) named(mdt int, dir uint32, name string) *draft {
	d.Dir, d.Name, d.Named = place2{mdt, dir}, name, true
	return d
}

func (d *draft) provides(keys ...string) *draft { d.Provides = append(d.Provides, keys...); return d }
func (d *draft) causes(keys ...string) *draft   { d.Causes = append(d.Causes, keys...); return d }
func (d *draft) unless(keys ...string) *draft   { d.DropIf = append(d.DropIf, keys...); return d }

// values says what is written and what should be.
func (d *draft) values(have, want string) *draft {
	d.Detail.Have, d.Detail.Want = have, want
	return d
}

func (d *draft) prefer(a finding.Action, why string) *draft { d.Prefer, d.Why = a, why; return d }

func (j *judge) entryDetail(i int) entryDetail {
	n, t := &j.names[i], &j.texts[i]
	e := entryDetail{MDT: j.s.indexes[n.mdt], Dir: n.dir, At: n.at, Name: lustre.NameText(t.text), NameRaw: lustre.NameRaw(t.text), Inode: n.ino, Type: n.typ}
	if t.sure {
		e.Parent = t.parent.String()
	}
	if t.hasFID {
		e.FID = t.fid.String()
	}
	return e
}

// allEntries are the object's names for the detail of a finding.
func (j *judge) allEntries() []entryDetail {
	var out []entryDetail
	for i := range j.names {
		if i == 256 {
			break
		}
		out = append(out, j.entryDetail(i))
	}
	return out
}

// Lines of evidence.

func (j *judge) nameSays(i int) finding.Evidence {
	n, t := &j.names[i], &j.texts[i]
	fid := "no FID"
	if j.s.fromBackup(n.mdt) {
		return says(fmt.Sprintf("name %q in %s", lustre.NameText(t.text), j.dirText(t, n)), "leads to inode %d, type %s", n.ino, ext4.TypeName(n.typ))
	}
	if t.hasFID {
		fid = t.fid.String()
	}
	return says(fmt.Sprintf("name %q in %s", lustre.NameText(t.text), j.dirText(t, n)), "leads to %s, inode %d, type %s", fid, n.ino, ext4.TypeName(n.typ))
}

func (j *judge) dirText(t *written, n *name) string {
	if t.sure {
		return fmt.Sprintf("%v on MDT%04x", t.parent, j.s.indexes[n.mdt])
	}
	return fmt.Sprintf("inode %d of MDT%04x", n.dir, j.s.indexes[n.mdt])
}

func (j *judge) objectSays(o *object) finding.Evidence {
	text := fmt.Sprintf("is the %s %v with %s", ext4.TypeName(ext4.DirentTypeOf(o.mode)), j.fid, say.Count(int(o.links), "link"))
	if o.has(objNoLMA) {
		text = fmt.Sprintf("is a %s without an LMA, with %s", ext4.TypeName(ext4.DirentTypeOf(o.mode)), say.Count(int(o.links), "link"))
	}
	return says(j.s.inodeText(o.mdt, o.ino), "%s", text)
}

func (j *judge) linkSays(o *object) finding.Evidence {
	w := j.s.inodeText(o.mdt, o.ino) + ", link EA"
	t := j.tenant(o.mdt, o.ino)
	switch {
	case t == nil || !t.hasLink:
		return says(w, "is not there")
	case t.crash != nil:
		return says(w, "cannot be read: %v", t.crash)
	}
	return says(w, "%s", linkText(t.link.Links))
}

func (j *judge) indexSays() []finding.Evidence {
	var out []finding.Evidence
	for _, e := range j.index {
		out = append(out, says(fmt.Sprintf("object index of MDT%04x", j.s.indexes[e.mdt]), "%v is inode %d, generation %d", j.fid, e.ino, e.gen))
	}
	return out
}

func (s *shape) inodeText(mdt int, ino uint32) string {
	return fmt.Sprintf("inode %d of MDT%04x", ino, s.indexes[mdt])
}

func (j *judge) tenantSays(mdt int, ino uint32) finding.Evidence {
	return says(j.s.inodeText(mdt, ino), "%v", j.tenant(mdt, ino))
}

// linkOf is the record that the link EA should have for a name.
func (j *judge) linkOf(i int) lustre.Link { return j.texts[i].link() }

// special tells whether the object has names by rule that no link EA tells of.
func (j *judge) special() bool {
	for i := range j.objects {
		if o := &j.objects[i]; o.ino == j.s.roots[o.mdt] {
			return true // before 2.4 the FID of the root was made of inode number and generation, and later releases leave it so
		}
	}
	return j.fid.IsRoot() || j.fid.IsDotLustre()
}
