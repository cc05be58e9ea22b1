package lustrelab

import (
	"slices"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// A file system that was made is consistent in every respect that a naive program can see.
func TestConsistent(t *testing.T) {
	for what, o := range shapes {
		t.Run(what, func(t *testing.T) {
			made := make1(t, o)
			w, mdts := readWorld(t, openAll(t, made.Paths))
			names, remote := w.check(mdts)
			w.report()
			if names != made.Names || remote != made.Remote || remote != w.agents {
				t.Errorf("%d names, %d remote ones, %d agents; made were %+v", names, remote, w.agents, made)
			}
			for i, m := range mdts {
				if len(m.byIno) != made.Inodes[i] {
					t.Errorf("MDT%04x has %d inodes, made were %d", i, len(m.byIno), made.Inodes[i])
				}
			}
			want := made.Dirs + made.Files
			for _, s := range w.objects {
				if s.lmv != nil && s.lmv.IsShard() || s.lma.FID.IsDotLustre() || s.lma.FID.OID == 0x100 && s.lma.FID.Seq == seqBase(s.mdt) {
					want++
				}
			}
			if len(w.objects) != want {
				t.Errorf("%d objects, want %d", len(w.objects), want)
			}
		})
	}
}

// check compares everything with everything, and counts names a client sees and names of objects on another MDT.
func (w *world) check(mdts []*mdt) (names, remote int) {
	w.collect(mdts)
	names, remote = w.checkNames(mdts)
	for _, s := range w.objects {
		w.checkObject(mdts[s.mdt], s)
	}
	for i, m := range mdts {
		w.checkIndex(i, m)
	}
	if remote != w.agents {
		w.errorf("%d remote names, %d agents", remote, w.agents)
	}
	return names, remote
}

// collect sorts inodes into objects of the namespace, agents and others.
func (w *world) collect(mdts []*mdt) {
	for i, m := range mdts {
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
				if index, place := w.fld.Lookup(s.lma.FID); place != lustre.PlaceMDT || int(index) != i {
					w.errorf("%v is on MDT%04x, the FLD says %d", s.lma.FID, i, index)
				}
			}
		}
	}
}

// checkNames follows every name of the namespace. It counts those a client sees, and those of objects on another MDT.
func (w *world) checkNames(mdts []*mdt) (names, remote int) {
	for _, s := range w.objects {
		inMaster := s.lmv != nil && s.lmv.IsMaster()
		for _, n := range s.names {
			o := w.objects[n.fid]
			if o == nil {
				w.errorf("%q in %v leads nowhere: %v", n.text, s.lma.FID, n.fid)
				continue
			}
			w.names[n.fid] = append(w.names[n.fid], lustre.Link{Parent: s.lma.FID, Name: n.text})
			if n.typ != ext4.DirentTypeOf(o.in.Mode) {
				w.errorf("%q has type %d, the object mode %o", n.text, n.typ, o.in.Mode)
			}
			switch local := mdts[s.mdt].byIno[n.ino]; {
			case local == nil:
				w.errorf("%q: inode %d is free", n.text, n.ino)
			case o.mdt == s.mdt && local != o:
				w.errorf("%q: inode %d is not %v", n.text, n.ino, n.fid)
			case o.mdt != s.mdt:
				remote++
				if !local.lma.Has(lustre.LMAIAgent) || local.lma.FID != n.fid || !o.lma.Has(lustre.LMAIRemoteParent) {
					w.errorf("%q: agent %v, object %v", n.text, local.lma, o.lma)
				}
				if mdts[o.mdt].parents[n.fid] != o.in.Number {
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

// checkObject compares the names of an object with its link EA, link count and '..'.
func (w *world) checkObject(m *mdt, s *seen) {
	fid, names := s.lma.FID, w.names[s.lma.FID]
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
	case s.link.Overflow == 0 && len(names) != len(s.link.Links):
		w.errorf("%v has names %v, link EA %v", fid, names, s.link.Links)
	default:
		for _, l := range s.link.Links {
			if !slices.Contains(names, l) {
				w.errorf("%v: link EA %v, names %v", fid, l, names)
			}
		}
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
