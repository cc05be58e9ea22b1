package devmapper

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
)

// leaks are the classes of thin devices that nothing refers to any more.
var leaks = []string{LeakedDevice, NoSnapshot, BlocksNextID, FreeIDInPool}

// counts tells whether a finding is more than informative.
func (inv *Inventory) counts(i int) bool { return severityOf(&inv.found[i]) != finding.Info }

func severityOf(f *judged) finding.Severity {
	if f.Severity != "" {
		return f.Severity
	}
	c, _ := Classes.Lookup(f.Class)
	return c.Severity
}

// troubles puts findings to the rows that they are about.
func (inv *Inventory) troubles() {
	for i := range inv.found {
		f := &inv.found[i]
		for _, k := range inv.rowsOf(f) {
			r := &inv.Rows[k]
			r.found = append(r.found, i)
			if inv.counts(i) && !slices.Contains(r.Trouble, f.Class) {
				r.Trouble = append(r.Trouble, f.Class)
			}
			if slices.Contains(leaks, f.Class) && f.cause == "" && r.thin != nil && r.snap == nil {
				r.Leaked = true
			}
		}
	}
}

// rowsOf finds the rows that a finding is about: by what it says in a form for machines, and by its subject.
func (inv *Inventory) rowsOf(f *judged) []int {
	var out []int
	add := func(ks ...int) {
		for _, k := range ks {
			if !slices.Contains(out, k) {
				out = append(out, k)
			}
		}
	}
	at := func(k int, ok bool) {
		if ok {
			add(k)
		}
	}
	ix := &inv.index
	if f.snap != nil {
		k, ok := ix.bySnap[f.snap.Key]
		at(k, ok)
	}
	if f.rec != nil {
		k, ok := ix.byRecord[f.rec.Key]
		at(k, ok)
	}
	d := f.facts()
	switch {
	case d.Namespace != "":
		k, ok := ix.byEntry[nsKey{d.Namespace, d.Key}]
		at(k, ok)
	case d.Backend != "":
		k, ok := ix.bySnap[d.Backend]
		at(k, ok)
	case d.SnapshotID != nil && len(out) == 0:
		add(ix.bySnapID[*d.SnapshotID]...)
	case d.DeviceID != nil && len(out) == 0:
		add(ix.byDev[*d.DeviceID]...)
	}
	if id, ok := parseDevice(f.Subject); ok && len(out) == 0 {
		add(ix.byDev[id]...)
	}
	if parent, child, ok := parseLink(f.Subject); ok && len(out) == 0 {
		add(ix.bySnapID[child]...)
		add(ix.bySnapID[parent]...)
	}
	for _, name := range strings.Split(f.Subject, ",") {
		k, ok := ix.byRecord[name]
		at(k, ok)
	}
	return out
}

// parseLink reads "parents/3/4", an entry of v1/parents.
func parseLink(s string) (parent, child uint64, ok bool) {
	rest, is := strings.CutPrefix(s, "parents/")
	a, b, both := strings.Cut(rest, "/")
	parent, err1 := strconv.ParseUint(a, 10, 64)
	child, err2 := strconv.ParseUint(b, 10, 64)
	return parent, child, is && both && err1 == nil && err2 == nil
}

// parseDevice reads "dev_id 7", "dev 7" and "dev7".
func parseDevice(s string) (uint32, bool) {
	for _, p := range []string{"dev_id", "device", "dev"} {
		if rest, ok := strings.CutPrefix(s, p); ok {
			n, err := strconv.ParseUint(strings.TrimLeft(rest, " "), 10, 32)
			return uint32(n), err == nil
		}
	}
	return 0, false
}

