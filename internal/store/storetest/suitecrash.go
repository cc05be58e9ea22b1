package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"fettle/internal/repair"
	"fettle/internal/store"
)

// surgery is a case under crashes: a plan, and what the store holds before and after it.
type surgery struct {
	*run
	t               *testing.T
	power           *Power
	files           *Files // journals; they are in memory because a sync of a real file takes long
	blank           string // the run's directory before anything was applied
	original, final string // content of the store
	points          int    // crashes that were tried
}

// testCrash crashes the Writer at every write and sync of an apply, in several ways, and requires that Resume leads to the
// same store as an apply without a crash, and Undo to the original. Then it crashes resumes and undos in the same way.
func (p *place) testCrash(t *testing.T) {
	defer p.reset(t)
	dir := t.TempDir()
	runDir := filepath.Join(dir, "run")
	if err := os.Mkdir(runDir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := &surgery{t: t, power: &Power{}, files: NewFiles(nil), blank: filepath.Join(dir, "blank"), original: p.digest(t).Content}
	s.run, _ = p.makePlan(t, runDir)
	CopyTree(t, runDir, s.blank)
	ops := s.count(s.doApply)
	if s.final = p.digest(t).Content; s.final == s.original {
		t.Fatal("the plan changes nothing, so there is nothing to crash")
	}
	for n := 1; n <= ops; n += stride(ops, p.suite.MaxCrashes) {
		all := p.outages(n)
		if i := (n + len(p.c.Name)) % len(all); p.suite.InTurn {
			all = all[i : i+1]
		}
		for _, o := range all {
			where := fmt.Sprintf("%s at operation %d of %d", o.name, n, ops)
			s.restart()
			s.fail(where, s.doApply, n, o)
			after := s.keep("half")
			for i, way := range ways {
				if i > 0 {
					s.back(after)
				}
				s.lead(where, way)
			}
		}
	}
	s.again(ops)
	t.Logf("%d operations, %d crashes", ops, s.points)
}

// stride is the distance at which to try most of ops operations.
func stride(ops, most int) int {
	if most <= 0 || ops <= most {
		return 1
	}
	return (ops + most - 1) / most
}

// again crashes what is to put a crash right: the resume and the undo of an apply that was cut off, and the undo of a whole one.
func (s *surgery) again(ops int) {
	if s.p.suite.MaxSecond == 0 || s.p.c.Renames {
		return
	}
	begins := []struct {
		name string
		n    int
		do   func(context.Context, []store.Planner) error
	}{{"resume", (ops + 1) / 2, s.doResume}, {"undo", (ops + 1) / 2, s.doUndo}, {"undo of all", 0, s.doUndo}}
	for _, b := range begins {
		s.restart()
		if b.n == 0 {
			s.count(s.doApply)
		} else {
			s.fail("first", s.doApply, b.n, s.p.outages(b.n)[0])
		}
		begin := s.keep("begin")
		ops := s.count(b.do)
		for m := 1; m <= ops; m += stride(ops, s.p.suite.MaxSecond) {
			all := s.p.outages(m)
			o := all[m%len(all)]
			where := fmt.Sprintf("%s, %s at operation %d of %d", b.name, o.name, m, ops)
			s.back(begin)
			s.fail(where, b.do, m, o)
			after := s.keep("half")
			s.lead(where, "undo")
			if b.name == "resume" {
				s.back(after)
				s.lead(where, "resume")
			}
		}
	}
}

// ways are the two ways on after an apply that was cut off.
var ways = []string{"resume", "undo"}

// lead goes one of the ways and looks at where it leads.
func (s *surgery) lead(where, way string) {
	s.t.Helper()
	do, want := s.doUndo, s.original
	if way == "resume" {
		do, want = s.doResume, s.final
	}
	if err := s.with(s.t, func(units []store.Planner) error { return do(context.Background(), units) }); err != nil {
		s.t.Fatalf("%s, then %s: %v", where, way, err)
	}
	if way == "resume" && s.p.c.Renames {
		// A file that is built again need not have the same bytes; it must be as good.
		expect(s.t, where+", then resume: check", s.p.check(s.t), s.p.c.Leaves)
	} else if s.p.digest(s.t).Content != want {
		s.t.Fatalf("%s, then %s: wrong bytes", where, way)
	}
}

// restart puts the store and the run's directory to before the apply.
func (s *surgery) restart() {
	s.p.reset(s.t)
	s.files = NewFiles(nil)
	CopyTree(s.t, s.blank, s.dir)
}

// kept is a store and the directory of its run at some moment.
type kept struct {
	store, run string
	files      *Files
}

func (s *surgery) keep(name string) kept {
	k := kept{filepath.Join(filepath.Dir(s.dir), name+"-store"), filepath.Join(filepath.Dir(s.dir), name+"-run"), s.files.Clone(nil)}
	s.p.suite.Copy(s.t, s.p.path, k.store)
	CopyTree(s.t, s.dir, k.run)
	return k
}

func (s *surgery) back(k kept) {
	s.p.suite.Copy(s.t, k.store, s.p.path)
	CopyTree(s.t, k.run, s.dir)
	s.files = k.files.Clone(nil)
}

// config is that of the run, with the journals in memory.
func (s *surgery) config(units []store.Planner) repair.ApplyConfig {
	c := s.run.config(units)
	c.Files = s.files
	return c
}

func (s *surgery) doApply(ctx context.Context, units []store.Planner) error {
	_, err := repair.Apply(ctx, s.config(units))
	return err
}

func (s *surgery) doResume(ctx context.Context, units []store.Planner) error {
	_, err := repair.Resume(ctx, s.config(units))
	return err
}

func (s *surgery) doUndo(ctx context.Context, units []store.Planner) error {
	_, err := repair.Undo(ctx, repair.UndoConfig{Units: units, Dir: s.dir, Files: s.files})
	return err
}

// count does something without a crash and tells how many operations it took.
func (s *surgery) count(do func(context.Context, []store.Planner) error) int {
	s.t.Helper()
	s.power.FailAt(0, Kill)
	if err := s.powered(nil, do); err != nil {
		s.t.Fatal(err)
	}
	return s.power.Ops()
}

// fail does something that crashes at operation n.
func (s *surgery) fail(where string, do func(context.Context, []store.Planner) error, n int, o outage) {
	s.t.Helper()
	s.points++
	s.power.FailAt(n, o.mode)
	if err := s.powered(o.fate, do); !errors.Is(err, ErrCrash) {
		s.t.Fatalf("%s: no crash: %v", where, err)
	}
}

// powered does something with every unit on the power.
func (s *surgery) powered(fate func() Fate, do func(context.Context, []store.Planner) error) error {
	s.t.Helper()
	return s.with(s.t, func(units []store.Planner) error {
		for i := range units {
			units[i] = &Crashing{Planner: units[i], Power: s.power, Fate: fate}
		}
		return do(context.Background(), units)
	})
}

type outage struct {
	name string
	mode Mode
	fate func() Fate
}

// outages are the ways to crash at operation n that make sense for the system.
func (p *place) outages(n int) []outage {
	rnd := rand.New(rand.NewPCG(uint64(n), 1))
	all := []outage{
		{"killed", Kill, nil},
		{"power lost, unsynced writes lost", Kill, func() Fate { return Lost }},
		{"power lost, some unsynced writes lost", Kill, func() Fate { return Fate(rnd.IntN(2)) }},
	}
	if p.c.Renames {
		return all[:1]
	}
	if p.suite.Tears {
		all = append(all, outage{"killed within a write", Tear, nil},
			outage{"power lost, unsynced writes lost or torn", Tear, func() Fate { return Fate(rnd.IntN(3)) }})
	}
	return all
}
