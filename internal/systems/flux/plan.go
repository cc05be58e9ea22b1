package flux

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"sort"
	"strings"
	"time"

	"fettle/internal/finding"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// planner turns decisions into one step: everything becomes true at once or not at all, because Flux must never see a
// new checkpoint without its directories or a removed row that is still referred to.
type planner struct {
	ctx  context.Context
	u    *unit
	now  time.Time
	w    *rewriter
	root treeobj.Ref // the tree that is repaired; zero if there is none
	vf   *versionFinder

	decided  map[int]*store.Decision
	outcomes map[int]store.Outcome
	rows     map[string]store.Change // changes of rows by address
	add      *additions              // what goes to lost+found
	jobs     map[string]bool         // job directories that are moved as a whole
	dropped  map[string]bool         // keys that leave their place
	loss     loss
	known    *State // gathered on first use
	notes    []string

	rebuild   bool
	foldWAL   bool
	newRoot   bool        // the root changes, or has to be named by a new checkpoint row
	rollback  *chosenRoot // the whole tree goes back to this one
	recreate  bool        // no root is left: a minimal one is made
	fixedKeys map[string]bool
}

// Plan implements store.Planner.
func (u *unit) Plan(ctx context.Context, work string, decisions []store.Decision) (*store.Proposal, error) {
	if err := u.analyse(ctx, work, runtime.GOMAXPROCS(0)); err != nil {
		return nil, err
	}
	p := &planner{ctx: ctx, u: u, now: time.Now(), decided: map[int]*store.Decision{}, outcomes: map[int]store.Outcome{},
		rows: map[string]store.Change{}, add: &additions{}, jobs: map[string]bool{}, dropped: map[string]bool{}, fixedKeys: map[string]bool{}}
	if len(u.roots) > 0 {
		p.root = u.roots[0].ref
	}
	p.vf = newVersionFinder(u, p.root)
	p.w = newRewriter(u, u.algorithm())
	for i := range decisions {
		p.decided[decisions[i].Finding.Seq] = &decisions[i]
	}
	if err := p.run(); err != nil {
		return nil, err
	}
	return p.proposal()
}

// algorithm is the hash that the instance uses: the one of most rows, else that of the checkpoints.
func (u *unit) algorithm() treeobj.Alg {
	if u.counts.Rows > 0 {
		if u.counts.SHA256*2 > u.counts.Rows {
			return treeobj.SHA256
		}
		return treeobj.SHA1
	}
	if c := u.current(); c != nil {
		return c.ref.Alg()
	}
	return treeobj.SHA1
}

func (p *planner) run() error {
	defer func() {
		// Where there is no table to write to, the file is built anew.
		p.rebuild = p.rebuild || p.u.objectsRoot == 0 && p.newRoot
	}()
	order := make([]*store.Decision, 0, len(p.decided))
	for _, d := range p.decided {
		order = append(order, d)
	}
	sort.Slice(order, func(i, j int) bool { return order[i].Finding.Seq < order[j].Finding.Seq })
	for _, d := range order {
		if d.Action == finding.Rollback && !isRootFinding(&d.Finding) {
			if err := p.chooseRollback(); err != nil {
				return err
			}
			break
		}
	}
	// Jobs that move as a whole are known before their keys are looked at.
	for _, d := range order {
		if p.wholeJob(d) {
			p.jobs[jobDir(d.Finding.PathOr(""))] = true
		}
	}
	if err := p.decideAll(order); err != nil {
		return err
	}
	return p.finishTree()
}

// decideAll plans every finding.
func (p *planner) decideAll(order []*store.Decision) error {
	part := store.Begin(p.ctx, "plan", "making the plan", int64(len(order)), 0)
	defer part.End()
	for _, d := range order {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if err := p.decide(d); err != nil {
			return fmt.Errorf("plan finding %d (%s): %w", d.Finding.Seq, d.Finding.Class, err)
		}
		part.Did(1, 0)
	}
	return nil
}

