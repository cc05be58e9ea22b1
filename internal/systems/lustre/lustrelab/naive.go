package lustrelab

import (
	"slices"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// check compares everything with everything, and counts names a client sees and names of objects on another MDT.
func (w *world) check() (names, remote int) {
	w.collect()
	names, remote = w.checkNames()
	for _, s := range w.objects {
		w.checkObject(w.mdts[s.mdt], s)
	}
	for i, m := range w.mdts {
		w.checkIndex(i, m)
		w.checkParents(i, m)
	}
	if remote != w.agents {
		w.errorf("%d remote names, %d agents", remote, w.agents)
	}
	return names, remote
}

// collect sorts inodes into objects of the namespace, agents and others.
func (w *world) collect() {
	for i, m := range w.mdts {
		for _, s := range m.byIno {
			switch {
			case s.lma.Has(lustre.LMAIAgent):
				w.agents++
			case s.lma.FID.IsLocal(), s.lma.FID.IsIGIF(), w.pending[s.lma.FID]:
			default:
				if before := w.objects[s.lma.FID]; before != nil {
					w.errorf("%v is on MDT%04x and MDT%04x", s.lma.FID, before.mdt, i)
				}
				w.objects[s.lma.FID] = s
				if w.fld == nil {
					continue
				}
				if index, place := w.fld.Lookup(s.lma.FID); place != lustre.PlaceMDT || int(index) != i {
					w.errorf("%v is on MDT%04x, the FLD says %d", s.lma.FID, i, index)
				}
			}
		}
	}
}

// checkNames follows every name of the namespace. It counts those a client sees, and those of objects on another MDT.
func (w *world) checkNames() (names, remote int) {
	for _, s := range w.objects {
		inMaster := s.lmv != nil && s.lmv.IsMaster()
		for i, n := range s.names {
			o := w.objects[n.fid]
			if o == nil {
				w.errorf("%q in %v leads nowhere: %v", n.text, s.lma.FID, n.fid)
				continue
			}
			w.refs[n.fid] = append(w.refs[n.fid], ref{s, i})
			if n.typ != ext4.DirentTypeOf(o.in.Mode) {
				w.errorf("%q has type %d, the object mode %o", n.text, n.typ, o.in.Mode)
			}
			switch local := w.mdts[s.mdt].byIno[n.ino]; {
			case local == nil:
				w.errorf("%q: inode %d is free", n.text, n.ino)
			case o.mdt == s.mdt && local != o:
				w.errorf("%q: inode %d is not %v", n.text, n.ino, n.fid)
			case o.mdt != s.mdt:
				remote++
				if !local.lma.Has(lustre.LMAIAgent) || local.lma.FID != n.fid || !o.lma.Has(lustre.LMAIRemoteParent) {
					w.errorf("%q: agent %v, object %v", n.text, local.lma, o.lma)
				}
				if ext4.DirentTypeOf(local.in.Mode) != ext4.DirentTypeOf(o.in.Mode) {
					w.errorf("%q: agent of mode %o, object of mode %o", n.text, local.in.Mode, o.in.Mode)
				}
				if w.mdts[o.mdt].parents[n.fid] != o.in.Number {
					w.errorf("%v is not in REMOTE_PARENT_DIR", n.fid)
				}
			}
			if inMaster {
				w.checkShard(s, o, n)
			} else if s.lma.FID != lustre.FIDDotLustre && s.lma.FID != lustre.FIDDotLustreLost && n.text != ".lustre" {
				names++
			}
			if s.lmv != nil && s.lmv.IsShard() && !slices.Contains(s.lmv.Allowed(n.text), int(s.lmv.Index)) {
				w.errorf("%q is in shard %d of %v, allowed are %v", n.text, s.lmv.Index, s.lmv, s.lmv.Allowed(n.text))
			}
		}
	}
	return names, remote
}

func (w *world) checkShard(master, shard *seen, n name) {
	fid, k, ok := lustre.ParseShardName(n.text)
	if !ok || fid != n.fid || shard.lmv == nil || !shard.lmv.IsShard() {
		w.errorf("%q in master %v", n.text, master.lma.FID)
		return
	}
	want := *master.lmv
	want.Magic, want.Index = lustre.LMVShard, uint32(k)
	if *shard.lmv != want || int(master.lmv.Index) != master.mdt || !shard.lma.Has(lustre.LMAIStriped) {
		w.errorf("shard %v of master %v", shard.lmv, master.lmv)
	}
}

// links are the names of an object, as a link EA has them.
func (w *world) links(f lustre.FID) (out []lustre.Link) {
	for _, r := range w.refs[f] {
		out = append(out, r.link())
	}
	return out
}

// checkObject compares the names of an object with its link EA, link count and '..'.
func (w *world) checkObject(m *mdt, s *seen) {
	fid, names := s.lma.FID, w.links(s.lma.FID)
	subdirs := 0
	for _, n := range s.names {
		if n.typ == ext4.TypeDir {
			subdirs++
		}
	}
	switch {
	case fid.IsRoot():
		if s.link != nil || len(names) != 0 || s.upIno != ext4.InoRoot {
			w.errorf("ROOT: %+v %v", s.link, names)
		}
	case fid == lustre.FIDDotLustreFID:
	case s.link == nil:
		w.errorf("%v has no link EA", fid)
	case s.link.Overflow != 0 && len(names) == len(s.link.Links):
		w.errorf("%v says that names did not fit, but it has them all", fid)
	case s.link.Overflow == 0 && len(names) != len(s.link.Links):
		w.errorf("%v has names %v, link EA %v", fid, names, s.link.Links)
	default:
		for _, l := range s.link.Links {
			if !slices.Contains(names, l) {
				w.errorf("%v: link EA %v, names %v", fid, l, names)
			}
		}
	}
	if s.lma.Has(lustre.LMAIStriped) && s.lmv == nil {
		w.errorf("%v is striped and has no LMV", fid)
	}
	if s.lma.Has(lustre.LMAIRemoteParent) != (m.parents[fid] != 0) {
		w.errorf("%v: LMA %v, entry of REMOTE_PARENT_DIR: inode %d", fid, s.lma, m.parents[fid])
	}
	if !s.in.IsDir() {
		if int(s.in.Links) != len(names) {
			w.errorf("%v has %d links, %d names", fid, s.in.Links, len(names))
		}
		return
	}
	if int(s.in.Links) != 2+subdirs {
		w.errorf("%v has %d links, %d sub-directories", fid, s.in.Links, subdirs)
	}
	if fid.IsRoot() || len(names) != 1 {
		return
	}
	up := w.objects[names[0].Parent]
	if up == nil {
		return
	}
	wantIno := up.in.Number
	if up.mdt != s.mdt {
		wantIno = m.rpd
	}
	if s.up != names[0].Parent || s.upIno != wantIno {
		w.errorf("'..' of %v is %v, inode %d; want %v, inode %d", fid, s.up, s.upIno, names[0].Parent, wantIno)
	}
}

// checkParents looks for entries of REMOTE_PARENT_DIR whose object has no name on another MDT.
func (w *world) checkParents(index int, m *mdt) {
	for fid := range m.parents {
		if !slices.ContainsFunc(w.refs[fid], func(r ref) bool { return r.dir.mdt != index }) {
			w.errorf("MDT%04x: REMOTE_PARENT_DIR has %v, which has no name elsewhere", index, fid)
		}
	}
}

// checkIndex compares the object index of an MDT with its inodes.
func (w *world) checkIndex(index int, m *mdt) {
	want := map[lustre.FID]bool{}
	for ino, s := range m.byIno {
		if s.lma.Has(lustre.LMAIAgent) || !lustre.InOI(s.lma.FID, s.lma.Compat) {
			continue
		}
		want[s.lma.FID] = true
		if e := m.oi[s.lma.FID]; e.Ino != ino || e.Generation != s.in.Generation {
			w.errorf("MDT%04x: %v is inode %d of generation %d, the object index says %+v", index, s.lma.FID, ino, s.in.Generation, e)
		}
	}
	for fid, e := range m.oi {
		if !want[fid] {
			w.errorf("MDT%04x: the object index has %+v, which no object asks for", index, e)
		}
	}
}
