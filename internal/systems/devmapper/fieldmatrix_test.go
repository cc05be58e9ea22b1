package devmapper

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fettle/internal/fault"
	"fettle/internal/fieldmatrix"
	"fettle/internal/repair"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
	"fettle/internal/systems/devmapper/dmlab"
	"fettle/internal/systems/devmapper/realctr"
)

// The field matrix: every field of every kind of record in all four layers, with every operation. Each cell must give a finding, or be
// in the table of harmless ones with a reason. What can be planned by default actions is applied and undone.

// manyRecords is more than there are of any kind.
const manyRecords = 1 << 20

// matrix runs cells on copies of one healthy set.
type matrix struct {
	base   map[string][]byte
	normal []string // findings of the healthy set
	dir    string   // the copy
	run    string
	stride int // of how many cells one is run
	every  int // of how many cells one is repaired and undone, 0: none
	// proveEvery says of how many harmless cells containerd's word is asked for one, 0: none.
	proveEvery int
	tally      fieldmatrix.Tally
	refused    int // repairs
}

func TestFieldMatrix(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "base")
	if _, err := dmlab.Make(t.Context(), dir, dmlab.Options{Seed: 1, Images: 3, Layers: 3, Containers: 4, BaseBlocks: 40}); err != nil {
		t.Fatal(err)
	}
	most := 1
	m := newMatrix(t, dir)
	switch {
	case fieldmatrix.Full():
		most, m.stride, m.every, m.proveEvery = manyRecords, 1, 1, 10
	case testing.Short():
		m.stride, m.every = 5, 40
	}
	m.all(t, matrixCells(t, dir, most))
}

func matrixCells(t *testing.T, dir string, most int) []cell {
	cells := append(boltCells(t, dir, "containerd-pool.db", most), thinCells(t, dir, most)...)
	for _, file := range []string{metaName, storeName, "containerd-pool.db"} {
		cells = append(cells, pageCells(t, dir, file, most)...)
	}
	return cells
}

// TestFieldMatrixReal is the same on a real set, without repairs.
func TestFieldMatrixReal(t *testing.T) {
	if testing.Short() {
		t.Skip("the set of the lab is enough for a short run")
	}
	dir := layOut(t, real(t), "base/n10")
	if err := os.Remove(filepath.Join(dir, "thin.xml")); err != nil {
		t.Fatal(err)
	}
	m := newMatrix(t, dir)
	m.stride, m.every = 4, 0
	if fieldmatrix.Full() {
		m.stride = 1
	}
	m.all(t, matrixCells(t, dir, 1))
}

