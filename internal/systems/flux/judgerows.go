package flux

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"fettle/internal/finding"
	"fettle/internal/format/treeobj"
	"fettle/internal/say"
)

// rows judges every checkpoint row by itself, and the way from the rows to a root.
func (r *reporter) rows(ctx context.Context) error {
	u := r.u
	for i := range u.checkpoints {
		if f, ok := judgeCheckpointRow(&u.checkpoints[i], i == 0); ok {
			if _, err := r.emit(f); err != nil {
				return err
			}
		}
	}
	if u.opts.checkpoint != "" {
		return r.chosenRootFinding()
	}
	return r.rootFindings(ctx)
}

// judgeCheckpointRow says what is wrong with a row as such.
func judgeCheckpointRow(c *checkpoint, newest bool) (finding.Finding, bool) {
	if c.err == nil {
		return finding.Finding{}, false
	}
	if c.Legacy {
		f := badRow(c, LegacyCheckpoint)
		f.Evidence = append(f.Evidence, finding.Evidence{Witness: "Flux since 0.77", Says: "refuses to load a legacy value that is not JSON"})
		if c.ref.IsZero() {
			drop(&f, finding.Rewrite)
			f.Actions = append([]finding.Action{finding.Discard}, f.Actions...)
			f.Suggested = finding.Discard
		}
		return f, true
	}
	f := badRow(c, BadCheckpoint)
	if c.err.Rule.Usable() || !newest && !c.err.Rule.BlocksAll() {
		f.Severity, f.Why = finding.Warning, "Flux stumbles over it only when it is the newest row"
	}
	return f, true
}

func badRow(c *checkpoint, class string) finding.Finding {
	f := newFinding(class)
	f.Subject = c.name()
	says := "NULL"
	if !c.Null {
		says = shorten(string(c.Value), 200)
	}
	f.Evidence = []finding.Evidence{{Witness: c.name(), Says: says}}
	if c.err != nil {
		f.Title = fmt.Sprintf("%s: %v", c.name(), c.err)
		f.Evidence = append(f.Evidence, finding.Evidence{Witness: "checkpoint format", Says: c.err.Error()})
	}
	f.Detail, _ = json.Marshal(map[string]any{"checkpoint": c.ID, "legacy": c.Legacy})
	return f
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "..."
}

// chosenRootFinding judges the root that the user named.
func (r *reporter) chosenRootFinding() error {
	b := newBlobReader(r.u)
	for _, root := range r.u.roots {
		if fault := r.u.judgeRoot(b, root.ref); fault.class != "" {
			if _, err := r.emit(r.rootFinding(root, fault, nil)); err != nil {
				return err
			}
		}
	}
	return nil
}

// rootFindings judges the roots of all rows. The newest one is what Flux starts from: when it cannot be used that is an
// error about the root key; an older one costs only a way back.
func (r *reporter) rootFindings(ctx context.Context) error {
	u := r.u
	b := newBlobReader(u)
	all := u.distinctRoots()
	usable := 0
	for i, root := range all {
		fault := u.judgeRoot(b, root.ref)
		if fault.class == "" {
			usable++
			continue
		}
		if i == 0 {
			var back *chosenRoot
			if len(u.roots) > 0 {
				back = &u.roots[0]
			}
			seq, err := r.emit(r.rootFinding(root, fault, back))
			if err != nil {
				return err
			}
			if u.rootMended(root.ref) {
				r.rootMend = &seq
			}
			continue
		}
		if _, err := r.emit(r.lostCheckpoint(root, fault)); err != nil {
			return err
		}
	}
	if len(all) == 0 {
		return r.noCheckpoint()
	}
	if u.opts.scan {
		return r.scanned(ctx, all)
	}
	return nil
}

