package flux

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"fettle/internal/fault"
	"fettle/internal/format/kvscheckpoint"
	"fettle/internal/format/sqlitefile"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// checkpoint is one row of checkpt_v2, or the row of the legacy table.
type checkpoint struct {
	ID       int64  `json:"id"`
	Legacy   bool   `json:"legacy,omitempty"`   // from the table checkpt
	Salvaged bool   `json:"salvaged,omitempty"` // from a page that no readable tree holds
	Value    []byte `json:"value"`
	Null     bool   `json:"null,omitempty"`
	Class    string `json:"class,omitempty"` // storage class of the value, when it is not text

	value kvscheckpoint.Checkpoint
	err   *kvscheckpoint.InvalidError // what is wrong with the row
	ref   treeobj.Ref                 // zero when the row leads to no root
}

// judge decodes the row on its own.
func (c *checkpoint) judge() {
	if c.Class != "" {
		c.err = &kvscheckpoint.InvalidError{Rule: kvscheckpoint.RuleType, Detail: "value has storage class " + c.Class}
		return
	}
	value := c.Value
	if c.Null {
		value = nil
	} else if value == nil {
		value = []byte{}
	}
	c.value, c.err = kvscheckpoint.Parse(value)
	if c.err == nil || c.err.Rule.Usable() || c.Legacy && c.err.Rule == kvscheckpoint.RuleBare {
		c.ref = c.value.Rootref
	}
}

// name is how findings call the row.
func (c *checkpoint) name() string {
	if c.Legacy {
		return "checkpt row kvs-primary"
	}
	return fmt.Sprintf("checkpt_v2 row %d", c.ID)
}

// when is the time of the checkpoint, zero if it has none.
func (c *checkpoint) when() time.Time { return unixTime(c.value.Timestamp) }

func unixTime(t float64) time.Time {
	if t <= 0 || t > 1e11 {
		return time.Time{}
	}
	sec := int64(t)
	return time.Unix(sec, int64((t-float64(sec))*1e9)).UTC()
}

// legacyID orders the row of the legacy table before all others: Flux looks at it only when checkpt_v2 is empty.
const legacyID = 0

// maxCheckpoints bounds how many rows are read. Flux keeps five.
const maxCheckpoints = 10000

// readCheckpoints reads both tables through their trees, newest first.
func (u *unit) readCheckpoints() []checkpoint {
	var out []checkpoint
	r := u.file.NewReader(blobWindow)
	if u.checkptRoot != 0 {
		t := u.file.Tree(u.checkptRoot, sqlitefile.Table)
		u.problems = append(u.problems, t.Problems...)
		t.EachRow(r, 1, 0, func(row *sqlitefile.Row, err error) bool {
			if c, ok := checkpointRow(row, 1); ok {
				c.judge()
				out = append(out, c)
			}
			return len(out) < maxCheckpoints
		})
	}
	if u.legacyRoot != 0 {
		t := u.file.Tree(u.legacyRoot, sqlitefile.Table)
		u.problems = append(u.problems, t.Problems...)
		t.EachRow(r, 1, 0, func(row *sqlitefile.Row, err error) bool {
			if len(row.Cols) > 0 && string(row.Cols[0].B) != "kvs-primary" {
				return true
			}
			if c, ok := checkpointRow(row, 1); ok {
				c.ID, c.Legacy = legacyID, true
				c.judge()
				out = append(out, c)
			}
			return len(out) < maxCheckpoints
		})
	}
	sortCheckpoints(out)
	return out
}

// checkpointRow takes the value from column col; it is still to be judged.
func checkpointRow(row *sqlitefile.Row, col int) (checkpoint, bool) {
	if len(row.Cols) <= col {
		return checkpoint{}, false
	}
	c := checkpoint{ID: row.RowID}
	v := row.Cols[col]
	switch v.Kind {
	case sqlitefile.Null:
		c.Null = true
	case sqlitefile.Text:
		c.Value = slices.Clone(v.B)
	default:
		c.Class = v.Kind.String()
		c.Value = slices.Clone(v.B)
	}
	return c, true
}