func isRootFinding(f *finding.Finding) bool {
	if f.Path == nil || *f.Path != "" {
		return false
	}
	switch f.Class {
	case DanglingRoot, HashMismatch, UndecodableBlob, NotADirectory, InvalidTreeobj, NoCheckpoint:
		return true
	}
	return false
}

// decide plans one finding.
func (p *planner) decide(d *store.Decision) error {
	f := &d.Finding
	switch f.Class {
	case BadHeader, BadPage, BadIndex, BadSchema, TruncatedFile, LiveCopy, WALMissing:
		p.rebuild = true
		p.done(f, d.Action, "written anew into a new database with every readable row", "")
	case WALTruncated, WALCorrupt:
		p.foldWAL = true
		p.done(f, d.Action, "the committed part of the -wal is moved into the database and the -wal removed", "")
	case BadCheckpoint, LostCheckpoint:
		return p.checkpointRows(d)
	case LegacyCheckpoint:
		return p.legacyRow(d)
	case DamagedOrphan, DuplicateBlob:
		return p.orphanRow(d)
	case HashStorageClass:
		return p.storageClass(d)
	case NoCheckpoint:
		return p.noCheckpoint(d)
	default:
		if isRootFinding(f) {
			return p.lostRoot(d)
		}
		return p.key(d)
	}
	return nil
}

func (p *planner) done(f *finding.Finding, a finding.Action, result, loses string) {
	p.outcomes[f.Seq] = store.Outcome{Seq: f.Seq, Action: a, Result: result, Loses: loses}
}

// noCheckpoint names the newest root that is left, or makes a minimal one.
func (p *planner) noCheckpoint(d *store.Decision) error {
	if p.root.IsZero() || d.Action == finding.Recreate {
		p.startAnew(d)
		return nil
	}
	p.newRoot = true
	if err := p.lostAfter(p.root, true); err != nil {
		return err
	}
	p.done(&d.Finding, d.Action, "a checkpoint is added for "+p.root.String(), "what was written after that root")
	return nil
}

// startAnew answers a finding about the root with a minimal new one (minimalRoot).
func (p *planner) startAnew(d *store.Decision) {
	p.newRoot, p.recreate = true, true
	p.done(&d.Finding, d.Action, "a new root is made with what survives of the resource and job id state", "every key")
}

// lostRoot goes back to the newest tree that can be had: the rows that cannot be used are removed.
func (p *planner) lostRoot(d *store.Decision) error {
	var detail keyDetail
	if err := json.Unmarshal(d.Finding.Detail, &detail); err != nil {
		return err
	}
	if d.Action == finding.Rewrite && p.mendKey(d, &detail) {
		return nil
	}
	cur := p.u.current()
	if p.root.IsZero() || d.Action == finding.Recreate {
		p.startAnew(d)
	} else {
		back := p.u.roots[0]
		p.done(&d.Finding, d.Action, "back to "+back.label()+p.u.howOld(back), "what was written after it")
		p.newRoot = len(back.rows) == 0
		if err := p.lostAfter(back.ref, back.orphan != nil); err != nil {
			return err
		}
	}
	if cur == nil {
		return nil
	}
	for i := range p.u.checkpoints {
		if c := &p.u.checkpoints[i]; c.ref == cur.ref && c.ref != p.root {
			p.removeCheckpoint(c.ID)
		}
	}
	if ref, err := treeobj.ParseRef(d.Finding.Subject); err == nil && d.Finding.Class != DanglingRoot && d.Finding.Class != NotADirectory {
		p.removeBadRow(ref)
	}
	return nil
}

// removeBadRow removes the row of a blob whose content is wrong, once nothing in the tree refers to it any more.
func (p *planner) removeBadRow(ref treeobj.Ref) {
	row, rowID, ok := p.rowByID(ref, 0)
	if !ok || row.Status == statusGood {
		return
	}
	p.rebuild = p.rebuild || row.Why == shortRow // SQLite itself can neither read nor delete such a row
	p.change(store.Change{Target: targetDB, Addr: rowAddr(rowID), Before: rowOf(row, rowID).before(), Note: ref.String() + ", content is wrong"})
}

