package report

import (
	"sort"

	"fettle/internal/finding"
)

// Bounds of a digest: whatever a run holds, its digest stays small.
const (
	maxConsequences = 4       // shown under their cause
	maxDistinct     = 1 << 16 // subjects and groups told apart; beyond that counts are "more than"
	maxFollowed     = 1 << 24 // findings whose cause is traced (4 bytes each); later ones count as roots
)

// digest is a run's findings grouped for people: by class, and within a class by what caused them.
type digest struct {
	Total    int // without the accepted ones
	Accepted int
	Counting int // errors and warnings
	Roots    int // counting findings that follow from no other
	Sections []*section
	Groups   []groupCount // the larger things touched (jobs), most damaged first
	More     bool         // there are more groups than were counted
}

// section is everything of one class.
type section struct {
	Class    finding.Class
	Severity finding.Severity // the most serious one met
	Count    int
	Follows  int // how many of Count are consequences of another finding
	Shown    []*shown

	subjects   *counter
	bySeverity [3]int // indexed by Severity.Rank
}

// Hidden is how many findings of the section are neither shown nor counted under a shown cause.
func (s *section) Hidden() int { return s.Count - s.Follows - len(s.Shown) }

// Subjects is the number of different subjects among the roots, and whether it is only a lower bound.
func (s *section) Subjects() (int, bool) { return s.subjects.size() }

// shown is a finding that will be rendered in full.
type shown struct {
	*finding.Finding
	Consequences int                // all findings that follow from it, at any distance
	Samples      []*finding.Finding // the first few of them
}

type groupCount struct {
	Name  string
	Count int
}

// counter counts by name, up to maxDistinct names.
type counter struct {
	n    map[string]int
	over bool
}

func newCounter() *counter { return &counter{n: map[string]int{}} }

func (c *counter) add(name string) {
	if _, ok := c.n[name]; !ok && len(c.n) >= maxDistinct {
		c.over = true
		return
	}
	c.n[name]++
}

func (c *counter) size() (int, bool) { return len(c.n), c.over }

// gather reads all findings once and keeps at most max per class (0: DefaultMax). A cause has to come before its
// consequences, as it does in every run because a finding can only name a number that was already given out;
// a finding whose cause is not there counts as a root.
func gather(src *Source) (*digest, error) {
	limit := src.Max
	if limit <= 0 {
		limit = DefaultMax
	}
	d := &digest{}
	byClass := map[string]*section{}
	groups := newCounter()
	roots := map[int]*shown{} // shown roots by sequence number
	var rootOf []int32        // sequence number -> its root's; 0 = not seen
	for f, err := range src.Each() {
		if err != nil {
			return nil, err
		}
		if f.Accepted {
			d.Accepted++
			continue
		}
		d.Total++
		s := byClass[f.Class]
		if s == nil {
			s = &section{Class: src.class(f.Class), Severity: f.Severity, subjects: newCounter()}
			byClass[f.Class] = s
			d.Sections = append(d.Sections, s)
		}
		s.Count++
		s.bySeverity[f.Severity.Rank()]++
		if f.Severity.Rank() < s.Severity.Rank() {
			s.Severity = f.Severity
		}
		if f.Counts() {
			d.Counting++
			if f.Group != "" {
				groups.add(f.Group)
			}
		}
		root := f.Seq
		if f.CausedBy != nil && *f.CausedBy > 0 && *f.CausedBy < len(rootOf) && rootOf[*f.CausedBy] != 0 {
			root = int(rootOf[*f.CausedBy])
		}
		// Numbers are dense; a file where they are not is followed only as far as its length justifies.
		if f.Seq > 0 && f.Seq <= 2*d.Total+1024 && f.Seq < maxFollowed {
			for len(rootOf) <= f.Seq {
				rootOf = append(rootOf, 0)
			}
			rootOf[f.Seq] = int32(root)
		}
		if root != f.Seq {
			s.Follows++
			if r := roots[root]; r != nil {
				r.Consequences++
				if len(r.Samples) < maxConsequences {
					r.Samples = append(r.Samples, &f)
				}
			}
			continue
		}
		if f.Counts() {
			d.Roots++
		}
		s.subjects.add(f.Subject)
		if len(s.Shown) < limit {
			r := &shown{Finding: &f}
			s.Shown = append(s.Shown, r)
			roots[f.Seq] = r
		}
	}
	d.order(groups)
	return d, nil
}

// order sorts sections by severity, roots before mere consequences, then size; and picks the most damaged groups.
func (d *digest) order(groups *counter) {
	sort.SliceStable(d.Sections, func(i, j int) bool {
		a, b := d.Sections[i], d.Sections[j]
		if ra, rb := a.Severity.Rank(), b.Severity.Rank(); ra != rb {
			return ra < rb
		}
		if ra, rb := a.Count > a.Follows, b.Count > b.Follows; ra != rb {
			return ra
		}
		if a.Count != b.Count {
			return a.Count > b.Count
		}
		return a.Class.ID < b.Class.ID
	})
	for name, n := range groups.n {
		d.Groups = append(d.Groups, groupCount{name, n})
	}
	sort.Slice(d.Groups, func(i, j int) bool {
		a, b := d.Groups[i], d.Groups[j]
		if a.Count != b.Count {
			return a.Count > b.Count
		}
		return a.Name < b.Name
	})
	d.More = groups.over
}