// Find gives the rows that a name stands for: the name of a device, "dev 7", "snap 7", 7 (either), a key of metadata.db, a user's key
// with or without its namespace, the id of a container, or the name of an image (its last layers). Several when it is ambiguous.
func (inv *Inventory) Find(name string) []int {
	if id, ok := parseDevice(name); ok {
		return inv.index.byDev[id]
	}
	if rest, ok := strings.CutPrefix(name, "snap"); ok {
		if n, err := strconv.ParseUint(strings.TrimLeft(rest, " -"), 10, 64); err == nil {
			return inv.index.bySnapID[n]
		}
	}
	var out []int
	for i := range inv.Rows {
		if inv.Rows[i].isCalled(name) {
			out = append(out, i)
		}
	}
	if len(out) > 0 {
		return out
	}
	if n, err := strconv.ParseUint(name, 10, 64); err == nil {
		out = append(out, inv.index.bySnapID[n]...)
		if n <= 1<<32-1 {
			for _, k := range inv.index.byDev[uint32(n)] {
				if !slices.Contains(out, k) {
					out = append(out, k)
				}
			}
		}
	}
	return out
}

func (r *Row) isCalled(name string) bool {
	switch {
	case name == "":
		return false
	case name == r.Device, name == r.Backend, name == r.Key, r.Key != "" && name == r.Namespace+"/"+r.Key:
		return true
	}
	return slices.ContainsFunc(r.Containers, func(c ContainerUse) bool { return c.ID == name || c.Namespace+"/"+c.ID == name }) ||
		slices.ContainsFunc(r.Images, func(u ImageUse) bool { return u.Top && (u.Name == name || u.Namespace+"/"+u.Name == name) })
}

// Chain gives a row and those that it is made from, the base last, as far as they are there. It ends when it comes back to itself.
func (inv *Inventory) Chain(i int) []int {
	var out []int
	seen := map[int]bool{}
	for ; i >= 0 && !seen[i]; i = inv.Rows[i].Up {
		seen[i] = true
		out = append(out, i)
	}
	return out
}

