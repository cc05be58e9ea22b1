package lab

import (
	"slices"
)

// Score is how a check did, in findings.
type Score struct {
	Injected int `json:"injected"` // findings that the truth expects
	Found    int `json:"found"`
	Missed   int `json:"missed"`
	False    int `json:"false"` // reported, but neither expected nor allowed
}

// Add sums up.
func (s *Score) Add(o Score) {
	s.Injected += o.Injected
	s.Found += o.Found
	s.Missed += o.Missed
	s.False += o.False
}

// Comparison is the outcome of Compare.
type Comparison struct {
	Score
	ByClass map[string]Score `json:"by_class"`
	Missing []Expect         `json:"missing,omitempty"` // expected, not reported
	Wrong   []Expect         `json:"wrong,omitempty"`   // reported, not expected
}

// Good tells whether the check found everything and nothing else.
func (c *Comparison) Good() bool { return c.Missed == 0 && c.False == 0 }

// place is under which expectations and observations are brought together.
type place struct {
	class, name string
	path        bool
}

func placeOf(e Expect) place {
	if e.Path != nil {
		return place{e.Class, *e.Path, true}
	}
	return place{e.Class, e.Subject, false}
}

// Compare holds what was reported against the truth. Every expectation is met by at most one finding. A finding at the
// right place with the wrong indexes counts as missed and as false.
func Compare(t *Truth, seen []Expect) *Comparison {
	c := &Comparison{ByClass: map[string]Score{}}
	open := map[place][]Expect{}
	for _, e := range t.Expected {
		open[placeOf(e)] = append(open[placeOf(e)], e)
		c.count(e.Class, Score{Injected: 1})
	}
	var rest []Expect
	for _, s := range seen {
		if s.Class == "" {
			continue // Kit.Observe says that the truth cannot know of it
		}
		if !take(open, placeOf(s), s) && (s.Path != nil || !take(open, place{s.Class, "", false}, s)) {
			rest = append(rest, s)
			continue
		}
		c.count(s.Class, Score{Found: 1})
	}
	for _, e := range t.Expected { // in the order of the truth
		p := placeOf(e)
		i := slices.IndexFunc(open[p], func(o Expect) bool { return slices.Equal(o.Index, e.Index) })
		if i < 0 {
			continue
		}
		open[p] = slices.Delete(open[p], i, i+1)
		c.Missing = append(c.Missing, e)
		c.count(e.Class, Score{Missed: 1})
	}
	for _, s := range rest {
		if !t.allows(s) {
			c.Wrong = append(c.Wrong, s)
			c.count(s.Class, Score{False: 1})
		}
	}
	return c
}

// take removes the expectation at p that s meets.
func take(open map[place][]Expect, p place, s Expect) bool {
	for i, e := range open[p] {
		if e.Index == nil || slices.Equal(e.Index, s.Index) {
			open[p] = slices.Delete(open[p], i, i+1)
			return true
		}
	}
	return false
}

func (t *Truth) allows(s Expect) bool {
	for _, a := range t.Allowed {
		if a.meets(s) {
			return true
		}
	}
	return false
}

func (c *Comparison) count(class string, s Score) {
	c.Score.Add(s)
	sum := c.ByClass[class]
	sum.Add(s)
	c.ByClass[class] = sum
}
