package lustre

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fettle/internal/format/lustre"
)

// Facts that the passes tell for each MDT, by its name.
const (
	factSwept   = "by_mdt_phase1" // map of swept
	factMatched = "by_mdt_phase2" // map of matched
	factLast    = "last_judged"   // map with the FID of the object that was judged last
	factFound   = "lfsck"         // map of all MDTs' counters of what was found, as LFSCK calls them
)

// swept is what the sweep met on one MDT.
type swept struct {
	Inodes  int64  `json:"checked"`
	Dirs    int64  `json:"directories"`
	Masters int64  `json:"striped_dirs_scanned"`
	Shards  int64  `json:"striped_shards_scanned"`
	At      uint32 `json:"inode"`       // everything up to this one was read
	From    uint32 `json:"start_inode"` // likewise, when the check was last started or resumed
}

// matched is what was judged about the objects of one MDT.
type matched struct {
	Checked int64            `json:"checked"` // with care
	Multi   int64            `json:"multiple_linked_checked"`
	Found   map[string]int64 `json:"found,omitempty"` // by class; what follows from something else may be dropped later
}

func (m *matched) found(class string) {
	if m.Found == nil {
		m.Found = map[string]int64{}
	}
	m.Found[class]++
}

func (m *matched) add(o *matched) {
	m.Checked += o.Checked
	m.Multi += o.Multi
	for class, n := range o.Found {
		if m.Found == nil {
			m.Found = map[string]int64{}
		}
		m.Found[class] += n
	}
}

// numbersOf gives the numbers of an MDT, which are made if need be.
func numbersOf(all map[string]*matched, name string) *matched {
	n := all[name]
	if n == nil {
		n = &matched{}
		all[name] = n
	}
	return n
}

// mdt is the index of the MDT that the group is about: that of the object, or where it would be, or where its name is.
func (a *about) mdt(s *shape) uint32 {
	if len(a.objects) > 0 {
		return s.indexes[a.objects[0].mdt]
	}
	if p, known := s.home(a.fid); known && p >= 0 {
		return s.indexes[p]
	}
	if len(a.names) > 0 {
		return s.indexes[a.names[0].mdt]
	}
	return s.indexes[0]
}

// mdtOf is the index of the MDT that a finding is counted for.
func mdtOf(d *detail) uint32 {
	switch {
	case d.MDT != nil:
		return *d.MDT
	case d.Entry != nil:
		return d.Entry.MDT
	case d.ParentMDT != nil:
		return *d.ParentMDT
	}
	return 0
}

// LFSCKRun is what a run has to say in the words of LFSCK. It becomes the text of "lctl get_param mdd.*.lfsck_namespace", which
// scripts parse: one block for each MDT.
type LFSCKRun struct {
	FS         string // name of the file system
	DryRun     bool   // nothing was repaired: counters are of what was found, and say _inconsistent
	Status     uint32 // lustre.LFSCKCompleted and its like
	Phase2     bool   // phase 1 is over
	Missing    bool   // an MDT was not given, or something could not be seen
	Started    int64  // seconds since 1970, of the last start or resumption
	Checkpoint int64  // likewise; 0 if none was taken
	Ended      int64  // likewise; 0 for a run that has not ended
	Seconds1   int64  // of work in phase 1
	Seconds2   int64  // and after it
	Since      int64  // seconds between the last checkpoint, or the start, and the state of the counters

	mdts map[string]*lfsckMDT
	last lustre.FID
}

// lfsckMDT is the part of one MDT.
type lfsckMDT struct {
	counts   lustre.LFSCKNamespace
	now      swept
	kept     swept // at the last checkpoint
	phase2   matched
	kept2    int64 // objects that were judged with care then
	findings bool
}

// mdt gives the part of an MDT.
func (r *LFSCKRun) mdt(name string) *lfsckMDT {
	if r.mdts == nil {
		r.mdts = map[string]*lfsckMDT{}
	}
	m := r.mdts[name]
	if m == nil {
		m = &lfsckMDT{}
		r.mdts[name] = m
	}
	return m
}

// Facts takes what the passes told until now, and what they had told at the last checkpoint (nil if there was none). It is what a
// run's status or summary holds.
func (r *LFSCKRun) Facts(now, kept map[string]any) error {
	var swept1, swept0 map[string]swept
	var matched1, matched0 map[string]matched
	var last map[string]string
	for _, f := range []struct {
		from map[string]any
		name string
		to   any
	}{{now, factSwept, &swept1}, {kept, factSwept, &swept0}, {now, factMatched, &matched1}, {kept, factMatched, &matched0}, {now, factLast, &last}} {
		v, ok := f.from[f.name]
		if !ok {
			continue
		}
		b, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(b, f.to)
		}
		if err != nil {
			return fmt.Errorf("read fact %s of the run: %w", f.name, err)
		}
	}
	for name, s := range swept1 {
		r.mdt(name).now = s
	}
	for name, s := range swept0 {
		r.mdt(name).kept = s
	}
	for name, m := range matched1 {
		r.mdt(name).phase2 = m
	}
	for name, m := range matched0 {
		r.mdt(name).kept2 = m.Checked
	}
	if text := last["fid"]; text != "" {
		var err error
		if r.last, err = lustre.ParseFID(text); err != nil {
			return fmt.Errorf("read fact %s of the run: %w", factLast, err)
		}
	}
	return nil
}

