package lustre

import (
	"fmt"
	"slices"

	"fettle/internal/format/lustre"
	"fettle/internal/say"
	"fettle/internal/systems/lustre/mdtrecord"
)

// linkView is the link EA of an object beside its names. In the words of the LFSCK design: L records, M names, N links.
type linkView struct {
	o       *object
	t       *tenant
	links   []lustre.Link // L: sane records, each once
	insane  int           // records that cannot be right
	broken  string        // why the attribute cannot be read as a whole, "" if it can
	twice   int           // records met more than once
	unknown []int         // names that have no record
	lost    []lustre.Link // records whose directory has no such name
	taken   []lustre.Link // records whose name leads elsewhere
	gone    []lustre.Link // records whose directory does not exist
	nowhere []lustre.Link // records whose directory is something else
	covered int           // names that lead to the inode although they say something else: told elsewhere
	unseen  int           // records that cannot be looked at
}

// view compares the names of an object with its link EA.
func (j *judge) view(o *object) linkView {
	v := linkView{o: o, t: j.tenant(o.mdt, o.ino), links: j.links(o)}
	if v.t == nil {
		v.t = &tenant{unread: true}
	}
	switch {
	case v.t.crash != nil:
		v.broken = v.t.crash.Error()
	default:
		for _, p := range v.t.problems {
			switch p.Code {
			case lustre.LinkRepeated:
				v.twice++
			case lustre.LinkBadParent, lustre.LinkBadName:
				v.insane++
			case lustre.LinkNoRecord, lustre.LinkTooBig:
			default:
				v.broken = p.String()
			}
		}
	}
	known := map[lustre.Link]bool{}
	for i := range j.names {
		l := j.linkOf(i)
		if !j.texts[i].sure { // the directory has lost its FID: the name alone has to do
			for _, have := range v.links {
				if have.Name == l.Name {
					l = have
				}
			}
		}
		if known[l] = true; !slices.Contains(v.links, l) {
			v.unknown = append(v.unknown, i)
		}
	}
	for _, l := range v.links {
		if !known[l] {
			v.sort(j, l)
		}
	}
	return v
}

// sort finds out what a record without a name means.
func (v *linkView) sort(j *judge, l lustre.Link) {
	look := j.lookups[l]
	switch {
	case look == nil || look.state == lookUnseen:
		v.unseen++
	case look.state == lookGone && look.dir.ino != 0:
		v.nowhere = append(v.nowhere, l)
	case look.state == lookGone:
		v.gone = append(v.gone, l)
	case look.state == lookFree:
		v.lost = append(v.lost, l)
	case j.covers(v.o, look):
		v.covered++
	default:
		v.taken = append(v.taken, l)
	}
}

// covers tells whether the name that was looked up leads to the inode of the object, whatever FID it has.
func (j *judge) covers(o *object, look *lookup) bool {
	return look.dir.mdt == o.mdt && look.entry.ino == o.ino || look.dir.mdt != o.mdt && look.agent == j.fid
}

// surplus are the records that have no name.
func (v *linkView) surplus() []lustre.Link { return slices.Concat(v.lost, v.taken, v.gone, v.nowhere) }

// linkEA judges the link EA and the link count of an object that has names.
func (j *judge) linkEA(o *object) {
	v := j.view(o)
	if j.special() && !(j.fid.IsDotLustre() && v.t.hasLink) {
		return
	}
	back := 0 // names that are to be put back
	switch {
	case !v.t.hasLink && j.fid.IsIGIF():
		// An object of Lustre 1.8: LFSCK gives it one when it first meets it, and nothing is wrong before.
	case v.broken != "":
		j.linkFinding(LinkCrashed, &v).values(v.broken, "a link EA with "+linkText(j.wanted(&v)))
	case !v.t.hasLink || len(v.links)+v.insane+v.unseen == 0 && v.t.link.Overflow == 0:
		j.linkFinding(LinkMissing, &v).values("no link EA", linkText(j.wanted(&v)))
	default:
		back = j.records(&v)
	}
	if !dirMode(o.mode) {
		j.linkCount(&v, back)
	}
}