// rootFinding is about a root that Flux would start from. back is where the tree can be had instead.
func (r *reporter) rootFinding(root chosenRoot, fault rootFault, back *chosenRoot) finding.Finding {
	f := judgeKey(&keyClaims{Entry: "root", Of: 1, Root: root,
		Bad: []badRef{{Ref: root.ref, Text: root.ref.String(), Class: fault.class, Says: fault.says}}})
	for _, row := range root.rows[min(1, len(root.rows)):] {
		f.Evidence = append(f.Evidence, finding.Evidence{Witness: row.name(), Says: "the root is the same"})
	}
	f.Actions = []finding.Action{finding.Rollback, finding.Ignore}
	f.Suggested = finding.Rollback
	if r.u.rootMended(root.ref) {
		m := r.u.mended[uint32(r.u.idx.find(root.ref.Sum()))]
		f.Actions = []finding.Action{finding.Rewrite, finding.Rollback, finding.Ignore}
		f.Suggested, f.Why = finding.Rewrite, "nothing is lost: the hash proves the right content"
		f.Evidence = append(f.Evidence, finding.Evidence{Witness: "hash of " + root.ref.String(), Says: "proves the right content: " + m.how})
		return f
	}
	if back == nil {
		f.Actions, f.Suggested = []finding.Action{finding.Recreate, finding.Ignore}, finding.Recreate
		f.Why = "no other root is in the store; fettle flux recover looks for a dump first"
		return f
	}
	f.Evidence = append(f.Evidence, finding.Evidence{Witness: back.label(), Says: "has a root that can be read" + r.u.howOld(*back)})
	f.Why = "the newest tree that can be had is that of " + back.label()
	return f
}

// howOld compares the time of a root with that of the newest row.
func (u *unit) howOld(root chosenRoot) string {
	cur := u.current()
	if cur == nil {
		return ""
	}
	t := root.when()
	if t.IsZero() || cur.when().IsZero() {
		return ""
	}
	return fmt.Sprintf(", %s before the newest checkpoint", roundAge(cur.when().Sub(t)))
}

// when is the time of the newest row that names the root; zero when none does.
func (c chosenRoot) when() time.Time {
	if len(c.rows) > 0 {
		return c.rows[0].when()
	}
	return time.Time{}
}

func roundAge(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()
}

func (r *reporter) lostCheckpoint(root chosenRoot, fault rootFault) finding.Finding {
	f := newFinding(LostCheckpoint)
	f.Subject = root.rows[0].name()
	f.Title = fmt.Sprintf("%s cannot be used: %s", root.rows[0].name(), map[string]string{
		DanglingRoot: "its root is lost", HashMismatch: "its root has wrong content", UndecodableBlob: "its root cannot be decoded",
		NotADirectory: "its root is no directory"}[fault.class])
	var ids []int64
	for _, row := range root.rows {
		ids = append(ids, row.ID)
		f.Evidence = append(f.Evidence, finding.Evidence{Witness: row.name(), Says: "the root is " + root.ref.String()})
	}
	f.Evidence = append(f.Evidence, finding.Evidence{Witness: "objects row " + root.ref.String(), Says: fault.says})
	f.Detail, _ = json.Marshal(map[string]any{"checkpoints": ids, "root": root.ref.String(), "fault": fault.class})
	return f
}

// noCheckpoint is for a store whose tables hold no valid checkpoint row at all.
func (r *reporter) noCheckpoint() error {
	u := r.u
	f := newFinding(NoCheckpoint)
	root := ""
	f.Path, f.Subject, f.CausedBy = &root, "checkpt_v2", r.schemaCause
	switch {
	case u.checkptRoot == 0 && u.legacyRoot == 0:
		f.Evidence = []finding.Evidence{{Witness: "schema", Says: "there is no table checkpt_v2 that can be read"}}
	default:
		f.Evidence = []finding.Evidence{{Witness: "checkpt_v2", Says: fmt.Sprintf("%d rows, none of them a checkpoint", len(u.checkpoints))}}
	}
	switch {
	case len(u.roots) == 0 && r.walMissing:
		drop(&f, finding.Restore)
		f.Prefer(finding.Ignore, "what was written is in a -wal elsewhere; anything else than finding it would make an empty store")
	case len(u.roots) == 0:
		drop(&f, finding.Restore)
		f.Why = "no root directory is in the store; fettle flux recover looks for a dump first"
		f.Evidence = append(f.Evidence, finding.Evidence{Witness: "objects", Says: "no blob looks like a root directory"})
	default:
		o := u.roots[0].orphan
		says := "looks like the newest root directory"
		if o.good {
			says += "; everything below it is whole"
		}
		f.Why = "the newest root directory is still among the blobs"
		f.Evidence = append(f.Evidence, finding.Evidence{Witness: "objects row " + o.ref.String(), Says: says})
		f.Detail, _ = json.Marshal(map[string]any{"root": o.ref.String(), "whole": o.good})
	}
	_, err := r.emit(f)
	return err
}