// Judged counts what the match found so far, for a run whose findings are not written yet.
func (r *LFSCKRun) Judged() {
	for _, m := range r.mdts {
		for class, n := range m.phase2.Found {
			m.count(class, uint64(max(n, 0)))
		}
	}
}

// Finding takes one finding: found, or in a run that repaired, repaired. raw is its Detail. Classes that LFSCK has no counter for go
// to unknown_inconsistency.
func (r *LFSCKRun) Finding(class string, raw json.RawMessage) {
	var d detail
	index := uint32(0)
	if json.Unmarshal(raw, &d) == nil {
		index = mdtOf(&d)
	}
	m := r.mdts[lustre.MDTName(index)]
	if m == nil { // it is about an MDT that was not given: the first one tells it
		m = r.mdt(r.names()[0])
	}
	m.count(class, 1)
}

// names lists the MDTs; there is at least one.
func (r *LFSCKRun) names() []string {
	if len(r.mdts) == 0 {
		return []string{lustre.MDTName(0)}
	}
	return slices.Sorted(maps.Keys(r.mdts))
}

func (m *lfsckMDT) count(class string, n uint64) {
	c := &m.counts
	m.findings = m.findings || n > 0
	early := map[string]*uint64{"dangling": &c.Dangling, "bad_file_type": &c.BadType, "name_hash": &c.NameHash, "linkea": &c.LinkEA, "dirent": &c.Dirent,
		"striped_dirs": &c.DirsRepaired, "striped_shards": &c.ShardsRepaired, "agent_entries": &c.AgentEntries}
	late := map[string]*uint64{"lost_dirent": &c.LostDirent, "multiple_referenced": &c.MulRef, "unmatched_pairs": &c.Unmatched, "nlinks": &c.Nlinks,
		"linkea_overflow": &c.LinkEAOverflow}
	name := lfsckCounter[class]
	if p := early[name]; p != nil {
		*p += n
		c.Repaired1 += n
		return
	}
	if p := late[name]; p != nil {
		*p += n
		c.Repaired2 += n
		return
	}
	c.Unknown += n
}

// Same tells whether LFSCK has one counter for two classes.
func (r *LFSCKRun) Same(class, other string) bool {
	return lfsckCounter[class] != "" && lfsckCounter[class] == lfsckCounter[other]
}

// Bits of LFSCKNamespace.Flags and LFSCKBookmark.Param, from lustre_lfsck_user.h.
const (
	flagScannedOnce  = 1
	flagInconsistent = 2
	flagIncomplete   = 8
	paramAllTargets  = 8
	lfsckVersion     = 2
)

// Text gives a block for each MDT, with a header as "lctl get_param" prints it, and the fields in LFSCK's order. now is in seconds
// since 1970.
func (r *LFSCKRun) Text(now int64) string {
	var b strings.Builder
	mark := lustre.LFSCKBookmark{Version: lfsckVersion, Param: paramAllTargets}
	if r.DryRun {
		mark.Param |= lustre.LFSCKDryRun
	}
	for _, name := range r.names() {
		fs := r.FS
		if fs != "" {
			fs += "-"
		}
		fmt.Fprintf(&b, "mdd.%s%s.lfsck_namespace=\n", fs, name)
		n, live := r.mdt(name).state(r)
		b.WriteString(n.Text(mark, live, now))
	}
	return b.String()
}

// state is what LFSCK would keep of the run on one MDT.
func (m *lfsckMDT) state(r *LFSCKRun) (lustre.LFSCKNamespace, lustre.LFSCKLive) {
	n := m.counts
	n.Magic, n.Status = lustre.LFSCKNamespaceMagic, r.Status
	n.Checked1, n.Dirs, n.DirsScanned, n.ShardsScanned = uint64(m.now.Inodes), uint64(m.now.Dirs), uint64(m.now.Masters), uint64(m.now.Shards)
	n.Checked2, n.MulLinkedChecked = uint64(m.phase2.Checked), uint64(m.phase2.Multi)
	n.LatestStart, n.LastCheckpoint, n.RunTime1, n.RunTime2 = r.Started, r.Checkpoint, r.Seconds1, r.Seconds2
	n.LatestStartPos.Object, n.LastCheckpointPos.Object = uint64(m.now.From), uint64(m.kept.At)
	n.LastScanned2 = r.last
	done := r.Status == lustre.LFSCKCompleted || r.Status == lustre.LFSCKPartial
	if r.Phase2 && !done {
		n.Flags |= flagScannedOnce
	}
	if r.DryRun && m.findings {
		n.Flags |= flagInconsistent
	}
	if r.Missing {
		n.Flags |= flagIncomplete
	}
	if done {
		n.LastCompleted, n.SuccessCount = r.Ended, 1
	}
	live := lustre.LFSCKLive{Current: lustre.LFSCKPosition{Object: uint64(m.now.At)}, Seconds: r.Since}
	switch r.Status {
	case lustre.LFSCKPhase1:
		live.New = uint64(max(m.now.Inodes-m.kept.Inodes, 0))
	case lustre.LFSCKPhase2:
		live.New = uint64(max(m.phase2.Checked-m.kept2, 0))
	}
	return n, live
}