// Forest visits all rows, parents before children, with their depth. Rows whose parents go round in circles come last, once each.
func (inv *Inventory) Forest(visit func(i, depth int) error) error {
	seen := make([]bool, len(inv.Rows))
	type step struct{ i, depth int }
	from := func(root int) error {
		todo := []step{{root, 0}}
		for len(todo) > 0 {
			s := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if seen[s.i] {
				continue
			}
			seen[s.i] = true
			if err := visit(s.i, s.depth); err != nil {
				return err
			}
			kids := inv.Rows[s.i].Children
			for k := len(kids) - 1; k >= 0; k-- {
				todo = append(todo, step{kids[k], s.depth + 1})
			}
		}
		return nil
	}
	for i := range inv.Rows {
		if inv.Rows[i].Up < 0 {
			if err := from(i); err != nil {
				return err
			}
		}
	}
	for i := range inv.Rows {
		if !seen[i] {
			if err := from(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// Findings gives what is wrong about a row, informative findings too. Severities are filled in.
func (inv *Inventory) Findings(i int) []finding.Finding {
	var out []finding.Finding
	for _, k := range inv.Rows[i].found {
		f := inv.found[k].Finding
		f.Severity = severityOf(&inv.found[k])
		if c, ok := Classes.Lookup(f.Class); ok && f.Title == "" {
			f.Title = c.Title
		}
		out = append(out, f)
	}
	return out
}

// Claims lists what every layer says about a row, also that it says nothing.
func (inv *Inventory) Claims(i int) []finding.Evidence {
	r, j := &inv.Rows[i], inv.j
	out := inv.metaClaims(r)
	switch {
	case j.store == nil:
		out = append(out, says(witStore, "is not there to be asked"))
	case r.snap != nil:
		out = append(out, snapshotClaim(r.snap))
	case r.Backend != "":
		out = append(out, says(witStore, "has no snapshot %s", r.Backend))
	case r.SnapshotID != nil:
		out = append(out, says(witStore, "there is no snapshot %d (the last id given out was %d)", *r.SnapshotID, j.store.Sequence))
	default:
		out = append(out, says(witStore, "cannot know: nothing says which snapshot it was"))
	}
	switch {
	case j.pool == nil:
		out = append(out, says(witPool, "is not there to be asked"))
	case r.rec != nil:
		out = append(out, recordClaim(r.rec))
	case r.DeviceID != nil:
		out = append(out, says(witPool+" devices", "no record has device id %d", *r.DeviceID))
	case r.SnapshotID != nil:
		out = append(out, says(witPool+" devices", "no record of a device of snapshot %d", *r.SnapshotID))
	}
	if r.DeviceID != nil && j.pool != nil {
		if r.IDState == "" {
			out = append(out, says(witPool+" device_ids", "has no id %d (the last one given out was %d)", *r.DeviceID, j.pool.Sequence))
		} else {
			out = append(out, says(witPool+" device_ids", "id %d is %s", *r.DeviceID, r.IDState))
		}
	}
	return append(out, inv.thinClaims(r)...)
}

func (inv *Inventory) metaClaims(r *Row) []finding.Evidence {
	m := inv.j.meta
	if m == nil {
		return []finding.Evidence{says(witMeta, "is not there to be asked")}
	}
	var out []finding.Evidence
	for _, k := range r.entries {
		e := &m.Entries[k]
		text := "backend snapshot " + e.Name
		if e.Parent != "" {
			text += ", parent " + e.Parent
		}
		if len(e.Children) > 0 {
			text += fmt.Sprintf(", %d child links", len(e.Children))
		}
		if e.Err != nil {
			text += fmt.Sprintf(", cannot be read in full: %v", e.Err)
		}
		out = append(out, says(witMeta+" "+e.Namespace+"/"+e.Key, "%s", text))
		if v, ok := e.Labels["containerd.io/gc.root"]; ok {
			out = append(out, says(witMeta+" "+e.Namespace+"/"+e.Key, "kept from garbage collection by the label gc.root=%s", v))
		}
	}
	switch {
	case len(out) > 0:
	case r.Backend != "":
		out = append(out, says(witMeta, "no entry refers to %s", r.Backend))
	case r.What == RowMissing:
		out = append(out, says(witMeta, "has no snapshot %s/%s", r.Namespace, r.Key))
	}
	for _, c := range r.Containers {
		text := "runs on it"
		if c.Image != "" {
			text += ", image " + c.Image
		}
		out = append(out, says(witMeta+" container "+c.Namespace+"/"+c.ID, "%s", text))
	}
	for _, u := range r.Images {
		if u.Top {
			out = append(out, says(witMeta+" image "+u.Namespace+"/"+u.Name, "it is the last layer"))
		} else {
			out = append(out, says(witMeta+" image "+u.Namespace+"/"+u.Name, "it is one of the layers"))
		}
	}
	for _, l := range r.Leases {
		out = append(out, says(witMeta+" lease "+l, "holds it"))
	}
	return out
}

func snapshotClaim(s *snapshotdb.Snapshot) finding.Evidence {
	text := fmt.Sprintf("snapshot %d, %s", s.ID, s.Kind)
	if s.Parent != "" {
		text += ", parent " + s.Parent
	}
	if s.Err != nil {
		text += fmt.Sprintf(", cannot be read in full: %v", s.Err)
	}
	return says(witStore+" "+s.Key, "%s", text)
}

func recordClaim(d *snapshotdb.Device) finding.Evidence {
	ev := recordEvidence(d)
	if d.Err == nil && d.Parent != "" {
		ev.Says += ", parent " + d.Parent
	}
	return ev
}

func (inv *Inventory) thinClaims(r *Row) []finding.Evidence {
	switch {
	case inv.j.thin == nil:
		return []finding.Evidence{says(witThin, "is not there to be asked")}
	case r.DeviceID == nil:
		return []finding.Evidence{says(witThin, "cannot know: nothing says which device it was")}
	case r.thin == nil && inv.j.thin.whole:
		return []finding.Evidence{says(witThin, "there is no device %d", *r.DeviceID)}
	case r.thin == nil:
		return []finding.Evidence{says(witThin, "no device %d in the part that can be read", *r.DeviceID)}
	}
	t := r.thin
	text := fmt.Sprintf("device %d exists, %d blocks mapped, %d of them by no other device", t.ID, t.Mapped, t.Exclusive)
	if t.HasDetails {
		text += fmt.Sprintf(", created at pool time %d", t.Details.CreationTime)
	} else {
		text += ", no details"
	}
	if t.Unreadable {
		text += "; parts of its mappings cannot be read"
	}
	out := []finding.Evidence{says(witThin, "%s", text)}
	if r.Open != nil {
		out = append(out, says("device-mapper", "the device is open %d times", *r.Open))
	}
	return out
}