func newMatrix(t *testing.T, dir string) *matrix {
	m := &matrix{base: map[string][]byte{}, stride: 2, every: 10, normal: checkSet(t, dir)}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if m.base[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// all runs the cells, those of one field together.
func (m *matrix) all(t *testing.T, cells []cell) {
	groups := map[string][]cell{}
	for i, c := range cells {
		if i%m.stride != 0 {
			continue
		}
		g := c.kind + "/" + c.field
		groups[g] = append(groups[g], c)
	}
	for _, g := range slices.Sorted(maps.Keys(groups)) {
		t.Run(g, func(t *testing.T) {
			for i := range groups[g] {
				m.cell(t, &groups[g][i])
			}
		})
	}
	t.Logf("%d fields, %v, %d repairs were refused", len(groups), &m.tally, m.refused)
}

// lay makes the copy healthy again.
func (m *matrix) lay(t *testing.T) {
	m.dir = t.TempDir()
	m.run = t.TempDir()
	for name, b := range m.base {
		if err := os.WriteFile(filepath.Join(m.dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *matrix) cell(t *testing.T, c *cell) {
	m.tally.Cells++
	m.lay(t)
	switch err := c.hurt(filepath.Join(m.dir, c.file)); {
	case errors.Is(err, errSame):
		m.tally.Same++
		return
	case err != nil:
		t.Fatalf("%s (%s): %v", c.name(), c.at, err)
	}
	o := fieldmatrix.Guard(fmt.Sprintf("%s (%s)", c.name(), c.at), func() fieldmatrix.Outcome { return m.try(t, c) })
	var why *reason
	excused := m.tally.Judge(t, fmt.Sprintf("%s (%s)", c.name(), c.at), o, func() bool {
		i := slices.IndexFunc(harmless, func(r reason) bool { return r.fits(c) })
		if i >= 0 {
			why = &harmless[i]
		}
		return i >= 0
	})
	if !excused || m.proveEvery == 0 || m.tally.Excused%m.proveEvery != 0 || why.unproven {
		return
	}
	if err := m.proof(t); err != nil {
		t.Errorf("%s (%s): said to be harmless (%s), but containerd says: %v", c.name(), c.at, why.why, err)
	}
}

// proof has containerd work with the copy.
func (m *matrix) proof(t *testing.T) error {
	h, err := realctr.Try(t.Context(), m.dir)
	if err == nil {
		err = h.Err()
	}
	if err == nil && len(h.Dead) > 0 {
		err = fmt.Errorf("dead: %q", h.Dead)
	}
	return err
}

// try checks, plans by default actions, applies and undoes.
func (m *matrix) try(t *testing.T, c *cell) (o fieldmatrix.Outcome) {
	u, closed, err := m.open(t)
	if err != nil {
		o.Err = fmt.Errorf("open: %w", err)
		return o
	}
	defer closed()
	fs := storetest.Check(t, u, Classes...)
	for i := range fs {
		if s := brief(&fs[i]); !slices.Contains(m.normal, s) {
			o.Found = append(o.Found, s)
		}
	}
	plan, err := repair.Make(t.Context(), repair.MakeConfig{Run: "test", Store: m.dir, Units: []store.Planner{u}, Findings: repair.Slice(fs), WorkDir: repair.WorkDirs(m.run)})
	if err != nil {
		o.Err = fmt.Errorf("plan: %w (found %q)", err, o.Found)
		return o
	}
	if plan.Steps() == 0 || m.every == 0 || m.tally.Cells%m.every != 0 {
		return o
	}
	o.Steps = plan.Steps()
	before := storetest.Digest(t, m.dir).Content
	_, err = repair.Apply(t.Context(), repair.ApplyConfig{Plan: plan, Units: []store.Planner{u}, Dir: m.run, MaxLoss: repair.NewThreshold(100, 1<<62)})
	if err != nil {
		if _, clean := errors.AsType[*fault.Error](err); clean && storetest.Digest(t, m.dir).Content == before {
			m.refused++
			t.Logf("%s (%s): refused: %v", c.name(), c.at, err)
			return o
		}
		o.Err = fmt.Errorf("apply: %w (found %q)", err, o.Found)
	}
	if _, err := repair.Undo(t.Context(), repair.UndoConfig{Units: []store.Planner{u}, Dir: m.run}); err != nil {
		o.Err = errors.Join(o.Err, fmt.Errorf("undo: %w", err))
	}
	if storetest.Digest(t, m.dir).Content != before {
		o.Err = errors.Join(o.Err, fmt.Errorf("undo did not give back identical files (found %q)", o.Found))
	}
	return o
}

func (m *matrix) open(t *testing.T) (*unit, func(), error) {
	s, err := System{}.Open(t.Context(), store.Location{System: "devmapper", Paths: []string{m.dir}}, store.Options{})
	if err != nil {
		return nil, nil, err
	}
	return s.Units()[0].(*unit), func() { s.Close() }, nil
}

// reason says why cells give no finding.
type reason struct {
	what string // KIND FIELD; a word " unsealed" behind it is left out
	at   string // part of the name of the record, or "" for all
	ops  string // the operations, or "" for all
	why  string
	// unproven says that containerd's word means nothing here: it stumbles over what the lab does not have, or does not look.
	unproven bool
}

func (r *reason) fits(c *cell) bool {
	return r.what == c.kind+" "+strings.TrimSuffix(c.field, " unsealed") && strings.Contains(c.at, r.at) && fieldmatrix.OneOf(r.ops, c.op)
}
