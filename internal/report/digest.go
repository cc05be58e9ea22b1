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

// gathering is a digest in the making.
type gathering struct {
	digest
	src     *Source
	limit   int // findings shown per class
	byClass map[string]*section
	groups  *counter
	roots   map[int]*shown // shown roots by sequence number
	rootOf  []int32        // sequence number -> its root's; 0 = not seen
}

// gather reads all findings once and keeps at most src.Max per class (0: DefaultMax). A cause has to come before its
// consequences, as it does in every run because a finding can only name a number that was already given out;
// a finding whose cause is not there counts as a root.
func gather(src *Source) (*digest, error) {
	g := gathering{src: src, limit: src.Max, byClass: map[string]*section{}, groups: newCounter(), roots: map[int]*shown{}}
	if g.limit <= 0 {
		g.limit = DefaultMax
	}
	for f, err := range src.Each() {
		if err != nil {
			return nil, err
		}
		if f.Accepted {
			g.Accepted++
			continue
		}
		g.add(&f)
	}
	g.order(g.groups)
	return &g.digest, nil
}

func (g *gathering) add(f *finding.Finding) {
	g.Total++
	s := g.section(f)
	s.Count++
	s.bySeverity[f.Severity.Rank()]++
	if f.Severity.Rank() < s.Severity.Rank() {
		s.Severity = f.Severity
	}
	if f.Counts() && f.Group != "" {
		g.groups.add(f.Group)
	}
	if root := g.root(f); root != f.Seq {
		s.Follows++
		if r := g.roots[root]; r != nil {
			r.Consequences++
			if len(r.Samples) < maxConsequences {
				r.Samples = append(r.Samples, f)
			}
		}
		return
	}
	if f.Counts() {
		g.Roots++
	}
	s.subjects.add(f.Subject)
	if len(s.Shown) < g.limit {
		r := &shown{Finding: f}
		s.Shown = append(s.Shown, r)
		g.roots[f.Seq] = r
	}
}

func (g *gathering) section(f *finding.Finding) *section {
	s := g.byClass[f.Class]
	if s == nil {
		s = &section{Class: g.src.class(f.Class), Severity: f.Severity, subjects: newCounter()}
		g.byClass[f.Class] = s
		g.Sections = append(g.Sections, s)
	}
	return s
}

// root is the number of the finding that f follows from in the end, f's own if it follows from none that is known.
func (g *gathering) root(f *finding.Finding) int {
	root := f.Seq
	if c := f.CausedBy; c != nil && *c > 0 && *c < len(g.rootOf) && g.rootOf[*c] != 0 {
		root = int(g.rootOf[*c])
	}
	// Numbers are dense; a file where they are not is followed only as far as its length justifies.
	if f.Seq > 0 && f.Seq <= 2*g.Total+1024 && f.Seq < maxFollowed {
		for len(g.rootOf) <= f.Seq {
			g.rootOf = append(g.rootOf, 0)
		}
		g.rootOf[f.Seq] = int32(root)
	}
	return root
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
