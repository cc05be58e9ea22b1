package lustrelab

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"fettle/internal/fault"
	"fettle/internal/lab"
)

// Scenario is one of the namespace tests of LFSCK (lustre/tests/sanity-lfsck.sh): the damage that its stubs leave on disk, made on
// images, and what has to come of a repair.
type Scenario struct {
	Test    string // "23b"
	Options string // those of lfsck_start that matter for it, "" for none
	Title   string // the damage
	LFSCK   string // what LFSCK must do about it, by its counters
	Ours    string // what fettle does
	Better  string // why the outcome is better than that of LFSCK; "" when it is the same
	// Policy is what a repair is told beside the default actions, because the Options say the same.
	Policy []string
	// Counts are the counters of "report --lfsck" after the repair that are not 0: "linkea_repaired = 1" or "lost_dirent_repaired >= 1".
	Counts []string
	// Finds are the classes that a check must report, without subjects; other findings are of objects that were in a destroyed
	// directory. None means that a check must be clean.
	Finds []lab.Expect
	// Keeps are the classes of findings that are left to a person: a check after the repair tells them again.
	Keeps []string
	// Alone says that each MDT is repaired alone first, as if the others could not be reached. That must do no harm.
	Alone bool
	// Make does the damage to a healthy file system in a directory with all its mdt*.img. It fails if the file system has nothing to
	// do it to.
	Make func(ctx context.Context, dir string, seed uint64) (*Wound, error)
}

// Name is the test with its options.
func (s *Scenario) Name() string {
	if s.Options == "" {
		return s.Test
	}
	return s.Test + " " + s.Options
}

// Wound is the damage of a Scenario.
type Wound struct {
	Truth *lab.Truth // what a check must find
	After Picture    // what must be there after the repair, without .lustre/lost+found/MDTxxxx themselves
}

// errNothing says that a file system has nothing that fits a scenario.
var errNothing = errors.New("the file system has nothing that fits")

// step is a part of a scenario: something done to one object.
type step struct {
	fits func(*patient, *seen) bool
	do   func(*patient, *seen) error
	// after says what is not as before when it is repaired, beyond names; nil for nothing.
	after func(*patient, *seen, Picture)
}

// one does a step to one object that can be injured, and gives it.
func (p *patient) one(s step) (*seen, error) {
	list := slices.Clone(p.users)
	p.rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, o := range list {
		if !p.free(o) || !s.fits(p, o) {
			continue
		}
		err := s.do(p, o)
		if errors.Is(err, errNoRoom) {
			continue
		}
		p.touch(o)
		return o, err
	}
	return nil, errNothing
}

// scenario makes the Make of a scenario from steps.
func scenario(steps ...step) func(context.Context, string, uint64) (*Wound, error) {
	return func(ctx context.Context, dir string, seed uint64) (w *Wound, err error) {
		w = &Wound{}
		w.Truth, err = operate(ctx, dir, seed, func(p *patient) error {
			w.After, err = p.w.picture()
			if err != nil {
				return err
			}
			var about []*seen
			for i, s := range steps {
				o, err := p.one(s)
				if err != nil {
					return &fault.Error{Op: fmt.Sprintf("step %d of the scenario", i+1), Where: dir, Err: err}
				}
				about = append(about, o)
			}
			if w.After, err = p.expect(w.After); err != nil {
				return err
			}
			for i, s := range steps {
				if s.after != nil {
					s.after(p, about[i], w.After)
				}
			}
			return nil
		})
		return w, err
	}
}

// then does one thing after another to the same object.
func then(parts ...func(*patient, *seen) error) func(*patient, *seen) error {
	return func(p *patient, s *seen) error {
		for _, do := range parts {
			if err := do(p, s); err != nil {
				return err
			}
		}
		return nil
	}
}

func finds(classes ...string) []lab.Expect {
	out := []lab.Expect{}
	for _, c := range classes {
		out = append(out, lab.Expect{Class: c})
	}
	return out
}
