package lustre

import (
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mdtrecord"
)

// shardsOf gives the shards that a master has names for.
func (p *planner) shardsOf(master place) (map[int]lustre.FID, error) {
	out := map[int]lustre.FID{}
	err := p.eachName(master, func(d ext4.Dirent) {
		if fid, k, ok := lustre.ParseShardName(string(d.Name)); ok && k < lustre.LMVMaxCount {
			out[k] = fid
		}
	})
	return out, err
}

// lmv reads a layout that makes sense.
func (p *planner) lmv(at place) (lustre.LMV, bool) {
	raw, err := p.mdts.Xattr(at.mdt, at.ino, mdtrecord.KindLMV)
	if err != nil || raw == nil {
		return lustre.LMV{}, false
	}
	v, err := lustre.DecodeLMV(raw)
	return v, err == nil && v.Insane() == ""
}

func (p *planner) putLMV(at place, v lustre.LMV) error {
	if err := p.set(at.mdt, mdtrecord.InodeAddr(mdtrecord.KindLMV, at.ino), mdtrecord.Encode(mdtrecord.Layout{Says: v.String(), Raw: v.Encode()}), "LMV of "+p.dirText(at)); err != nil {
		return err
	}
	return p.flagLMA(at, lustre.LMAIStriped, 0)
}

// masterOf gives the master of a shard, by its link EA.
func (p *planner) masterOf(shard place) (place, error) {
	raw, err := p.mdts.Xattr(shard.mdt, shard.ino, mdtrecord.KindLink)
	if err != nil {
		return place{}, err
	}
	ea, _, _ := lustre.DecodeLinkEA(raw)
	for _, l := range ea.Links {
		if _, _, ok := lustre.ParseShardName(l.Name); !ok {
			continue
		}
		if at, ok, err := p.find(l.Parent); err != nil || ok {
			return at, err
		}
	}
	return place{}, left("the master of the striped directory cannot be found")
}

// shardFor is the shard in which a name belongs that is in another one.
func (p *planner) shardFor(shard place, name string) (place, error) {
	master, err := p.masterOf(shard)
	if err != nil {
		return place{}, err
	}
	v, ok := p.lmv(master)
	if !ok {
		return place{}, left("the layout of the master cannot be read")
	}
	return p.shardOf(master, &v, name)
}

// unsettled says why shards, and names in them, are left alone while a server has not come to the end of a change of the directory's
// layout: a name may be in its old shard or in its new one, and shards of both stand side by side. What objects and single names say of
// themselves is repaired all the same. nil when the layout is not being changed.
func unsettled(v *lustre.LMV) error {
	what, how := "", ""
	switch {
	case v.Migrating():
		what, how = "migrated", "the same 'lfs migrate -m' on it again goes on and ends it"
	case v.Splitting():
		what, how = "split into more shards", restripes
	case v.Merging():
		what, how = "merged into fewer shards", restripes
	default:
		return nil
	}
	return left("the directory is being %s, so that it is not known which shard is right; when it is mounted again, %s; then check again", what, how)
}

// restripes says how a split or a merge goes on. Servers refuse 'lfs migrate -m' and 'lfs setdirstripe -c' meanwhile.
const restripes = "the server goes on with it as clients read the directory ('ls -lR' on it)"

// shardOf is the shard of a striped directory in which a name belongs.
func (p *planner) shardOf(master place, v *lustre.LMV, name string) (place, error) {
	if err := unsettled(v); err != nil {
		return place{}, err
	}
	where := v.Allowed(name)
	if len(where) == 0 {
		return place{}, left("the directory's hash does not tell where the name belongs")
	}
	shards, err := p.shardsOf(master)
	if err != nil {
		return place{}, err
	}
	fid, ok := shards[where[0]]
	if !ok {
		return place{}, left("the master has no name for shard %d", where[0])
	}
	at, ok, err := p.find(fid)
	if err == nil && !ok {
		err = left("shard %d, %v, is gone", where[0], fid)
	}
	return at, err
}

// masterLMV makes the layout of a master from its shards. The hash that most of them tell is right.
func (p *planner) masterLMV(x *doing) (string, error) {
	at, _, err := p.object(x.d)
	if err != nil {
		return "", err
	}
	if was, ok := p.lmv(at); ok && was.IsMaster() && was.Changing() {
		// Only the number of its own MDT can be found wrong in it; the layout is the server's business.
		if was.Index == p.u.indexes[at.mdt] {
			return "", unsettled(&was)
		}
		was.Index = p.u.indexes[at.mdt]
		return fmt.Sprintf("the master says that it is on MDT%04x; its layout, which is being changed, stays", was.Index), p.putLMV(at, was)
	}
	if was, ok := p.lmv(at); ok && was.IsMaster() {
		if v, ok := p.world.shardsTell(nil, at, &was); ok {
			v.Index = p.u.indexes[at.mdt]
			return p.rewriteMaster(at, v.LMV)
		}
	}
	shards, err := p.shardsOf(at)
	if err != nil {
		return "", err
	}
	votes := map[lustre.LMV]int{}
	var best lustre.LMV
	highest := -1
	for k := range lustre.LMVMaxCount { // in order, so that a draw ends the same way each time
		fid, ok := shards[k]
		if !ok {
			continue
		}
		highest = k
		shard, ok, err := p.find(fid)
		if err != nil || !ok {
			continue
		}
		v, ok := p.lmv(shard)
		if !ok || !v.IsShard() {
			continue
		}
		v.Index = 0
		if votes[v]++; votes[v] > votes[best] {
			best = v
		}
	}
	switch {
	case highest < 0 || len(votes) == 0:
		return "", left("no shard tells the layout")
	case best.Changing():
		return "", unsettled(&best)
	case best.Count <= uint32(highest):
		return "", left("the shards count %d of them, and there is a number %d", best.Count, highest)
	}
	best.Magic, best.Index = lustre.LMVMaster, p.u.indexes[at.mdt]
	return p.rewriteMaster(at, best)
}

// rewriteMaster gives a master its layout. Names that were made while it looked like an ordinary directory would be hidden from now on.
func (p *planner) rewriteMaster(at place, v lustre.LMV) (string, error) {
	if err := p.putLMV(at, v); err != nil {
		return "", err
	}
	moved, err := p.emptyMaster(at)
	return fmt.Sprintf("layout made anew: %v; %s", v, moved), err
}

// shardLMV makes the layout of a shard from that of the master.
func (p *planner) shardLMV(x *doing) (string, error) {
	at, _, err := p.object(x.d)
	if err != nil {
		return "", err
	}
	if x.d.WantStripe == nil {
		return "", left("nobody can tell the number of the shard")
	}
	e, err := p.entry(x.d.Entry)
	if err != nil {
		return "", err
	}
	m, ok := p.lmv(e.dir)
	if !ok || !m.IsMaster() {
		return "", left("the layout of the master cannot be read")
	}
	if err := unsettled(&m); err != nil {
		return "", err
	}
	if v, ok := p.world.shardsTell(nil, e.dir, &m); ok {
		v.Index = p.u.indexes[e.dir.mdt]
		return "most shards and the names in them agree: the layout of the master was wrong and is set to theirs", p.putLMV(e.dir, v.LMV)
	}
	return fmt.Sprintf("layout set to that of shard %d", *x.d.WantStripe), p.putLMV(at, shardLayout(m, *x.d.WantStripe))
}
