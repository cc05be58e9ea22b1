package flux

import (
	"encoding/json"
	"fmt"
	"time"

	"fettle/internal/finding"
	"fettle/internal/format/kvscheckpoint"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// checkpointRows removes rows of checkpt_v2.
func (p *planner) checkpointRows(d *store.Decision) error {
	var detail struct {
		Checkpoint  int64   `json:"checkpoint"`
		Checkpoints []int64 `json:"checkpoints"`
	}
	if err := json.Unmarshal(d.Finding.Detail, &detail); err != nil {
		return err
	}
	if detail.Checkpoints == nil {
		detail.Checkpoints = []int64{detail.Checkpoint}
	}
	for _, id := range detail.Checkpoints {
		p.removeCheckpoint(id)
	}
	p.done(&d.Finding, d.Action, "the row is removed", "")
	return nil
}

func (p *planner) removeCheckpoint(id int64) {
	for i := range p.u.checkpoints {
		c := &p.u.checkpoints[i]
		if c.ID != id || c.Legacy {
			continue
		}
		p.change(store.Change{Target: targetDB, Addr: checkpointAddr(id), Before: checkpointBytes(c), Note: "checkpoint row"})
	}
}

// checkpointBytes is the record of a row's value; a NULL value is told apart from an absent row by its form.
func checkpointBytes(c *checkpoint) store.Bytes {
	if c.Null {
		return store.Bytes(nullValue)
	}
	return store.Bytes(append([]byte{}, c.Value...))
}

// nullValue stands for SQL NULL in plans; no value that Flux writes looks like it.
const nullValue = "\x00NULL"

func (p *planner) change(c store.Change) {
	if old, ok := p.rows[c.Addr]; ok {
		c.Before = old.Before
	}
	p.rows[c.Addr] = c
}

// legacyRow rewrites the value of the table checkpt in the form that new versions migrate.
func (p *planner) legacyRow(d *store.Decision) error {
	for i := range p.u.checkpoints {
		c := &p.u.checkpoints[i]
		if !c.Legacy {
			continue
		}
		ch := store.Change{Target: targetDB, Addr: addrLegacy, Before: checkpointBytes(c), Note: "legacy checkpoint"}
		if d.Action == finding.Rewrite && !c.ref.IsZero() {
			v := kvscheckpoint.Checkpoint{Version: 1, Rootref: c.ref, Timestamp: unixSeconds(p.now), HasTimestamp: true}
			b, err := v.Encode()
			if err != nil {
				return err
			}
			ch.After = b
		}
		p.change(ch)
	}
	p.done(&d.Finding, d.Action, "the value is written in the form that Flux migrates", "")
	return nil
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// orphanRow removes or mends a row that nothing in the tree uses.
func (p *planner) orphanRow(d *store.Decision) error {
	var detail struct {
		RowID int64 `json:"rowid"`
	}
	if err := json.Unmarshal(d.Finding.Detail, &detail); err != nil {
		return err
	}
	ref, err := treeobj.ParseRef(d.Finding.Subject)
	if err != nil {
		return err
	}
	row, rowID, ok := p.rowByID(ref, detail.RowID)
	if !ok {
		p.done(&d.Finding, d.Action, "the row is gone already", "")
		return nil
	}
	before := rowOf(row, rowID)
	p.rebuild = p.rebuild || row.Why == shortRow
	if d.Action == finding.Rewrite {
		budget := int64(mendRow)
		if content, how, ok := mend(row, &budget); ok {
			p.mendRow(ref, before, content)
			p.done(&d.Finding, d.Action, "written again: "+how, "")
			return nil
		}
	}
	p.change(store.Change{Target: targetDB, Addr: rowAddr(rowID), Before: before.before(), Note: ref.String()})
	p.done(&d.Finding, d.Action, "the row is removed", "")
	return nil
}

// rowByID finds the row of ref with that rowid among the rows with the same hash.
func (p *planner) rowByID(ref treeobj.Ref, rowID int64) (*blobRow, int64, bool) {
	n := p.u.idx.find(ref.Sum())
	for ; n >= 0 && n < p.u.idx.n; n++ {
		e := p.u.idx.at(n)
		row, err := p.w.b.at(e)
		if err != nil {
			return nil, 0, false
		}
		if got, err := treeobj.RefFromHash(row.Hash); err != nil || got != ref {
			return nil, 0, false
		}
		if rowID == 0 || p.w.b.row.RowID == rowID {
			return row, p.w.b.row.RowID, true
		}
	}
	return nil, 0, false
}

// mendRow puts the right content under the row's own key.
func (p *planner) mendRow(ref treeobj.Ref, before recordRow, content []byte) {
	after := newRow(content, 0, false)
	after.Epoch, after.RowID = before.Epoch, before.RowID
	p.change(store.Change{Target: targetDB, Addr: objectAddr(ref), Before: before.before(), After: after.bytes(), Note: "the hash proves the content"})
}

// storageClass gives keys the class that Flux looks for.
func (p *planner) storageClass(d *store.Decision) error {
	var detail struct {
		All  bool     `json:"all"`
		Rows int64    `json:"rows"`
		Bad  []badRef `json:"bad"`
	}
	if err := json.Unmarshal(d.Finding.Detail, &detail); err != nil {
		return err
	}
	if detail.All {
		p.change(store.Change{Target: targetDB, Addr: addrStorageClass, Before: store.Bytes(fmt.Sprintf("%d rows with a key of class BLOB", detail.Rows)),
			After: store.Bytes("0 rows with a key of class BLOB"), Note: "UPDATE objects SET hash = CAST(hash AS TEXT)"})
		p.done(&d.Finding, d.Action, fmt.Sprintf("%d keys are given the storage class TEXT", detail.Rows), "")
		return nil
	}
	refs := []string{d.Finding.Subject}
	for _, b := range detail.Bad {
		if b.Class == HashStorageClass {
			refs = append(refs, b.Text)
		}
	}
	for _, text := range refs {
		ref, err := treeobj.ParseRef(text)
		if err != nil {
			return err
		}
		p.textKey(ref)
	}
	p.done(&d.Finding, d.Action, "the key is given the storage class TEXT", "")
	return nil
}

func (p *planner) textKey(ref treeobj.Ref) {
	row, rowID, ok := p.rowByID(ref, 0)
	if !ok || !row.BlobKey {
		return
	}
	before := rowOf(row, rowID)
	after := before
	after.Key = "text"
	p.change(store.Change{Target: targetDB, Addr: rowAddr(rowID), Before: before.before(), After: after.bytes(), Note: ref.String()})
}
