package lustrelab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/lab"
)

// recipe is one way to injure a file system.
type recipe struct {
	lab.Recipe
	// keeps is the class whose findings the default action leaves for a person to decide, "" for none.
	keeps string
	// fits chooses the objects to which it can be done, and do does it to one of them; errNoRoom says that nothing was done and
	// another object should be tried.
	fits func(*patient, *seen) bool
	do   func(*patient, *seen) error
	// all does something else to many names at once.
	all func(*patient, *lab.Done) error
}

// patient is a file system under Damage.
type patient struct {
	ctx    context.Context
	w      *world
	knives []*surgeon // by MDT
	rnd    *rand.Rand
	truth  *lab.Truth
	users  []*seen // objects of the namespace that users made, and shards, by FID
	taken  map[*seen]bool
	busy   map[*seen]bool          // directories with names of taken objects: they must not be injured themselves
	bereft map[*seen][]lustre.Link // names that each object had in directories that are gone
	dead   uint32                  // FIDs given that no object has
	info   []string                // what is worth knowing and does not count
	what   string                  // what the last injury was, for people
}

// Targets lists the images of a file system in a directory: mdt*.img, by name.
func Targets(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(escaped(dir), "mdt*.img"))
	if err == nil && len(paths) == 0 {
		err = &fault.Error{Op: "find the MDTs", Where: dir, Err: errors.New("the directory has no mdt*.img"), Hint: "fettle lab make lustre -o DIR", Kind: fault.Usage}
	}
	slices.SortFunc(paths, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b) // mdt10 comes behind mdt9
		}
		return strings.Compare(a, b)
	})
	return paths, err
}

// escaped is a directory name in a pattern.
func escaped(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// Damage injures the file system in the directory dir (mdt*.img, all MDTs of it), which must be healthy, and returns what a check of it must
// find. The subject of a finding is the FID of the object that it is about. Findings that follow from an injury and may be told
// or not are in Allowed; so are those that are only worth knowing, which the fact "info" lists. Everything else about the images stays right: checksums, counts, and what e2fsck looks at.
func Damage(ctx context.Context, dir string, seed uint64, injuries []lab.Injury) (*lab.Truth, error) {
	todo, err := order(injuries)
	if err != nil {
		return nil, err
	}
	return operate(ctx, dir, seed, func(p *patient) error {
		for _, t := range todo {
			was := len(p.truth.Expected)
			if err := p.treat(t); err != nil {
				return fmt.Errorf("%s: %w", t.recipe.Class, err)
			}
			p.truth.Done = append(p.truth.Done, t.done)
			for _, e := range p.truth.Expected[was:] {
				if e.Class == t.recipe.keeps {
					p.truth.Kept = append(p.truth.Kept, lab.Allowed{Class: e.Class, Subject: e.Subject, Why: "it is kept unless told otherwise"})
				}
			}
		}
		return nil
	})
}

// operate opens a healthy file system, and does something to it that fills the truth.
func operate(ctx context.Context, dir string, seed uint64, do func(*patient) error) (truth *lab.Truth, err error) {
	paths, err := Targets(dir)
	if err != nil {
		return nil, err
	}
	p := &patient{ctx: ctx, rnd: rand.New(rand.NewPCG(seed, 0x6d6474)), taken: map[*seen]bool{}, busy: map[*seen]bool{}, bereft: map[*seen][]lustre.Link{},
		truth: &lab.Truth{Type: "truth", Schema: lab.TruthSchema, System: "lustre", Seed: seed, Expected: []lab.Expect{}, Facts: map[string]string{}}}
	defer func() {
		for _, k := range p.knives {
			err = errors.Join(err, k.close())
		}
	}()
	if err := p.open(paths); err != nil {
		return nil, err
	}
	if err := p.look(); err != nil {
		return nil, err
	}
	if err := do(p); err != nil {
		return nil, err
	}
	p.settle()
	if len(p.info) > 0 {
		p.truth.Facts["info"] = strings.Join(p.info, "\n")
	}
	return p.truth, nil
}

// open opens the images and puts them in the order of their MDTs, all of which must be there.
func (p *patient) open(paths []string) error {
	at := map[uint32]*surgeon{}
	for _, path := range paths {
		k, err := openSurgeon(path)
		if err != nil {
			return err
		}
		p.knives = append(p.knives, k)
		_, index, ok := lustre.TargetLabel(k.fs.Super().Label)
		if !ok || at[index] != nil {
			return &fault.Error{Op: "injure", Where: path, Err: fmt.Errorf("its label %q is not that of one more MDT", k.fs.Super().Label), Kind: fault.Usage}
		}
		at[index] = k
	}
	for i := range p.knives {
		if at[uint32(i)] == nil {
			return &fault.Error{Op: "injure", Where: filepath.Dir(paths[0]), Err: fmt.Errorf("MDT%04x is missing", i), Hint: "the lab needs all MDTs of a file system", Kind: fault.Usage}
		}
		p.knives[i] = at[uint32(i)]
	}
	return nil
}

// look takes the picture of the whole file system, which must be consistent.
func (p *patient) look() error {
	var images []*ext4.FS
	for _, k := range p.knives {
		images = append(images, k.fs)
	}
	var err error
	if p.w, err = readWorld(p.ctx, images); err != nil {
		return &fault.Error{Op: "injure", Err: err}
	}
	if p.w.check(); len(p.w.wrong) > 0 {
		return &fault.Error{Op: "injure", Err: fmt.Errorf("the file system is damaged already: %s", p.w.wrong[0]), Hint: "begin with what fettle lab make made", Kind: fault.Usage}
	}
	for _, refs := range p.w.refs {
		slices.SortFunc(refs, func(a, b ref) int {
			return cmp.Or(a.dir.lma.FID.Compare(b.dir.lma.FID), strings.Compare(a.name().text, b.name().text))
		})
	}
	for f, s := range p.w.objects {
		if f.IsNormal() && len(p.w.refs[f]) > 0 && !p.w.refs[f][0].dir.lma.FID.IsDotLustre() && !s.alien {
			p.users = append(p.users, s)
		}
	}
	slices.SortFunc(p.users, func(a, b *seen) int { return a.lma.FID.Compare(b.lma.FID) })
	return nil
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
			return r.Class == in.Class || strings.TrimPrefix(r.Class, "lustre/") == in.Class
		})
		if i < 0 {
			var names []string
			for _, r := range all {
				names = append(names, strings.TrimPrefix(r.Class, "lustre/"))
			}
			return nil, fault.NewUsage(fmt.Errorf("no recipe for damage of class %q", in.Class), "known: "+strings.Join(names, ", "))
		}
		in.Class = all[i].Class
		out = append(out, &task{all[i], lab.Done{Injury: in, What: []string{}}})
	}
	return out, nil
}