// strayCheckpoint recognises a row of checkpt_v2 (id as NULL, JSON text) on a page that no tree holds. Only rows that are
// valid checkpoints count.
func strayCheckpoint(row *sqlitefile.Row) (checkpoint, bool) {
	if len(row.Cols) != 2 || row.Cols[0].Kind != sqlitefile.Null || row.Cols[1].Kind != sqlitefile.Text {
		return checkpoint{}, false
	}
	c, ok := checkpointRow(row, 1)
	c.Salvaged = true
	c.judge()
	return c, ok && c.err == nil && !c.ref.IsZero()
}

// addSalvaged takes over the rows that the sweep met, unless the tables could be read.
func (u *unit) addSalvaged(cs []checkpoint) {
	have := map[int64]bool{}
	for i := range u.checkpoints {
		have[u.checkpoints[i].ID] = true
	}
	for _, c := range cs {
		if have[c.ID] {
			continue
		}
		have[c.ID] = true
		c.judge()
		u.checkpoints = append(u.checkpoints, c)
	}
	sortCheckpoints(u.checkpoints)
}

func sortCheckpoints(cs []checkpoint) {
	slices.SortStableFunc(cs, func(a, b checkpoint) int {
		switch {
		case a.ID > b.ID:
			return -1
		case a.ID < b.ID:
			return 1
		}
		return 0
	})
}

// chosenRoot is a root directory that a walk starts from, with the rows that name it.
type chosenRoot struct {
	ref    treeobj.Ref
	rows   []*checkpoint // newest first; empty when the root was named by hand or found among the blobs
	orphan *orphanRoot   // set when no row leads to it
}

// label names the root for people.
func (c chosenRoot) label() string {
	switch {
	case len(c.rows) > 0:
		return c.rows[0].name()
	case c.orphan != nil:
		return "unreferenced root " + c.ref.String()
	}
	return "root " + c.ref.String()
}

// id is the row id for findings, 0 when no row names the root.
func (c chosenRoot) id() int64 {
	if len(c.rows) > 0 {
		return c.rows[0].ID
	}
	return 0
}

// current is the newest row that leads to a root at all: the one Flux would start from, were the malformed ones gone.
func (u *unit) current() *checkpoint {
	for i := range u.checkpoints {
		if !u.checkpoints[i].ref.IsZero() {
			return &u.checkpoints[i]
		}
	}
	return nil
}

// distinctRoots lists the roots of all valid rows, newest first.
func (u *unit) distinctRoots() []chosenRoot {
	var out []chosenRoot
	at := map[treeobj.Ref]int{}
	for i := range u.checkpoints {
		c := &u.checkpoints[i]
		if c.ref.IsZero() {
			continue
		}
		if j, ok := at[c.ref]; ok {
			out[j].rows = append(out[j].rows, c)
			continue
		}
		at[c.ref] = len(out)
		out = append(out, chosenRoot{ref: c.ref, rows: []*checkpoint{c}})
	}
	return out
}

// rootFault says what keeps a blob from being a root directory; class is "" when nothing does.
type rootFault struct {
	class string
	says  string // of the objects table, about the blob
}

// judgeRoot reads the blob and looks whether it is a directory.
func (u *unit) judgeRoot(b *blobReader, ref treeobj.Ref) rootFault {
	row, ok := b.lookup(ref)
	if !ok {
		return rootFault{DanglingRoot, "no such row"}
	}
	content := row.Content
	if f := rowFault(row); f.class != "" && f.class != HashStorageClass {
		return f
	}
	// A key of the wrong storage class hides a good root; the tree below can still be looked at.
	var scan treeobj.Scanner
	if t := scan.ParseDir(content); !t.IsDir() || t.Broken || t.Root.Rule != treeobj.RuleNone {
		return rootFault{NotADirectory, fmt.Sprintf("the blob is no directory: %v", t.Err(-1))}
	}
	return rootFault{}
}

// rootMended tells whether ref is a root whose row is damaged and whose right content is known.
func (u *unit) rootMended(ref treeobj.Ref) bool {
	n := u.idx.find(ref.Sum())
	if n < 0 {
		return false
	}
	m, ok := u.mended[uint32(n)]
	var scan treeobj.Scanner
	return ok && scan.ParseDir(m.content).IsDir()
}