// chooseRollback finds the tree that a rollback of the whole store goes to.
func (p *planner) chooseRollback() error {
	back, _, err := p.u.goodRollback(p.ctx, nil, p.root)
	if err != nil {
		return err
	}
	if back == nil {
		p.notes = append(p.notes, "there is no checkpoint whose whole tree is good, so nothing can be rolled back to")
		return nil
	}
	p.rollback, p.newRoot = back, true
	p.root = back.ref
	if err := p.lostAfter(back.ref, false); err != nil {
		return err
	}
	p.notes = append(p.notes, "the whole store goes back to "+back.label()+p.u.howOld(*back))
	return nil
}

// proposal puts everything into steps.
func (p *planner) proposal() (*store.Proposal, error) {
	lost := p.total()
	out := &store.Proposal{Loss: lost, Notes: p.notes}
	if p.rollback != nil {
		out.Notes = append(out.Notes, "blobs written after that checkpoint stay in the store, unreferenced")
	}
	var seqs []int
	for seq := range p.outcomes {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	for _, seq := range seqs {
		out.Outcomes = append(out.Outcomes, p.outcomes[seq])
	}
	var changes []store.Change
	if p.rebuild {
		changes = append(changes, store.Change{Target: targetDB, Addr: addrFile, Before: store.Bytes("the damaged file"),
			After: store.Bytes("a new file with every readable row"),
			Note:  "the old file stays beside it, its name followed by .fettle-HASH, for undo; delete it once you are content with the repair"})
	}
	addrs := make([]string, 0, len(p.rows))
	for a := range p.rows {
		addrs = append(addrs, a)
	}
	sort.Slice(addrs, func(i, j int) bool { return rowOrder(p.rows[addrs[i]], p.rows[addrs[j]]) })
	for _, a := range addrs {
		changes = append(changes, p.rows[a])
	}
	wal := p.u.file.WAL()
	if wal.Exists && !p.rebuild && (p.foldWAL || len(changes) > 0) {
		out.Steps = append(out.Steps, store.Step{ID: 1, Title: "move the committed part of the -wal into the database", Findings: p.walFindings(),
			Changes: []store.Change{{Target: targetWAL, Addr: addrWAL, Before: store.Bytes(fmt.Sprintf("%d bytes", wal.Size)), Note: "as SQLite would at a checkpoint; the -wal is kept for undo"}}})
		seqs = slices.DeleteFunc(seqs, func(s int) bool { return slices.Contains(out.Steps[0].Findings, s) })
	}
	if len(changes) > 0 {
		out.Steps = append(out.Steps, store.Step{ID: len(out.Steps) + 1, Title: p.title(), Findings: seqs, Changes: changes})
	}
	return out, nil
}

func (p *planner) walFindings() []int {
	out := []int{}
	for seq, d := range p.decided {
		if d.Finding.Class == WALCorrupt || d.Finding.Class == WALTruncated {
			out = append(out, seq)
		}
	}
	slices.Sort(out)
	return out
}

func (p *planner) title() string {
	switch {
	case p.rebuild:
		return "build a new database from every readable row, with the repaired tree"
	case p.rollback != nil:
		return "roll back to " + p.rollback.label()
	case p.newRoot:
		return "write the repaired tree and a checkpoint for it"
	}
	return "mend rows"
}

// rowOrder puts new blobs first, then mended rows, then removals, checkpoint rows last with the new one at the very end.
func rowOrder(a, b store.Change) bool {
	rank := func(c store.Change) int {
		checkpoint := strings.HasPrefix(c.Addr, addrCheckpoint)
		switch {
		case c.Addr == addrStorageClass:
			return 0
		case c.Addr == addrTable:
			return 1
		case checkpoint && c.After != nil:
			return 6
		case checkpoint, c.Addr == addrLegacy:
			return 5
		case c.Before == nil:
			return 2
		case c.After != nil:
			return 3
		}
		return 4
	}
	if ra, rb := rank(a), rank(b); ra != rb {
		return ra < rb
	}
	return a.Addr < b.Addr
}
