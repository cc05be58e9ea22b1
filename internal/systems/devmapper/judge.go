package devmapper

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"

	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
)

// judged is a finding with the one it follows from.
type judged struct {
	finding.Finding
	cause string // key of another judged finding, "" for none

	// What it is about, for the advice; nil where it does not apply.
	rec  *snapshotdb.Device
	snap *snapshotdb.Snapshot
	thin *thinmeta.Device
	dev  uint32 // device id of a finding about one
	ent  int    // entry of meta.db, -1 for none
	in   nsKey  // what of meta.db it is about, when the subject alone does not tell: two namespaces may have the same keys
}

// key names a finding among those of one check.
func (f *judged) key() string { return keyIn(f.Class, f.Subject, f.in) }

func keyOf(class, subject string) string { return class + "\x00" + subject }

// judge collects what is wrong with joined evidence.
type judge struct {
	*joined
	ctx   context.Context
	found []judged
	index map[string]int // of found, by key

	// Causes that others look for.
	unreadable string                  // key of the first finding that hides who owns a device
	doubled    string                  // key of the first doubled snapshot id
	lostParent map[string]string       // by backend key of the missing parent
	lostBelow  map[uint64]string       // by id of a snapshot whose parent is missing
	forgotten  map[nsKey]string        // unreferenced snapshots by namespace and user's key in their backend key; "" if there are several
	childSets  map[int]map[string]bool // children of entries of meta.db, for those that were asked for

	// For the advice, counted when everything is found.
	orphans   int // records without a snapshot
	lost      int // things that are missing from a layer and might be on a thin device that nobody seems to use
	strangers int // thin devices that <pool>.db has never known
	parents   map[string]bool
	proofs
}

// newJudge starts with nothing found.
func newJudge(ctx context.Context, j *joined) *judge {
	return &judge{joined: j, ctx: ctx, index: map[string]int{}, lostParent: map[string]string{}, lostBelow: map[uint64]string{}, forgotten: map[nsKey]string{},
		childSets: map[int]map[string]bool{}}
}

// judgeLayers says everything that is wrong between and within the layers, the thin metadata's own problems left out. It reads
// nothing but the evidence, except where thin devices are compared.
func judgeLayers(ctx context.Context, j *joined) []judged {
	g := newJudge(ctx, j)
	g.all()
	return g.found
}

// all judges everything, and then says what can be done.
func (g *judge) all() {
	g.poolIdentity()
	g.records()
	g.deviceIDs()
	g.thinDevices()
	g.sequences()
	g.snapshots()
	g.links()
	g.entries()
	g.users()
	g.values()
	g.identity()
	g.count()
	g.prove()
	g.linkProofs()
	for i := range g.found {
		g.advise(&g.found[i])
		g.guardOpen(&g.found[i])
	}
}

// add records a finding and returns it for further words.
func (g *judge) add(class, subject, cause string, evidence ...finding.Evidence) *judged {
	return g.addIn(nsKey{}, class, subject, cause, evidence...)
}

// addIn is add for a finding about something of a namespace of meta.db. Its facts have to name the same.
func (g *judge) addIn(in nsKey, class, subject, cause string, evidence ...finding.Evidence) *judged {
	g.found = append(g.found, judged{Finding: finding.Finding{Class: class, Subject: subject, Evidence: evidence}, cause: cause, ent: -1, in: in})
	f := &g.found[len(g.found)-1]
	g.index[f.key()] = len(g.found) - 1
	return f
}

// has tells whether a finding was recorded already.
func (g *judge) has(class, subject string) bool { _, ok := g.index[keyOf(class, subject)]; return ok }

// says is one line of evidence.
func says(witness, format string, args ...any) finding.Evidence {
	return finding.Evidence{Witness: witness, Says: fmt.Sprintf(format, args...)}
}

// Names of witnesses.
const (
	witPool  = "pool database"
	witStore = "metadata.db"
	witMeta  = "meta.db"
	witThin  = "thin pool"
)

// inOrder puts causes before what follows from them; otherwise the order stays. A cause that was not found is forgotten.
func inOrder(fs []judged) []judged {
	at := map[string]int{}
	for i := range fs {
		if _, ok := at[fs[i].key()]; !ok {
			at[fs[i].key()] = i
		}
	}
	depth := make([]int, len(fs))
	for i := range fs {
		if _, ok := at[fs[i].cause]; fs[i].cause != "" && !ok {
			fs[i].cause = ""
		}
	}
	for i := range fs {
		// Causes never lead in circles by construction; the bound makes a mistake harmless.
		for k, c := 0, fs[i].cause; c != "" && k < 8; k++ {
			depth[i]++
			c = fs[at[c]].cause
		}
	}
	order := make([]int, len(fs))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return depth[order[a]] < depth[order[b]] })
	out := make([]judged, len(fs))
	for i, k := range order {
		out[i] = fs[k]
	}
	return out
}

