package lustre

import (
	"fmt"

	"fettle/internal/format/lustre"
)

// stripeFault is one disagreement about a striped directory, told by the claims alone.
type stripeFault struct {
	class      string
	have, want string
	index      int // shard number that is right, or is missing; -1 for none
}

// stripeFaults compares LMV, LMA, names and entries of a directory that is striped, or a shard, or looks like one. n is its only
// name, d what its blocks say; both may be nil.
func stripeFaults(a *about, o *object, n *name, d *dirSum, s *shape) []stripeFault {
	if o.has(objForeign) {
		return nil
	}
	var lmv *lustre.LMV
	trouble := ""
	if o.has(objLMV) {
		v, err := lustre.DecodeLMV(o.lmv)
		switch {
		case err != nil:
			trouble = err.Error()
		default:
			lmv, trouble = &v, v.Insane()
		}
	}
	inMaster := n != nil && n.has(nameShardForm) && (n.has(nameInMaster) || o.incompat&lustre.LMAIStriped != 0)
	switch {
	case inMaster:
		return shardFaults(a, o, n, lmv, trouble)
	case lmv != nil && lmv.IsShard() && d != nil && d.shards > 0 && d.others == 0:
		return []stripeFault{{class: MasterLMVWrong, have: "the LMV of a shard", want: "the LMV of a master, as its shards tell it", index: -1}}
	case lmv != nil && lmv.IsShard():
		if n == nil {
			return nil // an orphan: there is nothing to compare with
		}
		return []stripeFault{{class: ShardName, have: "a name outside of a striped directory", want: "a name [FID]:N in its master", index: int(lmv.Index)}}
	}
	return masterFaults(o, d, lmv, trouble, s)
}

// masterFaults looks at a directory that is not itself a shard.
func masterFaults(o *object, d *dirSum, lmv *lustre.LMV, trouble string, s *shape) []stripeFault {
	holds := d != nil && d.shards > 0
	switch {
	case lmv == nil && trouble == "" && (o.incompat&lustre.LMAIStriped != 0 && (d == nil || d.others == 0) || holds && d.others == 0):
		return []stripeFault{{class: MasterLMVMissing, have: "no LMV", want: "the LMV of a master, as its shards tell it", index: -1}}
	case lmv == nil && trouble == "" && o.incompat&lustre.LMAIStriped != 0 && holds:
		return []stripeFault{{class: MasterLMVMissing, have: fmt.Sprintf("no LMV, and %d names that are no shards", d.others),
			want: "the LMV of a master, as its shards tell it, and those names in the shards", index: -1}}
	case trouble != "" && (holds || o.incompat&lustre.LMAIStriped != 0):
		return []stripeFault{{class: MasterLMVWrong, have: trouble, want: "the LMV of a master, as its shards tell it", index: -1}}
	case lmv == nil || trouble != "" || d == nil:
		return nil
	}
	var out []stripeFault
	if int(lmv.Index) != int(s.indexes[o.mdt]) {
		out = append(out, stripeFault{class: MasterLMVWrong, have: fmt.Sprintf("master on MDT%04x", lmv.Index), want: fmt.Sprintf("master on MDT%04x", s.indexes[o.mdt]), index: -1})
	}
	if d.others > 0 {
		out = append(out, stripeFault{class: MasterName, have: fmt.Sprintf("%d names that are no shards", d.others), want: "names of shards only", index: -1})
	}
	if d.has(dirBadShard) && d.missing < lmv.Count && !lmv.Changing() {
		out = append(out, stripeFault{class: StripeLost, have: fmt.Sprintf("no name for shard %d of %d", d.missing, lmv.Count), want: fmt.Sprintf("shards 0 to %d", lmv.Count-1), index: int(d.missing)})
	}
	return out
}

// shardFaults compares a shard with the name that its master has for it and with the master's LMV. The number of the shard is
// told by its name, its LMV and its link EA; two of three are right.
func shardFaults(a *about, o *object, n *name, lmv *lustre.LMV, trouble string) []stripeFault {
	byName := int(n.index)
	byLink, linked := a.linkIndex(o)
	if linked == 0 && o.knows(n.hash) {
		byLink, linked = byName, 1
	}
	if lmv == nil && trouble == "" {
		return []stripeFault{{class: ShardLMVMissing, have: "no LMV", want: fmt.Sprintf("the LMV of shard %d", byName), index: byName}}
	}
	if lmv == nil || trouble != "" && lmv.Insane() != "" || !lmv.IsShard() {
		if trouble == "" {
			trouble = "the LMV of a master"
		}
		return []stripeFault{{class: ShardLMVWrong, have: trouble, want: fmt.Sprintf("the LMV of shard %d", byName), index: byName}}
	}
	var out []stripeFault
	if int(lmv.Index) != byName {
		if linked > 0 && byLink == int(lmv.Index) {
			out = append(out, stripeFault{class: ShardName, have: fmt.Sprintf("number %d in the name", byName), want: fmt.Sprintf("number %d", lmv.Index), index: int(lmv.Index)})
		} else {
			out = append(out, stripeFault{class: ShardLMVWrong, have: fmt.Sprintf("shard number %d", lmv.Index), want: fmt.Sprintf("shard number %d", byName), index: byName})
		}
	}
	m, err := lustre.DecodeLMV(n.master)
	if err != nil || m.Insane() != "" || !m.IsMaster() {
		return out // the master's fault
	}
	if m.Changing() {
		return out // shards of the old and of the new layout stand side by side
	}
	right := &m
	if a.facts != nil && a.told != nil { // it is the master's fault, which the first of the shards tells that contradict it
		if right = &a.told.LMV; byName == a.told.first {
			out = append(out, stripeFault{class: MasterLMVWrong, index: -1, have: layoutText(&m), want: layoutText(right)})
		}
	}
	if !sameLayout(right, lmv) {
		out = append(out, stripeFault{class: ShardLMVWrong, index: byName, have: layoutText(lmv), want: layoutText(right)})
	}
	return out
}

// mostAstray tells whether more names of a shard are in the wrong place than in the right one, going by its layout: then it may be that which is wrong.
func (d *dirSum) mostAstray() bool {
	return d != nil && uint64(d.misplaced)*2 > uint64(d.shards)+uint64(d.others)
}

// layoutText is what master and shards have in common.
func layoutText(v *lustre.LMV) string {
	return fmt.Sprintf("%d shards, hash %s", v.Count, lustre.HashName(v.HashType))
}

// linkIndex gives the number of the shard that the link EA tells, when it was read again. linked is how many records tell one.
func (a *about) linkIndex(o *object) (index, linked int) {
	if a.facts == nil {
		return 0, 0
	}
	for _, l := range a.links(o) {
		if _, k, ok := lustre.ParseShardName(l.Name); ok {
			index = k
			linked++
		}
	}
	return index, linked
}
