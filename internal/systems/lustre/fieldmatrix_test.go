package lustre

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fettle/internal/fault"
	"fettle/internal/fieldmatrix"
	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/store"
	"fettle/internal/systems/lustre/lustrelab"
)

// The field matrix: every field of every kind of record that the check reads, with every operation, with checksums that fit and with the
// old ones. Each cell must give a finding, a refusal, a verdict that says what was not looked at, or be in the table of harmless ones with a
// reason. What can be planned by default actions is applied and undone in a part of the cells. With FETTLE_FIELD_MATRIX set to anything all
// cells are tried, some 30,000 of the two pairs of the lab and half as many of the real one: a quarter of an hour.

var operations = []string{"zero", "ones", "plus", "minus", "flip", "other"}

var errSame = errors.New("nothing was changed")

// cell is one field, one operation.
type cell struct {
	kind, field, op string
	sealed          bool // the checksum is made right again
	mdt             int
	at              int64
	old, new        []byte
	seal            func(*os.File) error
}

func (c *cell) name() string {
	s := fmt.Sprintf("%s, %s: %s", c.kind, c.field, c.op)
	if c.seal != nil && !c.sealed {
		s += ", old checksum"
	}
	return s
}

// matrix runs cells on one pair of images, which is made whole again after each.
type matrix struct {
	*patient
	every  int // of how many cells one is repaired and undone, 0: none
	normal int // things that are not looked at in the healthy pair
	tally  fieldmatrix.Tally
}

// cellsOf makes the cells of records. Only every stride-th is kept; which ones depends on the field, so that all operations are met.
func (m *matrix) cellsOf(recs []rec, most, stride int) []cell {
	byKind := map[string][]rec{}
	for _, r := range recs {
		byKind[r.kind] = append(byKind[r.kind], r)
	}
	var out []cell
	n := 0
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		list := byKind[kind]
		for i, r := range list[:min(most, len(list))] {
			other := list[(i+1)%len(list)]
			for _, f := range r.fields {
				old := m.read(r.mdt, r.at+f.off, f.size)
				for _, op := range operations {
					sums := []bool{true, false}
					if r.seal == nil {
						sums = sums[:1]
					}
					for _, sealed := range sums {
						if n++; n%stride != 0 {
							continue
						}
						c := cell{kind: kind, field: f.name, op: op, sealed: sealed, mdt: r.mdt, at: r.at + f.off, old: old, seal: r.seal}
						if c.new = changed(op, f.big, old, func() []byte { return m.value(other, f.name) }); c.new != nil {
							out = append(out, c)
						}
					}
				}
			}
		}
	}
	return out
}

// value is the field of another record, nil if it has none.
func (m *matrix) value(r rec, name string) []byte {
	for _, f := range r.fields {
		if f.name == name {
			return m.read(r.mdt, r.at+f.off, f.size)
		}
	}
	return nil
}

func (m *matrix) read(mdt int, at int64, n int) []byte {
	m.t.Helper()
	f, err := os.Open(m.paths[mdt])
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil {
		m.t.Fatal(err)
	}
	return b
}

// changed gives the new bytes of a field, nil if there are none.
func changed(op string, big bool, old []byte, other func() []byte) []byte {
	b := bytes.Clone(old)
	switch op {
	case "zero":
		clear(b)
	case "ones":
		for i := range b {
			b[i] = 0xff
		}
	case "plus", "minus":
		add := byte(1)
		if op == "minus" {
			add = 0xff
		}
		order := make([]int, len(b))
		for i := range order {
			if order[i] = i; big {
				order[i] = len(b) - 1 - i
			}
		}
		for _, i := range order {
			b[i] += add
			if op == "plus" && b[i] != 0 || op == "minus" && b[i] != 0xff {
				break
			}
		}
	case "flip":
		b[len(b)/2] ^= 0x10
	case "other":
		if b = other(); len(b) != len(old) {
			return nil
		}
	}
	if bytes.Equal(b, old) {
		return nil
	}
	return b
}

