package lustre

import (
	"fettle/internal/format/lustre"
)

// LFSCKRun is what a run has to say in the words of LFSCK. It becomes the text of "lctl get_param -n mdd.*.lfsck_namespace", which
// scripts parse. It counts the whole file system: there is one block, not one for each MDT.
type LFSCKRun struct {
	DryRun    bool   // nothing was repaired: counters are of what was found, and say _inconsistent
	Status    uint32 // lustre.LFSCKCompleted and its like
	Missing   bool   // an MDT was not given, or something could not be seen
	Started   int64  // seconds since 1970
	Ended     int64  // likewise; 0 for a run that has not ended
	Seconds   int64  // of work
	counts    lustre.LFSCKNamespace
	anyCounts bool
}

// Fact takes a number of the check under the name that LFSCK has for it. Other names are left out.
func (r *LFSCKRun) Fact(name string, n uint64) {
	c := &r.counts
	switch name {
	case "checked_phase1":
		c.Checked1 = n
	case "checked_phase2":
		c.Checked2 = n
	case "directories":
		c.Dirs = n
	case "multiple_linked_checked":
		c.MulLinkedChecked = n
	case "striped_dirs_scanned":
		c.DirsScanned = n
	case "striped_shards_scanned":
		c.ShardsScanned = n
	}
}

// Count takes one finding of a class: found, or in a run that repaired, repaired. Classes that LFSCK has no counter for go to
// unknown_inconsistency.
func (r *LFSCKRun) Count(class string) {
	c := &r.counts
	r.anyCounts = true
	early := map[string]*uint64{"dangling": &c.Dangling, "bad_file_type": &c.BadType, "name_hash": &c.NameHash, "linkea": &c.LinkEA, "dirent": &c.Dirent,
		"striped_dirs": &c.DirsRepaired, "striped_shards": &c.ShardsRepaired, "agent_entries": &c.AgentEntries}
	late := map[string]*uint64{"lost_dirent": &c.LostDirent, "multiple_referenced": &c.MulRef, "unmatched_pairs": &c.Unmatched, "nlinks": &c.Nlinks,
		"linkea_overflow": &c.LinkEAOverflow}
	name := lfsckCounter[class]
	if p := early[name]; p != nil {
		*p++
		c.Repaired1++
		return
	}
	if p := late[name]; p != nil {
		*p++
		c.Repaired2++
		return
	}
	c.Unknown++
}

// Bits of LFSCKNamespace.Flags and LFSCKBookmark.Param, from lustre_lfsck_user.h.
const (
	flagScannedOnce  = 1
	flagInconsistent = 2
	flagIncomplete   = 8
	paramAllTargets  = 8
	lfsckVersion     = 2
)

// Text gives the fields in LFSCK's order. now is in seconds since 1970.
func (r *LFSCKRun) Text(now int64) string {
	n := r.counts
	n.Magic, n.Status = lustre.LFSCKNamespaceMagic, r.Status
	n.LatestStart, n.LastCheckpoint, n.RunTime1 = r.Started, r.Ended, r.Seconds
	if r.DryRun && r.anyCounts {
		n.Flags |= flagScannedOnce | flagInconsistent
	}
	if r.Missing {
		n.Flags |= flagIncomplete
	}
	switch r.Status {
	case lustre.LFSCKCompleted:
		n.LastCompleted, n.SuccessCount = r.Ended, 1
	case lustre.LFSCKPartial:
		n.LastCompleted = r.Ended
	}
	mark := lustre.LFSCKBookmark{Version: lfsckVersion, Param: paramAllTargets}
	if r.DryRun {
		mark.Param |= lustre.LFSCKDryRun
	}
	return n.Text(mark, now)
}