// records judges a link EA that can be read. It returns how many names it tells of that are to be put back.
func (j *judge) records(v *linkView) (back int) {
	overflow := v.t.link.Overflow != 0
	if v.twice > 0 {
		j.linkFinding(LinkRepeated, v).values(fmt.Sprintf("%d records more than once", v.twice), "each record once")
	}
	unknown := v.unknown
	if overflow {
		unknown = nil // they did not fit
	}
	file := !dirMode(v.o.mode)
	spare := int(v.o.links) - j.ownedNames() - v.covered // links that no name accounts for
	if j.s.fromBackup(v.o.mdt) {                         // which does not tell how many links there were: what no other name stands in for is lost
		spare = max(len(v.lost)+len(v.gone)-len(unknown), 0)
	}
	if file && spare > 0 {
		back = min(spare, len(v.lost)+len(v.gone))
	}
	if v.insane > 0 {
		class := LinkRedundant
		if len(unknown) > 0 {
			class, unknown = LinkInvalidParent, nil
		}
		j.linkFinding(class, v).values(fmt.Sprintf("%d records with a parent or name that cannot be", v.insane), linkText(j.wanted(v)))
	}
	surplus := v.surplus()
	switch {
	case len(unknown) > 0 && len(surplus) > back:
		d := j.linkFinding(UnmatchedPair, v).values(linkText(v.links), linkText(j.wanted(v)))
		d.Title = fmt.Sprintf("the object that %q leads to says that it is %s", lustre.NameText(j.texts[unknown[0]].text), linkText(surplus[:1]))
	case len(unknown) > 0:
		d := j.linkFinding(LinkMissing, v).values(linkText(v.links), linkText(j.wanted(v)))
		d.at(j, unknown[0])
		j.lostNames(v, back)
	case len(surplus) > 0:
		j.lostNames(v, back)
		if len(surplus) > back && v.insane == 0 {
			j.linkFinding(LinkRedundant, v).values(linkText(v.links), linkText(j.wanted(v)))
		}
	case overflow && v.unseen+v.covered == 0 && j.allFit(v):
		j.linkFinding(LinkOverflow, v).values("says that names did not fit", "all names fit")
	}
	return back
}

// allFit tells whether a link EA has room for all names of its object. Those that it does not have yet may only be counted when no
// name can be on an MDT that was not given.
func (j *judge) allFit(v *linkView) bool {
	want := j.wanted(v)
	if len(v.unknown) > 0 && (!j.s.complete() || j.cut || len(want) < len(j.names)) {
		return false
	}
	b, dropped := lustre.LinkEA{Links: want}.Encode(0)
	return dropped == 0 && len(b) <= j.s.attrRoom[v.o.mdt]
}

// linkFinding is a finding about the link EA.
func (j *judge) linkFinding(class string, v *linkView) *draft {
	d := j.add(class, j.objectSays(v.o), j.linkSays(v.o)).on(j, v.o)
	for i := range j.names {
		if i == 8 {
			d.Evidence = append(d.Evidence, says("names", "%d more lead to it", len(j.names)-i))
			break
		}
		d.Evidence = append(d.Evidence, j.nameSays(i))
	}
	first := 0
	if len(v.unknown) > 0 {
		first = v.unknown[0]
	}
	d.at(j, first)
	d.Detail.Entries = j.allEntries()
	d.Detail.Links, d.Detail.Surplus = mdtrecord.Links(j.wanted(v)), mdtrecord.Links(v.surplus())
	if t := &j.texts[first]; !t.sure {
		d.causes(keyInode(j.names[first].mdt, j.names[first].dir))
	} else if len(v.unknown) > 0 {
		d.causes(keyDuplicate(t.parent)) // the directory of the name has the LMA of another one
	}
	return d.causes(keyHash(j.fid), keyTwice(j.fid)).provides(keyObject(j.fid))
}