// treat does one injury to as many objects as it asks for, if there are so many.
func (p *patient) treat(t *task) error {
	if t.recipe.all != nil {
		return t.recipe.all(p, &t.done)
	}
	var list []*seen
	for _, s := range p.users {
		if p.free(s) && t.recipe.fits(p, s) {
			list = append(list, s)
		}
	}
	want := t.done.Of(len(list))
	p.rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, s := range list {
		if want == 0 {
			break
		}
		if !p.free(s) {
			continue
		}
		if err := p.ctx.Err(); err != nil {
			return err
		}
		p.what = ""
		switch err := t.recipe.do(p, s); {
		case errors.Is(err, errNoRoom):
			continue
		case err != nil:
			return fmt.Errorf("%v: %w", s.lma.FID, err)
		}
		p.touch(s)
		t.done.Add("%s", strings.TrimSuffix(p.describe(s)+": "+p.what, ": "))
		want--
	}
	return nil
}

// describe names an object for people.
func (p *patient) describe(s *seen) string {
	return fmt.Sprintf("%v, %q on MDT%04x", s.lma.FID, p.ref(s).name().text, s.mdt)
}

// free tells whether an object can be injured without an effect on what was injured before.
func (p *patient) free(s *seen) bool {
	if p.taken[s] || p.busy[s] {
		return false
	}
	return !slices.ContainsFunc(p.w.refs[s.lma.FID], func(r ref) bool { return p.taken[r.dir] })
}

// touch says that an object is injured.
func (p *patient) touch(s *seen) {
	p.taken[s] = true
	for _, r := range p.w.refs[s.lma.FID] {
		p.busy[r.dir] = true
	}
}

// ref is the first name of an object.
func (p *patient) ref(s *seen) ref { return p.w.refs[s.lma.FID][0] }

// knife is the surgeon for the MDT of an object.
func (p *patient) knife(s *seen) *surgeon { return p.knives[s.mdt] }

// must adds a finding that a check has to report.
func (p *patient) must(class string, about lustre.FID, format string, args ...any) {
	p.truth.Expected = append(p.truth.Expected, lab.Expect{Class: class, Subject: about.String(), Note: fmt.Sprintf(format, args...)})
}

// may allows a finding that follows from an injury.
func (p *patient) may(class string, about lustre.FID, why string) {
	p.truth.Allowed = append(p.truth.Allowed, lab.Allowed{Class: class, Subject: about.String(), Why: why})
}

// know notes a finding that does not make the file system unclean; the fact "info" lists them.
func (p *patient) know(class string, about lustre.FID) {
	p.may(class, about, "worth knowing, no damage")
	p.info = append(p.info, class+"\t"+about.String())
}

// nobody gives a FID of the same MDT that no object has.
func (p *patient) nobody(s *seen) lustre.FID {
	for {
		p.dead++
		f := lustre.FID{Seq: s.lma.FID.Seq, OID: oidWidth - p.dead}
		if p.w.objects[f] == nil {
			return f
		}
	}
}

// other gives another object that can be injured, or errNoRoom.
func (p *patient) other(s *seen, fits func(*seen) bool) (*seen, error) {
	for range 64 {
		if o := p.users[p.rnd.IntN(len(p.users))]; o != s && p.free(o) && fits(o) {
			return o, nil
		}
	}
	for _, o := range p.users {
		if o != s && p.free(o) && fits(o) {
			return o, nil
		}
	}
	return nil, errNoRoom
}