// rowFault classifies the row of a blob that something refers to.
func rowFault(row *blobRow) rootFault {
	switch row.Status {
	case statusMismatch:
		return rootFault{HashMismatch, row.Why}
	case statusUndecodable:
		return rootFault{UndecodableBlob, row.Why}
	}
	if row.BlobKey {
		return rootFault{HashStorageClass, "the key is stored as BLOB"}
	}
	return rootFault{}
}

// chooseRoots decides where the walk starts: the root that was asked for, or else the tree that Flux will have once the
// rows that cannot be used are out of the way: the newest checkpoint that leads to a directory, or the newest root among
// the unreferenced blobs. With scan-checkpoints all other usable roots follow.
func (u *unit) chooseRoots(ctx context.Context) ([]chosenRoot, error) {
	all := u.distinctRoots()
	if want := u.opts.checkpoint; want != "" {
		return u.findRoot(all, want)
	}
	b := newBlobReader(u)
	var usable []chosenRoot
	for _, r := range all {
		if u.judgeRoot(b, r.ref).class != "" && !u.rootMended(r.ref) {
			continue
		}
		usable = append(usable, r)
		if !u.opts.scan {
			return usable, nil
		}
	}
	if len(usable) > 0 {
		return usable, nil
	}
	found, err := u.orphanRoots(ctx)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return []chosenRoot{{ref: found[0].ref, orphan: &found[0]}}, nil
}

// findRoot resolves the user's word for a checkpoint: its row id, its sequence or its rootref.
func (u *unit) findRoot(all []chosenRoot, want string) ([]chosenRoot, error) {
	if ref, err := treeobj.ParseRef(want); err == nil {
		for _, r := range all {
			if r.ref == ref {
				return []chosenRoot{r}, nil
			}
		}
		return []chosenRoot{{ref: ref}}, nil
	}
	n, err := strconv.ParseInt(want, 10, 64)
	if err == nil {
		for _, r := range all {
			for _, row := range r.rows {
				if row.ID == n && !row.Legacy {
					return []chosenRoot{{ref: r.ref, rows: []*checkpoint{row}}}, nil
				}
			}
		}
		for _, r := range all {
			for _, row := range r.rows {
				if row.value.HasSequence && row.value.Sequence == n {
					return []chosenRoot{{ref: r.ref, rows: []*checkpoint{row}}}, nil
				}
			}
		}
	}
	return nil, fault.NewUsage(fmt.Errorf("no checkpoint %q in %s", want, u.path),
		"give a row id, a sequence number or a rootref; fettle shell "+u.path+" -c checkpoints lists them")
}

// goodRollback finds the newest checkpoint other than the current tree whose whole tree is good. It walks the candidates
// one after the other and ends each walk at the first damage. counts are those of its tree.
func (u *unit) goodRollback(ctx context.Context, env store.Env, skip treeobj.Ref) (root *chosenRoot, counts walkCounts, err error) {
	const candidates = 64
	roots := u.distinctRoots()
	for i := range roots[:min(len(roots), candidates)] {
		c := &roots[i]
		if c.ref == skip {
			continue
		}
		counts, ok, err := u.survey(ctx, env, c.ref, anyDamage)
		if err != nil || ok {
			return c, counts, err
		}
	}
	return nil, walkCounts{}, nil
}

func anyDamage(c *walkCounts) bool { return c.Damaged > 0 }
func lostDirs(c *walkCounts) bool  { return c.LostDir > 0 }

// treeGood tells whether ref is a directory with no damage anywhere below it.
func (u *unit) treeGood(ctx context.Context, env store.Env, ref treeobj.Ref) (bool, error) {
	_, ok, err := u.survey(ctx, env, ref, anyDamage)
	return ok, err
}

// survey walks the tree below ref until stop says that enough was seen; ok means that it never did.
func (u *unit) survey(ctx context.Context, env store.Env, ref treeobj.Ref, stop func(*walkCounts) bool) (counts walkCounts, ok bool, err error) {
	n := u.idx.find(ref.Sum())
	if n < 0 || !u.idx.at(n).usable() {
		return counts, false, nil
	}
	w := &walker{u: u, r: newReach(u.idx.n), stop: stop}
	w.push([]uint32{uint32(n)})
	workers := 1
	if env != nil {
		workers = env.Workers()
	}
	err = w.walk(ctx, workers)
	if err == errDamageMet {
		return w.r.counts, false, nil
	}
	return w.r.counts, err == nil && !stop(&w.r.counts), err
}
