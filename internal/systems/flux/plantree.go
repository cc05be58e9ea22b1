package flux

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"fettle/internal/finding"
	"fettle/internal/format/kvscheckpoint"
	"fettle/internal/format/treeobj"
	"fettle/internal/say"
	"fettle/internal/store"
)

// lostFound is where Flux's own tools put what they cannot leave in its place.
const lostFound = "lost+found"

// wholeJob tells whether a finding makes its job move as a whole: without its eventlog or jobspec a job is nothing that
// the job manager could load, and its other keys belong together.
func (p *planner) wholeJob(d *store.Decision) bool {
	dir := jobDir(d.Finding.PathOr(""))
	if dir == "" || d.Action != finding.Quarantine || p.rollback != nil {
		return false
	}
	switch p.u.opts.jobs {
	case "keys":
		return false
	case "whole":
		return true
	}
	name := strings.TrimPrefix(d.Finding.PathOr(""), dir)
	return name == ".eventlog" || name == ".jobspec"
}

// key plans a damaged key of the tree.
func (p *planner) key(d *store.Decision) error {
	f := &d.Finding
	key := f.PathOr("")
	var detail keyDetail
	if err := json.Unmarshal(f.Detail, &detail); err != nil {
		return err
	}
	p.cleanRows(d, &detail)
	if p.rollback != nil {
		p.done(f, finding.Rollback, "gone with the rollback to "+p.rollback.label(), "what was written after it")
		return nil
	}
	if detail.Root != p.root.String() {
		p.done(f, d.Action, "the key is not in the tree that is repaired", "")
		return nil
	}
	if d.Action == finding.Rewrite && p.mendKey(d, &detail) {
		return nil
	}
	k, raw, ok := p.w.locate(p.root, key)
	if !ok || raw == nil {
		p.done(f, d.Action, "the key is gone already", "")
		return nil
	}
	p.newRoot = true
	if d.Action == finding.Restore {
		if done, err := p.restore(d, k); done || err != nil {
			return err
		}
	}
	if specialKey(key) && d.Action != finding.Unlink {
		return p.special(d, k, raw)
	}
	if below := specialBelow(key); below && d.Action != finding.Unlink {
		if done, err := p.restore(d, k); done || err != nil {
			return err
		}
	}
	if d.Action == finding.Unlink {
		p.w.set(k, edit{})
		p.drop(key, k)
		p.done(f, d.Action, "removed", "the whole key")
		return nil
	}
	return p.quarantine(d, k, raw, &detail)
}

// specialBelow tells whether a directory holds keys that Flux goes on from.
func specialBelow(key string) bool { return key == "resource" || key == "checkpoint" || key == "admin" }

// cleanRows removes the rows with wrong content that the key referred to, and gives those with the wrong storage class
// the right one.
func (p *planner) cleanRows(d *store.Decision, detail *keyDetail) {
	if d.Action == finding.Ignore || d.Action == finding.Rewrite {
		return
	}
	for _, b := range detail.Bad {
		ref, err := treeobj.ParseRef(b.Text)
		if err != nil {
			continue
		}
		switch b.Class {
		case HashMismatch, UndecodableBlob:
			p.removeBadRow(ref)
		case HashStorageClass:
			p.textKey(ref)
		}
	}
}

// mendKey writes the rows of a key again where the hash proves what they must hold. All of them must be mendable.
func (p *planner) mendKey(d *store.Decision, detail *keyDetail) bool {
	type mended struct {
		ref     treeobj.Ref
		before  recordRow
		content []byte
	}
	var all []mended
	var hows []string
	for _, b := range detail.Bad {
		ref, err := treeobj.ParseRef(b.Text)
		if err != nil {
			return false
		}
		row, rowID, ok := p.rowByID(ref, 0)
		if !ok {
			return false
		}
		before := rowOf(row, rowID)
		before.Object = slices.Clone(before.Object) // the buffers are those of the next row soon
		budget := int64(mendRow)
		content, how, ok := mend(row, &budget)
		if !ok {
			return false
		}
		all = append(all, mended{ref, before, content})
		hows = append(hows, how)
	}
	for _, m := range all {
		p.mendRow(m.ref, m.before, m.content)
	}
	p.done(&d.Finding, finding.Rewrite, "content is whole again: "+strings.Join(slices.Compact(hows), ", "), "")
	return true
}

