package lustre

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"fettle/internal/finding"
	"fettle/internal/format/lustre"
	"fettle/internal/store"
)

// ranksOf says which classes are repaired first: what objects and names are, then how directories are laid out, then which objects
// there are, names, link EAs, counts, and what the targets keep for themselves.
var ranksOf = map[string]int{
	DirentFIDMismatch: 1, MissingLMA: 1, DirentFIDInsane: 1, NoFID: 1, BadType: 1, DuplicateFID: 2, DirentInode: 2,
	MasterLMVMissing: 3, MasterLMVWrong: 3, ShardLMVMissing: 4, ShardLMVWrong: 4, ShardName: 4,
	DanglingName: 5, Orphan: 7, MultipleReferenced: 7, LostName: 7, StripeLost: 8, BadNameHash: 8, MasterName: 8, DirectoryTwice: 8,
	UnmatchedPair: 9, LinkMissing: 9, LinkCrashed: 9, LinkInvalidParent: 9, LinkRedundant: 9, LinkRepeated: 9, LinkOverflow: 9,
	DotdotMismatch: 10, BadNlink: 10, AgentMissing: 11, RemoteMissing: 11, RemoteStale: 11, RemoteFlag: 12, AgentType: 12, WrongMDT: 12, AgentStale: 12, IndexStale: 13, IndexMissing: 13,
}

// order puts the decisions in groups, causes first. In a group they follow their ranks.
func (p *planner) order(decisions []store.Decision) ([]doing, error) {
	roots := map[int]int{}
	first := map[int]int{}
	list := make([]doing, len(decisions))
	for i := range decisions {
		f := &decisions[i].Finding
		x := &list[i]
		*x = doing{f: f, d: new(detail), act: decisions[i].Action, root: f.Seq, rank: ranksOf[f.Class]}
		if err := json.Unmarshal(f.Detail, x.d); err != nil {
			return nil, fmt.Errorf("the detail of finding %d cannot be read: %w", f.Seq, err)
		}
		if f.Class == RemoteFlag && x.d.Have == markedAgent {
			x.rank = ranksOf[MissingLMA] // what else is put right of the object must find it
		}
		f.Detail = nil // with many findings it matters that this is not in memory twice
		if f.CausedBy != nil {
			x.root = *f.CausedBy
			if r, ok := roots[x.root]; ok {
				x.root = r
			}
		}
		roots[f.Seq] = x.root
		if f.Class == BadNlink {
			x.root = f.Seq // counts are set when everything that is counted is right
		}
		if have, ok := first[x.root]; !ok || x.rank < have {
			first[x.root] = x.rank
		}
		p.foresee(x)
	}
	p.removeLast(list)
	slices.SortStableFunc(list, func(a, b doing) int {
		return cmp.Or(cmp.Compare(first[a.root], first[b.root]), cmp.Compare(a.root, b.root), cmp.Compare(a.rank, b.rank), cmp.Compare(a.f.Seq, b.f.Seq))
	})
	return list, nil
}

// removeLast puts the end of the name of a lost directory behind the orphans that say they were in it: these make it anew in lost+found, where
// it has a name before it loses the old one.
func (p *planner) removeLast(list []doing) {
	parents := map[string]bool{}
	for i := range list {
		if x := &list[i]; x.f.Class == Orphan && x.act == Reattach && x.d.Parent != "" {
			parents[x.d.Parent] = true
		}
	}
	for i := range list {
		if x := &list[i]; x.f.Class == DanglingName && x.act == Remove && parents[x.d.FID] && !p.ofShard(x) {
			x.rank = ranksOf[Orphan] + 1
		}
	}
}

// foresee takes from a finding what others may need: where its object is, agents that can be used again, names that wait for an object.
func (p *planner) foresee(x *doing) {
	fid, err := lustre.ParseFID(x.d.FID)
	if err != nil {
		return
	}
	if e := x.d.Entry; e != nil && (x.f.Class == DanglingName || x.f.Class == AgentMissing) {
		if mdt, ok := p.u.places[e.MDT]; ok && len(p.avoid[mdt]) < maxAvoided {
			if used, err := p.mdts.Edit(mdt).InUse(e.Inode); err == nil && !used {
				p.avoid[mdt] = append(p.avoid[mdt], e.Inode)
			}
		}
	}
	switch {
	case x.f.Class == AgentStale && x.act == finding.Discard:
		if at, ok := p.objectPlace(x.d); ok {
			p.spare[spareKey{at.mdt, fid}] = at.ino
		}
	case x.f.Class == DanglingName && (x.act != Remove || p.ofShard(x)):
		p.dangles[fid] = waiting{x.d.Entry, x.f.Seq}
	case x.f.Class == IndexMissing || x.f.Class == IndexStale && x.d.WantInode != 0:
		if at, ok := p.objectPlace(x.d); ok {
			p.world.known[fid] = at
		}
	}
}

// maxAvoided bounds how many inodes are passed over when one is made.
const maxAvoided = 64
