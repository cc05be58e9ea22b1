package fluxlab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/lab"
)

// stage orders injuries: what writes new directories comes first, what makes the file unreadable last.
type stage int

const (
	commitStage  stage = iota // new trees with correct hashes and a new checkpoint
	rowStage                  // rows of the objects table
	checkptStage              // rows of the checkpoint tables
	pageStage                 // single pages
	fileStage                 // the file as a whole; at most one of these
	walStage                  // the -wal; nothing else beside it
)

// recipe is one way to injure a store.
type recipe struct {
	lab.Recipe
	stage stage
	// sql injures through SQL. plan says what will be taken away and leaves the writing to later: see patient.later.
	sql  func(*patient, *surgeon, *lab.Done) error
	plan func(*patient, *lab.Done) error
}

// patient is a store under Damage.
type patient struct {
	ctx   context.Context
	path  string
	rnd   *rand.Rand
	truth *lab.Truth

	// What the store was like when it was whole, and what is known of it now.
	whole  *picture
	before *survey
	root   string // raw hash of the root of the newest checkpoint
	taken  map[string]bool
	pages  *pageMap
	lost   lost
	todo   []func() error // page writes that wait until the truth is known
	all    bool           // a file recipe has said everything that there is to expect
}

// Damage injures the store at path, which must be whole, and returns what a check of it must find. Injuries of several
// classes are made together; the same seed and injuries on the same store give the same bytes.
func Damage(ctx context.Context, path string, seed uint64, injuries []lab.Injury) (*lab.Truth, error) {
	t := &lab.Truth{Type: "truth", Schema: lab.TruthSchema, System: "flux", Seed: seed, Expected: []lab.Expect{}, Facts: map[string]string{}}
	todo, err := order(injuries)
	if err != nil {
		return nil, err
	}
	p := &patient{ctx: ctx, path: path, rnd: rand.New(rand.NewPCG(seed, 0x646d67)), truth: t, taken: map[string]bool{},
		lost: lost{map[int64]bool{}, map[int64]bool{}}}
	if err := p.look(); err != nil {
		return nil, err
	}
	keys := p.before.paths
	for st := commitStage; st <= walStage; st++ {
		if err := p.stage(st, todo); err != nil {
			p.whole.close()
			return nil, err
		}
	}
	if err := p.whole.close(); err != nil {
		return nil, err
	}
	if !p.all {
		after, err := look(ctx, path, p.lost)
		if err != nil {
			return nil, err
		}
		if err := after.expect(t, keys); err != nil {
			after.close()
			return nil, err
		}
		if err := after.close(); err != nil {
			return nil, err
		}
	}
	for _, write := range p.todo {
		if err := write(); err != nil {
			return nil, err
		}
	}
	for _, r := range todo {
		t.Done = append(t.Done, r.done)
	}
	return t, nil
}

// task is one injury with its recipe.
type task struct {
	recipe recipe
	done   lab.Done
}

// order finds the recipes.
func order(injuries []lab.Injury) ([]*task, error) {
	var out []*task
	files, all := 0, recipes()
	for _, in := range injuries {
		i := slices.IndexFunc(all, func(r recipe) bool { return r.Class == in.Class || strings.TrimPrefix(r.Class, "flux/") == in.Class })
		if i < 0 {
			var names []string
			for _, r := range all {
				names = append(names, strings.TrimPrefix(r.Class, "flux/"))
			}
			return nil, fault.NewUsage(fmt.Errorf("no recipe for damage of class %q", in.Class), "known: "+strings.Join(names, ", "))
		}
		in.Class = all[i].Class
		if all[i].Alone {
			if files++; files > 1 || all[i].stage == walStage && len(injuries) > 1 {
				return nil, fault.NewUsage(fmt.Errorf("%s and another injury cannot be made together", in.Class), "make one at a time")
			}
		}
		out = append(out, &task{all[i], lab.Done{Injury: in, What: []string{}}})
	}
	return out, nil
}