// detail is the machine-readable part of a finding.
type detail struct {
	DeviceID   *uint32 `json:"device_id,omitempty"`
	SnapshotID *uint64 `json:"snapshot_id,omitempty"`
	State      string  `json:"state,omitempty"`
	Want       string  `json:"want,omitempty"`
	Have       string  `json:"have,omitempty"`
	Namespace  string  `json:"namespace,omitempty"`
	Key        string  `json:"key,omitempty"`
	Backend    string  `json:"backend,omitempty"`
	Page       *uint64 `json:"page,omitempty"`
	Block      *uint64 `json:"block,omitempty"`
	File       string  `json:"file,omitempty"`
	Mapped     *uint64 `json:"mapped_bytes,omitempty"`
	Exclusive  *uint64 `json:"exclusive_bytes,omitempty"`
}

// facts are the machine-readable part again.
func (f *judged) facts() detail {
	var d detail
	if err := json.Unmarshal(f.Detail, &d); err != nil {
		return detail{} // a finding without facts
	}
	return d
}

func (f *judged) with(d detail) *judged {
	b, err := json.Marshal(d)
	if err != nil {
		panic(err) // numbers and strings always marshal
	}
	f.Detail = b
	return f
}

// about says what the finding is about.
func (f *judged) about(rec *snapshotdb.Device, snap *snapshotdb.Snapshot, thin *thinmeta.Device) *judged {
	f.rec, f.snap, f.thin = rec, snap, thin
	switch {
	case rec != nil:
		f.dev = rec.ID
	case thin != nil:
		f.dev = thin.ID
	}
	return f
}

// path names the thing in the user's terms.
func (f *judged) path(p string) *judged {
	if p != "" {
		f.Path = &p
	}
	return f
}

// offer says which actions there are, the suggested one first, and why it is suggested.
func (f *judged) offer(why string, actions ...finding.Action) *judged {
	f.Actions, f.Suggested, f.Why = append(actions, finding.Ignore), actions[0], why
	if actions[0] == finding.Ignore {
		f.Actions = actions
	}
	return f
}

// severity overrides the class's.
func (f *judged) severity(s finding.Severity) *judged { f.Severity = s; return f }

func devSubject(id uint32) string { return "dev_id " + strconv.FormatUint(uint64(id), 10) }

func (g *judge) devEvidence(id uint32) finding.Evidence {
	if g.thin == nil {
		return says(witThin, "is not there to be asked")
	}
	d := g.device(id)
	if d == nil {
		return says(witThin, "there is no device %d", id)
	}
	if !d.HasDetails {
		return says(witThin, "device %d has mappings but no details", id)
	}
	return says(witThin, "device %d exists, %d blocks mapped, created at pool time %d", id, d.Details.MappedBlocks, d.Details.CreationTime)
}

func (g *judge) idEvidence(id uint32) finding.Evidence {
	state, known := g.idState(id)
	if !known {
		return says(witPool+" device_ids", "does not have id %d", id)
	}
	return says(witPool+" device_ids", "id %d is %s", id, idStateName(state))
}

func idStateName(s byte) string {
	switch s {
	case snapshotdb.IDFree:
		return "free"
	case snapshotdb.IDTaken:
		return "taken"
	case snapshotdb.IDFaulty:
		return "faulty"
	}
	return fmt.Sprintf("in state %d", s)
}

func recordEvidence(d *snapshotdb.Device) finding.Evidence {
	if d.Err != nil {
		return says(witPool+" record "+d.Key, "cannot be read: %v", d.Err)
	}
	text := fmt.Sprintf("device id %d, state %s, size %d", d.ID, d.State, d.Size)
	if d.Error != "" {
		text += ", error " + strconv.Quote(d.Error)
	}
	return says(witPool+" record "+d.Key, "%s", text)
}

func (g *judge) snapEvidence(id uint64) finding.Evidence {
	if g.store == nil {
		return says(witStore, "is not there to be asked")
	}
	switch ids := g.snapByID[id]; len(ids) {
	case 0:
		return says(witStore, "there is no snapshot %d (sequence %d)", id, g.store.Sequence)
	default:
		s := &g.store.Snapshots[ids[0]]
		return says(witStore, "snapshot %d is %s, %s", id, s.Key, s.Kind)
	}
}

// userOf says in the user's terms what a snapshot is for: "k8s.io/KEY (container web-1)".
func (g *judge) userOf(s *snapshotdb.Snapshot) string {
	for _, i := range g.entriesByName[s.Key] {
		return g.entryName(i)
	}
	return s.Key
}

func (g *judge) entryName(i int) string {
	e := &g.meta.Entries[i]
	name := e.Namespace + "/" + e.Key
	if c := g.containersByNS[nsKey{e.Namespace, e.Key}]; len(c) > 0 {
		name += " (container " + g.meta.Containers[c[0]].ID + ")"
	}
	return name
}