// restore puts an older version of the key in its place; false if there is none.
func (p *planner) restore(d *store.Decision, k editKey) (bool, error) {
	v, err := p.vf.anywhere(p.ctx, d.Finding.PathOr(""))
	if err != nil || v == nil {
		return false, err
	}
	p.w.set(k, edit{raw: v.Entry})
	age := ""
	if v.Age > 0 {
		age = fmt.Sprintf(", %.0f s older", v.Age)
	}
	p.done(&d.Finding, finding.Restore, "the version of "+v.From+" is put in its place"+age, "what was written to the key after it")
	return true, nil
}

// quarantine keeps what is readable in lost+found and takes the key out of its place. In a job that moves as a whole the
// mended key stays in the job's directory.
func (p *planner) quarantine(d *store.Decision, k editKey, raw []byte, detail *keyDetail) error {
	f := &d.Finding
	key := f.PathOr("")
	s, err := p.salvage(key, raw, detail)
	if err != nil {
		return err
	}
	if n := p.keepWrong(key, detail); n > 0 {
		s.says += fmt.Sprintf("; the wrong content of %s is kept beside it", say.Count(n, "blob"))
	}
	if dir := jobDir(key); dir != "" && p.jobs[dir] && key != dir {
		p.w.set(k, edit{raw: s.raw})
		p.drop(dir, editKey{name: dir})
		p.done(f, d.Action, fmt.Sprintf("job %s moves to %s.%s; %s", f.Group, lostFound, dir, s.says), s.loses)
		return nil
	}
	p.w.set(k, edit{})
	p.drop(key, k)
	if s.raw == nil {
		p.done(f, d.Action, "unlinked; "+s.says, s.loses)
		return nil
	}
	names := lostNames(key)
	p.add.at(names).leaf = s.raw
	p.done(f, d.Action, fmt.Sprintf("kept as %s; %s", treeobj.JoinKey(names), s.says), s.loses)
	return nil
}

// finishTree rewrites the tree, adds lost+found, and names the new root by a checkpoint row at the very end.
func (p *planner) finishTree() error {
	if p.recreate {
		if err := p.minimalRoot(); err != nil {
			return err
		}
	} else if p.rollback == nil && !p.root.IsZero() {
		if err := p.rewriteTree(); err != nil {
			return err
		}
	}
	if p.newRoot && !p.root.IsZero() {
		if err := p.newCheckpoint(); err != nil {
			return err
		}
		if err := p.dropBrokenRows(); err != nil {
			return err
		}
	}
	return p.newBlobs()
}

// dropBrokenRows removes older checkpoint rows in whose trees a directory is lost: they are no way back, and flux gc, which
// follows all of them, gives up at the first. Rows whose trees have only lost values are kept.
func (p *planner) dropBrokenRows() error {
	var gone []string
	enough := lostDirs
	if p.u.opts.scan {
		enough = anyDamage // all trees were asked about
	}
	for _, r := range p.u.distinctRoots() {
		if len(r.rows) == 0 || r.rows[0].Legacy || r.ref == p.root {
			continue
		}
		_, ok, err := p.u.survey(p.ctx, nil, r.ref, enough)
		if err != nil {
			return err
		}
		for _, row := range r.rows {
			addr := checkpointAddr(row.ID)
			if _, planned := p.rows[addr]; !ok && !planned {
				p.removeCheckpoint(row.ID)
				gone = append(gone, fmt.Sprint(row.ID))
			}
		}
	}
	if len(gone) > 0 {
		p.notes = append(p.notes, "checkpoint rows "+strings.Join(gone, ", ")+" are removed as well: their trees are damaged (flux gc stops where a directory is lost)")
	}
	return nil
}

func (p *planner) rewriteTree() error {
	if err := p.recomputeState(); err != nil {
		return err
	}
	if len(p.w.edits) == 0 && len(p.add.sub) == 0 {
		return nil
	}
	dirs := make([]string, 0, len(p.jobs))
	for dir := range p.jobs {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	moved := map[string][]byte{}
	for _, dir := range dirs {
		k, raw, ok := p.w.locate(p.root, dir)
		if !ok || raw == nil {
			continue
		}
		moved[dir] = raw
		p.w.set(k, edit{})
	}
	if err := p.w.seal(p.ctx, p.root); err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := p.moveJob(dir, moved[dir]); err != nil {
			return err
		}
	}
	root, err := p.w.rewrite(p.ctx, p.root)
	if err != nil {
		return err
	}
	if len(p.add.sub) > 0 {
		top, err := treeobj.NewDirref(root)
		if err != nil {
			return err
		}
		if top, err = p.w.graft(top, p.add); err != nil {
			return err
		}
		var scan treeobj.Scanner
		root = scan.Parse(top).Root.Ref
	}
	p.newRoot = p.newRoot || root != p.root
	p.root = root
	return nil
}