// stage makes the injuries of one stage.
func (p *patient) stage(st stage, todo []*task) error {
	some := slices.ContainsFunc(todo, func(t *task) bool { return t.recipe.stage == st })
	if !some {
		return nil
	}
	for _, t := range todo {
		if t.recipe.stage != st {
			continue
		}
		var err error
		switch {
		case t.recipe.sql != nil:
			err = operate(p.ctx, p.path, func(s *surgeon) error { return t.recipe.sql(p, s, &t.done) })
			if err == nil && st == commitStage {
				err = p.lookAgain()
			}
		default:
			err = t.recipe.plan(p, &t.done)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", t.recipe.Class, err)
		}
	}
	return nil
}

// look takes the picture of the whole store.
func (p *patient) look() (err error) {
	if p.whole, err = look(p.ctx, p.path, lost{}); err != nil {
		return err
	}
	scratch := &lab.Truth{Facts: map[string]string{}}
	if p.root, err = p.whole.start(scratch); err == nil && (p.root == "" || len(scratch.Expected) > 0) {
		err = &fault.Error{Op: "injure", Where: p.path, Err: fmt.Errorf("the store is damaged already"), Hint: "begin with what fettle lab make made", Kind: fault.Usage}
	}
	if err == nil {
		p.before, err = p.whole.walk(p.root)
	}
	if err != nil {
		p.whole.close()
	}
	return err
}

// lookAgain follows the new root that an injury of the commit stage has made.
func (p *patient) lookAgain() error {
	if err := p.whole.close(); err != nil {
		return err
	}
	var err error
	if p.whole, err = look(p.ctx, p.path, lost{}); err != nil {
		return err
	}
	root, err := p.whole.start(&lab.Truth{Facts: map[string]string{}})
	if err == nil {
		p.root = root
		p.before, err = p.whole.walk(root)
	}
	return err
}

// pick takes the injury's share of the candidates at random, but none twice. candidates must be in a fixed order.
func (p *patient) pick(in lab.Injury, candidates []string) []string {
	free := slices.DeleteFunc(slices.Clone(candidates), func(s string) bool { return p.taken[s] })
	p.rnd.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	free = free[:in.Of(len(free))]
	for _, s := range free {
		p.taken[s] = true
	}
	return free
}

// sorted lists the members of a set in order.
func sorted(set map[string]struct{}) []string {
	out := make([]string, 0, len(set))
	for s := range set {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// valueBlobs are blobs of keys, dirBlobs those of directories other than the root; neither is both.
func (p *patient) valueBlobs() []string {
	return slices.DeleteFunc(sorted(p.before.values), func(h string) bool {
		_, d := p.before.dirs[h]
		return d || p.isRoot(h) || p.whole.fault(h, danglingValref) != ""
	})
}

func (p *patient) dirBlobs() []string {
	return slices.DeleteFunc(sorted(p.before.dirs), func(h string) bool {
		_, v := p.before.values[h]
		return v || p.isRoot(h) || p.whole.fault(h, danglingDirref) != ""
	})
}

// orphanBlobs are blobs that the newest tree does not use and that are no root of a checkpoint.
func (p *patient) orphanBlobs() []string {
	var out []string
	for _, h := range p.whole.order {
		_, v := p.before.values[h]
		_, d := p.before.dirs[h]
		if !v && !d && !p.isRoot(h) {
			out = append(out, h)
		}
	}
	return out
}

// isRoot tells whether a checkpoint row names the blob.
func (p *patient) isRoot(hash string) bool {
	return hash == p.root || slices.ContainsFunc(p.whole.checkpt, func(c checkptRow) bool { h, _ := c.root(); return h == hash })
}

// rowOf is the row id of a blob.
func (p *patient) rowOf(hash string) int64 {
	r, _ := p.whole.best(hash)
	return r.id
}

// later makes a change of the file once the truth is known.
func (p *patient) later(write func() error) { p.todo = append(p.todo, write) }

// must adds a finding without a path that a check has to report.
func (p *patient) must(class, subject, note string) {
	p.truth.Expected = append(p.truth.Expected, lab.Expect{Class: class, Subject: subject, Note: note})
}

// may allows findings of a class.
func (p *patient) may(class, subject, why string) {
	p.truth.Allowed = append(p.truth.Allowed, lab.Allowed{Class: class, Subject: subject, Why: why})
}