// wanted are the records that the link EA should have: those of all names.
func (j *judge) wanted(v *linkView) []lustre.Link {
	var out []lustre.Link
	for i := range j.names {
		if i == 256 {
			break
		}
		out = append(out, j.linkOf(i))
	}
	return out
}

// lostNames reports names that only the link EA knows, of a file that has links enough for them.
func (j *judge) lostNames(v *linkView, back int) {
	for i, l := range slices.Concat(v.lost, v.gone) {
		if i == back {
			return
		}
		d := j.add(LostName, j.objectSays(v.o), j.linkSays(v.o), j.nameSays(0)).on(j, v.o)
		if j.s.fromBackup(v.o.mdt) {
			d.Why = "a backup does not tell how many links there were: the name may be lost, or only the record be left of it"
		}
		j.belongs(d, l)
		if j.lookups[l].state == lookGone {
			d.causes(keyGone(l.Parent))
		}
		d.Title = fmt.Sprintf("a name of the file is lost: %q", lustre.NameText(l.Name))
		d.provides(keyMissed(j.fid))
	}
}

// belongs says where an object should be named.
func (j *judge) belongs(d *draft, l lustre.Link) {
	d.Detail.Parent, d.Detail.Name, d.Detail.NameRaw = l.Parent.String(), lustre.NameText(l.Name), lustre.NameRaw(l.Name)
	look := j.lookups[l]
	if look == nil || look.state == lookUnseen || look.state == lookGone {
		d.Evidence = append(d.Evidence, says(fmt.Sprintf("directory %v", l.Parent), "does not exist"))
		return
	}
	index := j.s.indexes[look.dir.mdt]
	d.Detail.ParentMDT, d.Detail.ParentIno = &index, look.dir.ino
	d.named(look.dir.mdt, look.dir.ino, l.Name)
	d.causes(keyHarm(look.dir.mdt, look.dir.ino))
	w := fmt.Sprintf("directory %v on MDT%04x", l.Parent, index)
	if look.state == lookFree {
		d.Evidence = append(d.Evidence, says(w, "has no name %q", lustre.NameText(l.Name)))
		d.Rests = append(d.Rests, record{MDT: index, Dir: look.dir.ino, Name: l.Name})
		return
	}
	d.Evidence = append(d.Evidence, says(w, "%q leads to %v, inode %d", lustre.NameText(l.Name), look.entry.fid, look.entry.ino))
	d.Rests = append(d.Rests, record{MDT: index, At: look.at})
}

// ownedNames counts the names. One that a directory has twice is one: the second goes when the directory is put right, and takes no link with it.
func (j *judge) ownedNames() int {
	type where struct {
		dir  place
		text string
	}
	seen := make(map[where]bool, len(j.names))
	for i := range j.names {
		n := &j.names[i]
		seen[where{place{n.mdt, n.dir}, j.texts[i].text}] = true
	}
	return len(seen)
}

// linkCount judges the link count of anything but a directory.
func (j *judge) linkCount(v *linkView, back int) {
	have, names := int(v.o.links), j.ownedNames()+v.covered
	switch {
	case have == names+back || j.cut || j.s.fromBackup(v.o.mdt):
		return
	case have > names && (!j.s.complete() || v.unseen > 0):
		return // there may be names on an MDT that was not given
	}
	d := j.add(BadNlink, j.objectSays(v.o), j.linkSays(v.o)).on(j, v.o)
	for i := range j.names {
		if i == 8 {
			break
		}
		d.Evidence = append(d.Evidence, j.nameSays(i))
	}
	d.Evidence = append(d.Evidence, says("names that lead to it", "%d", names))
	d.at(j, 0).values(say.Count(have, "link"), say.Count(names+back, "link"))
	d.Detail.WantLinks = names + back
	d.Title = fmt.Sprintf("%s, but %s", say.Count(have, "link"), say.Count(names, "name"))
	d.Detail.Entries = j.allEntries()
}
