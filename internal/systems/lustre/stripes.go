package lustre

import (
	"maps"
	"slices"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// toldNames is how many names of a shard are tried against a layout.
const toldNames = 64

// shardsWord is a layout that shards tell against their master.
type shardsWord struct {
	lustre.LMV
	first int // number of the first shard that contradicts the master: its group tells of it
}

// voter is a shard whose layout can be read.
type voter struct {
	at     place
	number int
	says   lustre.LMV // with number 0
}

// shardsTell finds out whether the shards of a striped directory that can be seen tell a layout that is not the master's. Then the master is
// wrong: to change the shards would put all their names in the wrong place. How many shards there are only all of them together can tell,
// and they must be as many; which hash it is they and the names in them decide by their number. f takes FIDs that have to be searched for first; the answer is no until then.
func (w *world) shardsTell(f *facts, master place, m *lustre.LMV) (told shardsWord, yes bool) {
	fids, err := w.shardNames(master)
	if err != nil {
		return told, false
	}
	voters, mute, ok := w.voters(f, fids)
	if !ok {
		return told, false
	}
	votes, forMaster := map[lustre.LMV]int{}, 1
	for _, v := range voters {
		if sameLayout(&v.says, m) {
			forMaster++
			continue
		}
		if votes[v.says]++; votes[v.says] > votes[told.LMV] {
			told.LMV = v.says
		}
	}
	most := votes[told.LMV]
	if most == 0 {
		return told, false
	}
	if told.Count != m.Count {
		for k := range len(fids) {
			if _, there := fids[k]; !there {
				return told, false // the numbers have gaps: it is a name that is lost
			}
		}
		if most < len(voters) || mute || int(told.Count) != len(fids) {
			return told, false
		}
	}
	fitsTold, fitsMaster := 0, 0
	told.first = -1
	for _, v := range voters {
		own := shardLayout(told.LMV, v.number)
		a, b := w.fitting(v.at, &own, m, v.number)
		fitsTold, fitsMaster = fitsTold+a, fitsMaster+b
		if told.first < 0 && !sameLayout(&v.says, m) {
			told.first = v.number
		}
	}
	// Each shard, the master and each name have one vote; the names alone have a veto.
	if fitsTold < fitsMaster || told.Count == m.Count && most+fitsTold <= forMaster+fitsMaster || 2*most <= len(voters) && fitsTold == fitsMaster {
		return told, false
	}
	told.Magic, told.Pool = lustre.LMVMaster, m.Pool
	return told, true
}

// shardNames are the names that a master has for its shards, by their numbers.
func (w *world) shardNames(master place) (map[int]lustre.FID, error) {
	fs := w.targets[master.mdt].fs
	in, err := fs.Inode(master.ino)
	if err != nil || !in.IsDir() {
		return nil, err
	}
	fids := map[int]lustre.FID{}
	return fids, fs.Dir(in, func(d ext4.Dirent) bool {
		if fid, k, ok := lustre.ParseShardName(string(d.Name)); ok && k >= 0 && k < lustre.LMVMaxCount {
			fids[k] = fid
		}
		return true
	}, nil)
}

// voters are the shards that can be found and whose layout makes sense and has the number of the name, in their order. mute tells whether the
// layout of some does not; ok is false while one has to be searched for, or is being changed.
func (w *world) voters(f *facts, fids map[int]lustre.FID) (out []voter, mute, ok bool) {
	ok = true
	for _, k := range slices.Sorted(maps.Keys(fids)) {
		at, how := w.locate(fids[k])
		if how == locAsk && f != nil {
			f.blocked, ok = append(f.blocked, fids[k]), false
		}
		if how != locFound {
			continue
		}
		v, reads := w.layout(at)
		switch {
		case reads && v.Changing():
			return nil, false, false
		case !reads || !v.IsShard() || v.Index != uint32(k):
			mute = true
			continue
		}
		v.Index = 0
		out = append(out, voter{at, k, v})
	}
	return out, mute, ok
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