// scanned judges, for scan-checkpoints, every older tree as a way back.
func (r *reporter) scanned(ctx context.Context, all []chosenRoot) error {
	if len(r.u.roots) == 0 {
		return nil
	}
	var verdicts []string
	for i, root := range all {
		good, err := r.u.treeGood(ctx, r.env, root.ref)
		if err != nil {
			return err
		}
		for _, row := range root.rows {
			verdicts = append(verdicts, fmt.Sprintf("%d %s", row.ID, map[bool]string{true: "good", false: "damaged"}[good]))
		}
		if good || i == 0 || root.ref == r.u.roots[0].ref || r.u.judgeRoot(newBlobReader(r.u), root.ref).class != "" {
			continue
		}
		f := newFinding(LostCheckpoint)
		f.Subject, f.Title = root.rows[0].name(), root.rows[0].name()+" is no way back: its tree is damaged"
		var ids []int64
		for _, row := range root.rows {
			ids = append(ids, row.ID)
			f.Evidence = append(f.Evidence, finding.Evidence{Witness: row.name(), Says: "the root is " + root.ref.String()})
		}
		f.Detail, _ = json.Marshal(map[string]any{"checkpoints": ids, "root": root.ref.String(), "fault": "tree"})
		if _, err := r.emit(f); err != nil {
			return err
		}
	}
	r.env.Fact("checkpoints", strings.Join(verdicts, ", "))
	return nil
}

// judgeOrphan is about a damaged row that the checked tree does not use.
func judgeOrphan(ref treeobj.Ref, fault rootFault, e entry, rowID int64) finding.Finding {
	f := newFinding(DamagedOrphan)
	if fault.class == HashStorageClass {
		f = newFinding(HashStorageClass)
		f.Severity = finding.Warning
	}
	f.Subject = ref.String()
	f.Evidence = []finding.Evidence{
		{Witness: fmt.Sprintf("objects row %s (rowid %d, page %d)", ref, rowID, e.page()), Says: fault.says},
		{Witness: "checked tree", Says: "does not refer to it"},
	}
	f.Why = "Flux would keep the wrong row when it is given the right content again"
	f.Detail, _ = json.Marshal(map[string]any{"rowid": rowID, "fault": fault.class})
	return f
}

// judgeDuplicate is about a row that is not the best one for its hash.
func judgeDuplicate(ref treeobj.Ref, row *blobRow, e entry, rowID int64) finding.Finding {
	f := newFinding(DuplicateBlob)
	f.Subject = ref.String()
	says := "good content"
	if fault := rowFault(row); fault.class != "" {
		says = fault.says
	}
	f.Evidence = []finding.Evidence{
		{Witness: fmt.Sprintf("objects rowid %d (page %d)", rowID, e.page()), Says: "has the same hash as another row; " + says}}
	f.Detail, _ = json.Marshal(map[string]any{"rowid": rowID})
	return f
}

// judgeLog is about an eventlog whose blobs are all good and whose events are in an order that cannot be.
func judgeLog(c *keyClaims) finding.Finding {
	f := newFinding(EventlogOrder)
	f.Path, f.Subject, f.Group = &c.Path, c.Dir.String(), jobOf(c.Path)
	f.Evidence = []finding.Evidence{
		{Witness: dirWitness(c), Says: "eventlog is a valref of " + say.Count(c.Of, "blob") + ", all good"},
		{Witness: "events", Says: "the log does not begin with submit, or goes on after clean"}}
	f.Why = "the job manager cannot replay such a job"
	f.Detail, _ = json.Marshal(keyDetail{Kind: "valref", Of: c.Of, Directory: c.Dir.String(), Root: c.Root.ref.String(), Checkpoint: c.Root.id()})
	return f
}

// notes leaves sentences that are no findings.
func (r *reporter) notes(context.Context) error {
	u := r.u
	h := u.file.Header()
	if j := u.file.Journal(); j.Hot {
		r.env.Note("a hot rollback journal lies beside the file: SQLite will roll a transaction back when it opens the store; let that happen on a copy, then check again")
	}
	if r.omitted > 0 {
		r.env.Note(fmt.Sprintf("directories are used under very many or very long paths; %d further paths of damaged keys are not listed: check again after a repair", r.omitted))
	}
	if len(u.roots) > 0 && u.opts.checkpoint == "" {
		if cur := u.current(); cur == nil || u.roots[0].ref != cur.ref {
			r.env.Note("the keys are those of " + u.roots[0].label() + ", because no newer root can be read")
		}
	}
	if cur := u.current(); h.ReadVersion == 2 && !u.file.WAL().Exists && h.MagicOK && cur != nil && len(u.roots) > 0 && u.roots[0].ref == cur.ref {
		if clean, known := u.cleanShutdown(); known && !clean {
			r.env.Note("the instance was not shut down cleanly and there is no -wal beside the file: if it was left elsewhere, the newest changes are in it")
		}
	}
	return nil
}
