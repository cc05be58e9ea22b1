package dmlab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/lab"
)

// stage orders injuries: records first, then what depends on all records, then what makes files unreadable.
type stage int

const (
	recordStage   stage = iota // records of the databases, devices of the pool
	sequenceStage              // sequences, which records have raised
	thinStage                  // blocks of thin.meta, in place
	fileStage                  // a whole file or a page of one; nothing else beside it
)

// recipe is one way to injure a set.
type recipe struct {
	lab.Recipe
	stage    stage
	fixtures string // the described states of this kind: "d05 d07"
	// keeps says why a repair by default actions does not lead to a clean check, "" when it must.
	keeps string
	do    func(*patient, *lab.Done) error
}

// patient is a set under Damage.
type patient struct {
	*set
	ctx   context.Context
	rnd   *rand.Rand
	truth *lab.Truth
	taken map[*snap]bool
	info  []string // what is worth knowing and does not count
}

// Damage injures the set in the directory dir, which must be healthy, and returns what a check of it must find. What the recipes say
// is exact for what they injured; findings that may follow from an injury are in Allowed. Findings that are only worth knowing
// are in Allowed too, and listed in the fact "info".
func Damage(ctx context.Context, dir string, seed uint64, injuries []lab.Injury) (truth *lab.Truth, err error) {
	truth = &lab.Truth{Type: "truth", Schema: lab.TruthSchema, System: "devmapper", Seed: seed, Expected: []lab.Expect{}, Facts: map[string]string{}}
	todo, err := order(injuries)
	if err != nil {
		return nil, err
	}
	s, err := openSet(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.closeDBs()) }()
	p := &patient{set: s, ctx: ctx, rnd: newRand(seed, 0x64616d), truth: truth, taken: map[*snap]bool{}}
	truth.Facts["pool"] = s.pool
	for st := recordStage; st <= fileStage; st++ {
		if st == thinStage {
			if err := errors.Join(s.saveThin(), s.closeDBs()); err != nil {
				return nil, err
			}
		}
		for _, t := range todo {
			if t.recipe.stage != st {
				continue
			}
			if err := errors.Join(ctx.Err(), t.recipe.do(p, &t.done)); err != nil {
				return nil, fmt.Errorf("%s: %w", t.recipe.Class, err)
			}
		}
	}
	for _, t := range todo {
		truth.Done = append(truth.Done, t.done)
		if t.recipe.keeps != "" && truth.Unrepairable == "" && t.done.Made() > 0 {
			truth.Unrepairable = t.recipe.Class + ": " + t.recipe.keeps
		}
	}
	if len(p.info) > 0 {
		truth.Facts["info"] = strings.Join(p.info, "\n")
	}
	return truth, nil
}

// task is one injury with its recipe.
type task struct {
	recipe recipe
	done   lab.Done
}

// order finds the recipes.
func order(injuries []lab.Injury) ([]*task, error) {
	var out []*task
	all := recipes()
	for _, in := range injuries {
		i := slices.IndexFunc(all, func(r recipe) bool {
			return r.Class == in.Class || strings.TrimPrefix(r.Class, "devmapper/") == in.Class
		})
		if i < 0 {
			var names []string
			for _, r := range all {
				names = append(names, strings.TrimPrefix(r.Class, "devmapper/"))
			}
			return nil, fault.NewUsage(fmt.Errorf("no recipe for damage of class %q", in.Class), "known: "+strings.Join(names, ", "))
		}
		if all[i].Alone && len(injuries) > 1 {
			return nil, fault.NewUsage(fmt.Errorf("%s and another injury cannot be made together", all[i].Class), "make one at a time")
		}
		in.Class = all[i].Class
		out = append(out, &task{all[i], lab.Done{Injury: in, What: []string{}}})
	}
	return out, nil
}

// must adds a finding that a check has to report.
func (p *patient) must(class, subject, format string, args ...any) {
	p.truth.Expected = append(p.truth.Expected, lab.Expect{Class: class, Subject: subject, Note: fmt.Sprintf(format, args...)})
}

// may allows a finding that follows from an injury.
func (p *patient) may(class, subject, why string) {
	p.truth.Allowed = append(p.truth.Allowed, lab.Allowed{Class: class, Subject: subject, Why: why})
}

// know notes a finding that does not make the set unclean.
func (p *patient) know(class, subject string) {
	p.may(class, subject, "worth knowing, no damage")
	p.info = append(p.info, class+"\t"+subject)
}

// choose takes the injury's share of the snapshots that fit at random, but none that another injury has to do with: with a snapshot
// go its children, and with a layer its parent.
func (p *patient) choose(in lab.Injury, most int, fits func(*snap) bool) []*snap {
	var free []*snap
	for _, n := range p.snaps {
		if !p.touched(n) && fits(n) {
			free = append(free, n)
		}
	}
	want := min(in.Of(len(free)), most)
	p.rnd.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	var out []*snap
	for _, n := range free {
		if len(out) < want && !p.touched(n) {
			out = append(out, n)
			p.touch(n)
		}
	}
	slices.SortFunc(out, func(a, b *snap) int { return int(a.id) - int(b.id) })
	return out
}

// unbounded is the bound of choose for recipes without one.
const unbounded = 1 << 30

func (p *patient) touched(n *snap) bool {
	if p.taken[n] {
		return true
	}
	return n.layer() && (p.taken[n.parent] || slices.ContainsFunc(n.children, func(c *snap) bool { return p.taken[c] }))
}

func (p *patient) touch(n *snap) {
	p.taken[n] = true
	if n.layer() {
		for _, c := range n.children {
			p.taken[c] = true
		}
	}
}

// container fits snapshots that a container runs on.
func container(n *snap) bool { return n.container != "" }

// inner fits layers that something is built on.
func inner(n *snap) bool { return n.layer() && n.parent != nil && len(n.children) > 0 }

// anyTop is a layer, to make a device from.
func (p *patient) anyTop() *snap {
	for _, n := range p.snaps {
		if n.layer() && len(n.children) > 0 {
			return n
		}
	}
	return p.snaps[0]
}

func devSubject(id uint32) string { return fmt.Sprintf("dev_id %d", id) }

func (p *patient) path(file string) string { return filepath.Join(p.dir, file) }
