package lustre

import (
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// toldNames is how many names of a shard are tried against a layout.
const toldNames = 64

// shardsTell finds out whether all shards of a striped directory that can be seen agree on a layout that is not the master's and that
// fits the names which the master has for them. Then the master is wrong: to change the shards would put all their names in the wrong
// place. f takes FIDs that have to be searched for first; the answer is no until then.
func (w *world) shardsTell(f *facts, master place, m *lustre.LMV) (told lustre.LMV, yes bool) {
	fids := map[int]lustre.FID{}
	fs := w.targets[master.mdt].fs
	in, err := fs.Inode(master.ino)
	if err != nil || !in.IsDir() {
		return told, false
	}
	err = fs.Dir(in, func(d ext4.Dirent) bool {
		if fid, k, ok := lustre.ParseShardName(string(d.Name)); ok && k >= 0 && k < lustre.LMVMaxCount {
			fids[k] = fid
		}
		return true
	}, nil)
	if err != nil {
		return told, false
	}
	seen, blocked, fitsTold, fitsMaster := 0, false, 0, 0
	for k := range len(fids) {
		fid, ok := fids[k]
		if !ok {
			return told, false // the numbers have gaps: it is a name that is lost
		}
		at, how := w.locate(fid)
		if how == locAsk && f != nil {
			f.blocked, blocked = append(f.blocked, fid), true
		}
		if how != locFound {
			continue
		}
		v, ok := w.layout(at)
		if !ok || !v.IsShard() || v.Changing() || v.Index != uint32(k) || int(v.Count) != len(fids) {
			return told, false
		}
		a, b := w.fitting(at, &v, m, k)
		fitsTold, fitsMaster = fitsTold+a, fitsMaster+b
		if v.Index = 0; seen > 0 && v != told {
			return told, false
		}
		told, seen = v, seen+1
	}
	same := sameLayout(&told, m)
	switch {
	case seen == 0, blocked, same, fitsTold < fitsMaster:
		return told, false
	case told.Count == m.Count && seen < 2 && fitsTold == fitsMaster:
		return told, false // one against one
	}
	told.Magic, told.Pool = lustre.LMVMaster, m.Pool
	return told, true
}

// layout reads a layout that makes sense.
func (w *world) layout(at place) (v lustre.LMV, ok bool) {
	fs := w.targets[at.mdt].fs
	in, err := fs.Inode(at.ino)
	if err != nil {
		return v, false
	}
	raw, ok, err := fs.Xattr(in, ext4.XattrIndexTrusted, "lmv")
	if err != nil || !ok {
		return v, false
	}
	v, err = lustre.DecodeLMV(raw)
	return v, err == nil && v.Insane() == ""
}

// fitting counts names of shard number k that its own layout puts there, and those that the master's does.
func (w *world) fitting(at place, own, master *lustre.LMV, k int) (byOwn, byMaster int) {
	fs := w.targets[at.mdt].fs
	in, err := fs.Inode(at.ino)
	if err != nil || !in.IsDir() {
		return 0, 0
	}
	m := shardLayout(*master, k)
	n := 0
	err = fs.Dir(in, func(d ext4.Dirent) bool {
		name := string(d.Name)
		if name == "." || name == ".." {
			return true
		}
		if !misplaced(own, name) {
			byOwn++
		}
		if !misplaced(&m, name) {
			byMaster++
		}
		n++
		return n < toldNames
	}, nil)
	if err != nil {
		return 0, 0
	}
	return byOwn, byMaster
}

// sameLayout compares what master and shards have in common. The marks that LFSCK sets are of the master only.
func sameLayout(a, b *lustre.LMV) bool {
	const marks = lustre.HashFlagLostLMV | lustre.HashFlagBadType
	return a.Count == b.Count && a.HashType&^marks == b.HashType&^marks
}

// shardLayout is the layout of a shard of a master.
func shardLayout(m lustre.LMV, k int) lustre.LMV {
	m.Magic, m.Index = lustre.LMVShard, uint32(k)
	m.HashType &^= lustre.HashFlagLostLMV | lustre.HashFlagBadType // these are of the master only
	return m
}
