package devmapper

import (
	"context"
	"slices"
	"strings"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/store"
)

// TestOutlast: each look is a list of subjects that are found, "same" for a look at which nothing was written meanwhile.
func TestOutlast(t *testing.T) {
	for _, c := range []struct {
		name, looks, want string
		left              int // looks that are not needed
	}{
		{"nothing", "", "", 0},
		{"gone at the second look", "a b/", "", 0},
		{"at rest", "a/same", "a", 0},
		{"at rest after a change", "a/b/same", "b", 0},
		{"stays", "a/a/a/a", "a", 1},
		{"another one each time", "a/b/c/d/e/f/g", "", 1},
		{"one stays among others", "x a/x b/x c/x d/x e/x f/x g", "x", 1},
		{"comes and goes", "a/b/a/b/a/b/a", "", 1},
		{"renamed when the sequence passes it", "a/b/b/b", "b", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			looks := strings.Split(c.looks, "/")
			next := func(u *unit) {
				u.found = nil
				for _, s := range strings.Fields(looks[0]) {
					u.found = append(u.found, judged{Finding: finding.Finding{Class: LeakedDevice, Subject: s}})
				}
				looks = looks[1:]
			}
			u := &unit{}
			next(u)
			err := u.outlast(t.Context(), looker{
				rest: func(context.Context) error { return nil },
				same: func(context.Context) (bool, error) {
					if len(looks) > 0 && looks[0] == "same" {
						looks = looks[1:]
						return true, nil
					}
					return false, nil
				},
				again: func(context.Context) error { next(u); return nil },
			})
			var got []string
			for _, f := range u.found {
				got = append(got, f.Subject)
			}
			if err != nil || strings.Join(got, " ") != c.want || len(looks) != c.left {
				t.Errorf("left over %q after %v, %q looks unused, want %q and %d", got, err, looks, c.want, c.left)
			}
		})
	}
}

// changingEnv judges anew while findings are recorded, as the engine does in a store that is written to.
type changingEnv struct {
	store.Env
	u    *unit
	seen []string
}

func (e *changingEnv) Emit(f finding.Finding) (int, error) {
	e.seen = append(e.seen, f.Subject)
	e.u.ev, e.u.found = nil, nil
	return len(e.seen), nil
}
func (*changingEnv) Total(int64, int64)                      {}
func (*changingEnv) Did(context.Context, int64, int64) error { return nil }
func (*changingEnv) Fact(string, any)                        {}
func (*changingEnv) Unseen(string)                           {}

func TestFindingsMayVanishWhileTheyAreRecorded(t *testing.T) {
	u := &unit{tried: true, ev: &evidence{}}
	for _, s := range []string{"a", "b", "c"} {
		u.found = append(u.found, judged{Finding: finding.Finding{Class: LeakedDevice, Subject: s}})
	}
	env := &changingEnv{u: u}
	if err := u.judgeAll(t.Context(), env); err != nil || !slices.Equal(env.seen, []string{"a", "b", "c"}) {
		t.Errorf("recorded %q, %v", env.seen, err)
	}
}