// keep remembers blocks of an image, and gives what puts them back.
func (m *matrix) hurt(c *cell) (heal func(), err error) {
	f, err := os.OpenFile(m.paths[c.mdt], os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	const around = 16 << 10 // a seal changes bytes of the same block, or of the same inode
	at := max(0, c.at/4096*4096-4096)
	was := make([]byte, around)
	if _, err := f.ReadAt(was, at); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	heal = func() {
		if _, err := f.WriteAt(was, at); err != nil {
			m.t.Error(err)
		}
		if err := f.Close(); err != nil {
			m.t.Error(err)
		}
	}
	if _, err := f.WriteAt(c.new, c.at); err != nil {
		return heal, err
	}
	if !c.sealed || c.seal == nil {
		return heal, nil
	}
	if err := c.seal(f); err != nil {
		return heal, err
	}
	is := make([]byte, around)
	if _, err = f.ReadAt(is, at); err == nil && bytes.Equal(is, was) {
		err = errSame // it was the checksum, or what the seal writes with it
	}
	return heal, err
}

// all runs the cells, those of one kind together.
func (m *matrix) all(t *testing.T, cells []cell) {
	kinds := map[string][]*cell{}
	for i := range cells {
		kinds[cells[i].kind] = append(kinds[cells[i].kind], &cells[i])
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(kind, func(t *testing.T) {
			for _, c := range kinds[kind] {
				m.cell(t, c)
			}
		})
	}
	t.Logf("%d kinds of records, %v", len(kinds), &m.tally)
}

func (m *matrix) cell(t *testing.T, c *cell) {
	m.tally.Cells++
	heal, err := m.hurt(c)
	if heal != nil {
		defer heal()
	}
	if errors.Is(err, errSame) {
		m.tally.Same++
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", c.name(), err)
	}
	o := fieldmatrix.Guard(c.name(), func() fieldmatrix.Outcome { return m.try(t) })
	m.tally.Judge(t, fmt.Sprintf("%s (MDT%04x byte %d, %x to %x)", c.name(), c.mdt, c.at, c.old, c.new), o, func() bool {
		return slices.ContainsFunc(harmless, func(r pardon) bool { return r.fits(c) })
	})
}

// try checks, and in some cases plans by default actions, applies, checks again and undoes.
func (m *matrix) try(t *testing.T) (o fieldmatrix.Outcome) {
	fs, unseen, err := m.check(t)
	o.Unseen = len(unseen) > m.normal
	if refused, ok := errors.AsType[*fault.Error](err); ok && refused.Op == "open" {
		o.Refused = err.Error()
		return o
	}
	if o.Err = err; err != nil {
		return o
	}
	for i := range fs {
		o.Found = append(o.Found, fs[i].Class)
	}
	if len(fs) == 0 || m.every == 0 || m.tally.Cells%m.every != 0 {
		return o
	}
	if o.Steps, err = m.mend(t, fs); err != nil {
		o.Err = fmt.Errorf("%w (found %q)", err, o.Found)
	}
	return o
}

// check runs the passes and says what they did not look at.
func (m *matrix) check(t *testing.T) ([]finding.Finding, []string, error) {
	st, err := System{}.Open(t.Context(), store.Location{Paths: m.paths}, store.Options{})
	if err != nil {
		return nil, nil, err
	}
	defer st.Close()
	env := &filling{}
	if env.dir, err = os.MkdirTemp("", "matrix"); err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(env.dir)
	env.unit = st.Units()[0].ID()
	for _, p := range st.Units()[0].Passes() {
		if err := p.Run(t.Context(), env); err != nil {
			return nil, nil, fmt.Errorf("pass %s: %w", p.Name, err)
		}
	}
	return env.found, env.unseen, nil
}

// filling is an Env that fills in what a class says.
type filling struct {
	seeing
	unit string
}

func (e *filling) Emit(f finding.Finding) (int, error) {
	if f.Unit == "" {
		f.Unit = e.unit
	}
	if c, ok := Classes.Lookup(f.Class); ok {
		f.Severity = c.Severity
		if f.Title == "" {
			f.Title = c.Title
		}
		if f.Actions == nil {
			f.Actions = c.ActionNames()
		}
		if f.Suggested == "" && len(f.Actions) > 0 {
			f.Suggested = f.Actions[0]
		}
	}
	return e.seeing.Emit(f)
}

// mend plans, applies and undoes.
func (m *matrix) mend(t *testing.T, fs []finding.Finding) (steps int, err error) {
	open := func() (store.Store, []store.Planner, error) {
		st, err := System{}.Open(t.Context(), store.Location{Paths: m.paths}, store.Options{})
		if err != nil {
			return nil, nil, err
		}
		return st, []store.Planner{st.Units()[0].(store.Planner)}, nil
	}
	st, units, err := open()
	if err != nil {
		return 0, err
	}
	defer st.Close()
	run := t.TempDir()
	plan, err := repair.Make(t.Context(), repair.MakeConfig{Run: "test", Store: "images", Units: units, Findings: repair.Slice(fs), WorkDir: repair.WorkDirs(run)})
	if err != nil {
		return 0, fmt.Errorf("plan: %w", err)
	}
	if plan.Steps() == 0 {
		return 0, nil
	}
	before := contentOf(t, m.paths)
	_, err = repair.Apply(t.Context(), repair.ApplyConfig{Plan: plan, Units: units, Dir: run, MaxLoss: repair.NewThreshold(100, 1<<62)})
	if err != nil {
		err = fmt.Errorf("apply: %w", err)
	} else if left, _, again := m.check(t); again != nil {
		err = fmt.Errorf("second check: %w", again)
	} else if len(left) > len(fs) {
		err = fmt.Errorf("the second check finds %d, the first found %d", len(left), len(fs))
		for i := range left {
			err = fmt.Errorf("%w; %s %s %s", err, left[i].Class, left[i].Subject, left[i].Title)
		}
	}
	st2, units, again := open()
	if again != nil {
		return plan.Steps(), errors.Join(err, fmt.Errorf("open again: %w", again))
	}
	defer st2.Close()
	if _, undo := repair.Undo(t.Context(), repair.UndoConfig{Units: units, Dir: run}); undo != nil {
		err = errors.Join(err, fmt.Errorf("undo: %w", undo))
	}
	if contentOf(t, m.paths) != before {
		err = errors.Join(err, errors.New("undo did not give back identical images"))
	}
	return plan.Steps(), err
}

// contentOf is a digest of the blocks of images that are not zero. Holes are not read, which is most of an image.
func contentOf(t *testing.T, paths []string) string {
	h := sha256.New()
	buf, zero := make([]byte, 4096), make([]byte, 4096)
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(0); ; {
			from, err := f.Seek(at, unix.SEEK_DATA)
			if err != nil {
				break // ENXIO: nothing but a hole follows
			}
			to, err := f.Seek(from, unix.SEEK_HOLE)
			if err != nil {
				t.Fatal(err)
			}
			for at = from / 4096 * 4096; at < to; at += 4096 {
				n, err := f.ReadAt(buf, at)
				if err != nil && err != io.EOF {
					t.Fatal(err)
				}
				if !bytes.Equal(buf[:n], zero[:n]) {
					fmt.Fprint(h, at, n)
					h.Write(buf[:n])
				}
			}
		}
		fmt.Fprintln(h, p)
		f.Close()
	}
	return string(h.Sum(nil))
}