// moveJob puts a job's directory, with its keys mended, into lost+found.
func (p *planner) moveJob(dir string, raw []byte) error {
	if raw == nil {
		return nil
	}
	var scan treeobj.Scanner
	t := scan.Parse(raw)
	if t.Root.Type == treeobj.TypeDirref {
		ref := t.Root.Ref
		if err := p.sealJob(ref); err != nil {
			return err
		}
		done, err := p.w.rewrite(p.ctx, ref)
		if err != nil {
			return err
		}
		if raw, err = treeobj.NewDirref(done); err != nil {
			return err
		}
	}
	p.add.at(lostNames(dir)).leaf = raw
	return nil
}

// sealJob makes sure that the directories below a job are known to the rewriter even though the job leaves its place.
func (p *planner) sealJob(ref treeobj.Ref) error {
	n := p.u.idx.find(ref.Sum())
	if n < 0 {
		return nil
	}
	_, err := p.w.taint.compute(p.ctx, n)
	return err
}

// newBlobs turns the blobs that the rewriter collected into changes.
func (p *planner) newBlobs() error {
	epoch := p.nextID()
	hasEpoch := p.u.hasEpoch || p.rebuild
	for _, ref := range p.w.order {
		addr := objectAddr(ref)
		var before store.Bytes
		var oldID int64
		if old, rowID, ok := p.rowByID(ref, 0); ok {
			before, oldID = rowOf(old, rowID).before(), rowID // a row with wrong content or the wrong class has the key
			delete(p.rows, rowAddr(rowID))
		}
		row, err := p.newBlob(ref, epoch, hasEpoch, before == nil)
		if err != nil {
			return err
		}
		row.RowID = oldID
		p.change(store.Change{Target: targetDB, Addr: addr, Before: before, After: row.bytes(), Note: "new"})
	}
	return nil
}

// newBlob is the row of a blob that the rewriter wants. The content of a row under a wrong name is named by that row if it
// is long, which is still there when rows with new names are inserted.
func (p *planner) newBlob(ref treeobj.Ref, epoch int64, hasEpoch, newName bool) (recordRow, error) {
	source, copied := p.w.from[ref]
	if !copied {
		return newRow(p.w.blobs[ref], epoch, hasEpoch), nil
	}
	old, rowID, ok := p.rowByID(source, 0)
	if !ok {
		return recordRow{}, fmt.Errorf("row of %s is gone", source)
	}
	if p.rebuild || !newName || len(old.Stored) < longObject {
		return newRow(old.Content, epoch, hasEpoch), nil
	}
	row := rowOf(old, rowID).digested()
	row.RowID, row.Hash, row.Key, row.Epoch, row.ObjectOf = 0, "", "text", nil, rowID
	if hasEpoch {
		row.Epoch = &epoch
	}
	return row, nil
}

// nextID is the id of the new checkpoint row.
func (p *planner) nextID() int64 {
	id := p.u.lastSequence()
	for i := range p.u.checkpoints {
		id = max(id, p.u.checkpoints[i].ID)
	}
	return max(id, p.u.counts.MaxEpoch) + 1
}

// newCheckpoint adds the row that makes the new root the current one.
func (p *planner) newCheckpoint() error {
	seq := int64(-1)
	for i := range p.u.checkpoints {
		seq = max(seq, p.u.checkpoints[i].value.Sequence)
	}
	v := kvscheckpoint.Checkpoint{Version: 1, Rootref: p.root, Sequence: seq + 1, HasSequence: true, Timestamp: unixSeconds(p.now), HasTimestamp: true}
	value, err := v.Encode()
	if err != nil {
		return err
	}
	if p.u.checkptRoot == 0 && p.u.legacyRoot != 0 && !p.rebuild {
		// Flux migrates the legacy row when it opens the store; a second table beside it would be ignored or refused.
		for i := range p.u.checkpoints {
			if c := &p.u.checkpoints[i]; c.Legacy {
				p.change(store.Change{Target: targetDB, Addr: addrLegacy, Before: checkpointBytes(c), After: value, Note: "the new root"})
				return nil
			}
		}
	}
	if p.u.checkptRoot == 0 && !p.rebuild {
		p.change(store.Change{Target: targetDB, Addr: addrTable, After: store.Bytes(sqlCheckpoint), Note: "the table that Flux would make"})
	}
	p.change(store.Change{Target: targetDB, Addr: checkpointAddr(p.nextID()), After: value, Note: "the new root"})
	return nil
}