// smallPair is the shape of the pairs: a striped directory, remote ones, hard links, a hash tree, attributes in blocks, open files without a name.
func smallPair(o lustrelab.Options) lustrelab.Options {
	o.Files, o.Dirs, o.Striped, o.BigDir, o.Remote, o.HardLinks, o.Pending, o.Seed = 50, 6, 2, 150, 300, 200, 1, 3
	o.LostFound, o.Foreign, o.Fragment = true, true, true
	return o
}

var pairForms = []struct {
	name string
	o    lustrelab.Options
}{
	{"block maps", smallPair(lustrelab.Options{})},
	{"extents and checksums", smallPair(lustrelab.Options{Extents: true, MetadataCsum: true, Bit64: true, EAInode: true})},
}

func TestFieldMatrix(t *testing.T) {
	for _, form := range pairForms {
		t.Run(form.name, func(t *testing.T) {
			if fieldmatrix.Full() {
				t.Parallel()
			}
			dir := filepath.Join(t.TempDir(), "pair")
			made, err := lustrelab.Make(t.Context(), dir, form.o)
			if err != nil {
				t.Fatal(err)
			}
			runMatrix(t, made.Paths, 41)
		})
	}
}

// TestFieldMatrixReal is the same on the real pair.
func TestFieldMatrixReal(t *testing.T) {
	if testing.Short() {
		t.Skip("the pair of the lab is enough for a short run")
	}
	runMatrix(t, pair(t), 41)
}

func runMatrix(t *testing.T, paths []string, stride int) {
	p := &patient{t: t, paths: paths}
	p.u = openPaths(t, nil, paths...).(*unit)
	p.w = newWorld(p.u)
	p.look()
	m := &matrix{patient: p, every: 10}
	most := 1
	if fieldmatrix.Full() {
		stride, m.every = 1, 25
	}
	healthy, unseen, err := m.check(t)
	if err != nil || len(healthy) > 0 {
		t.Fatalf("healthy: %d findings, %v", len(healthy), err)
	}
	m.normal = len(unseen)
	m.all(t, m.cellsOf(dissect(p, most), most, stride))
}

// pardon says why cells give no finding.
type pardon struct {
	kinds string // the kind of record, or the end of it behind '*'
	field string // "" for all
	ops   string // "" for all
	why   string
}

func (r *pardon) fits(c *cell) bool {
	kind := r.kinds == c.kind || strings.HasPrefix(r.kinds, "*") && strings.HasSuffix(c.kind, r.kinds[1:]) ||
		strings.HasSuffix(r.kinds, "*") && strings.HasPrefix(c.kind, strings.TrimSuffix(r.kinds, "*"))
	return kind && (r.field == "" || r.field == c.field) && fieldmatrix.OneOf(r.ops, c.op)
}
