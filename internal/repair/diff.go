package repair

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"fettle/internal/finding"
	"fettle/internal/say"
	"fettle/internal/store"
)

// How much of one record's content a diff shows.
const (
	diffLines = 12  // lines on each side
	diffWidth = 160 // bytes of one line
	diffHex   = 48  // bytes of binary content
)

// WriteDiff writes the plan for people to read, like a diff: each step, the findings it repairs, and each record with its
// old content (-) and its new one (+). Guards are shown as "must be". Long content is shortened; the plan file has it all.
// Nothing a store contains reaches the terminal unescaped.
func (p *Plan) WriteDiff(w io.Writer) error { return p.write(w, limits{}) }

// WriteSummary is WriteDiff with the first few of many of a kind, and how many more there are.
func (p *Plan) WriteSummary(w io.Writer) error {
	return p.write(w, limits{findings: 3, steps: 10, changes: 5})
}

// limits is how many of a kind are shown; 0 is all.
type limits struct {
	findings int // of one class and action
	steps    int // of a unit
	changes  int // of a step: the first ones and the last
}

// over tells how many of n are more than most.
func over(n, most int) int {
	if most == 0 {
		return 0
	}
	return max(0, n-most)
}

func (p *Plan) write(w io.Writer, most limits) error {
	d := &diffWriter{w: bufio.NewWriter(w), most: most}
	d.printf("plan of run %s for %s, made %s\n", say.Clean(p.Run), say.Clean(p.Store), p.Created.Format("2006-01-02 15:04:05 MST"))
	if len(p.Policy) > 0 {
		d.printf("policy: %s\n", say.Clean(strings.Join(p.Policy, " ")))
	}
	for i := range p.Units {
		d.unit(&p.Units[i])
	}
	if p.Steps() == 0 {
		d.printf("\nnothing would be changed\n")
	}
	if d.err == nil {
		d.err = d.w.Flush()
	}
	if d.err != nil {
		return fmt.Errorf("write diff: %w", d.err)
	}
	return nil
}

type diffWriter struct {
	w    *bufio.Writer
	most limits
	err  error
}

func (d *diffWriter) printf(format string, args ...any) {
	if d.err == nil {
		_, d.err = fmt.Fprintf(d.w, format, args...)
	}
}

func (d *diffWriter) unit(u *Unit) {
	d.printf("\nunit %s: %s, %s\n", say.Clean(u.Unit), say.Count(len(u.Steps), "step"), say.Count(len(u.Findings), "finding"))
	if u.Loss.Dropped > 0 {
		d.printf("  drops %d of %d %s\n", u.Loss.Dropped, u.Loss.Total, say.Clean(u.Loss.Unit))
	}
	for _, n := range u.Notes {
		d.printf("  note: %s\n", say.Clean(n))
	}
	where := map[int]Planned{}
	for _, f := range u.Findings {
		where[f.Seq] = f
	}
	g := grouped{d: d, shown: map[string]int{}, more: map[string]*rest{}}
	for _, o := range u.Outcomes {
		f := where[o.Seq]
		if g.room(f.Class+": "+string(o.Action), o.Loses != "") {
			d.printf("  #%d %s %s: %s: %s\n", o.Seq, say.Clean(f.Class), named(f.What), say.Clean(string(o.Action)), say.Clean(o.Result))
			if o.Loses != "" {
				d.printf("      loses %s\n", say.Clean(o.Loses))
			}
		}
	}
	for _, f := range u.Pending {
		if why := u.why(&f); g.room(f.Class+": "+why, false) {
			d.printf("  #%d %s %s: %s\n", f.Seq, say.Clean(f.Class), named(f.What), why)
		}
	}
	for _, f := range u.Gone {
		if g.room(f.Class+": no longer so, nothing to do", false) {
			d.printf("  #%d %s %s: no longer so, nothing to do\n", f.Seq, say.Clean(f.Class), say.Clean(f.What))
		}
	}
	g.end()
	for i := range u.Steps {
		if n := over(len(u.Steps), d.most.steps); n > 0 && i == d.most.steps {
			d.printf("\nand %s more\n", say.Count(n, "step"))
			break
		}
		d.step(&u.Steps[i])
	}
}

// grouped counts the findings of which the same is to be said, and shows the first few of each kind.
type grouped struct {
	d     *diffWriter
	shown map[string]int
	more  map[string]*rest
	order []string // of more
}

// rest is the findings of one kind that are not shown.
type rest struct{ n, losing int }

// room tells whether another finding of a kind is to be shown, and counts it if not.
func (g *grouped) room(kind string, loses bool) bool {
	if g.shown[kind]++; over(g.shown[kind], g.d.most.findings) == 0 {
		return true
	}
	r := g.more[kind]
	if r == nil {
		r = &rest{}
		g.more[kind] = r
		g.order = append(g.order, kind)
	}
	r.n++
	if loses {
		r.losing++
	}
	return false
}

// end says how many more there are of each kind.
func (g *grouped) end() {
	for _, kind := range g.order {
		r := g.more[kind]
		loses := ""
		if r.losing > 0 {
			loses = fmt.Sprintf(" (%d of them with a loss)", r.losing)
		}
		g.d.printf("  and %d more %s%s\n", r.n, say.Clean(kind), loses)
	}
}

// why says why a pending finding is not repaired.
func (u *Unit) why(f *Planned) string {
	switch {
	case u.parks(f.Seq):
		offers := make([]string, len(f.Offers))
		for i, a := range f.Offers {
			offers[i] = say.Clean(string(a))
		}
		return "must be decided first (" + strings.Join(offers, ", ") + ")"
	case f.Action == finding.Ignore || f.Action == finding.Interact:
		return "left as it is (" + string(f.Action) + ")"
	}
	return "waits for the others (" + say.Clean(string(f.Action)) + ")"
}

func (d *diffWriter) step(s *store.Step) {
	d.printf("\nstep %d: %s", s.ID, say.Clean(s.Title))
	if len(s.Findings) > 0 {
		d.printf(" (repairs %s)", numbers(s.Findings))
	}
	if s.Irreversible {
		d.printf(" [CANNOT BE UNDONE]")
	}
	d.printf("\n")
	for i := 0; i < len(s.Changes); i++ {
		// The last one is shown too: it is the one that makes the others count, or that destroys.
		if first := d.most.changes - 1; over(len(s.Changes), d.most.changes) > 0 && i == first {
			i = len(s.Changes) - 1
			d.printf("... and %s\n", moreChanges(s.Changes[first:i]))
		}
		d.change(&s.Changes[i])
	}
}

func (d *diffWriter) change(c *store.Change) {
	d.printf("@@ %s %s @@", say.Clean(c.Target), say.Clean(c.Addr))
	if c.Note != "" {
		d.printf(" %s", say.Clean(c.Note))
	}
	d.printf("\n")
	if c.Guard() {
		before, _ := shorten(c.Before, nil)
		d.content("  must be: ", before)
		return
	}
	before, after := shorten(c.Before, c.After)
	d.content("- ", before)
	d.content("+ ", after)
}

// moreChanges counts changes by what they do to their records.
func moreChanges(changes []store.Change) string {
	var made, removed, changed, guards int
	for i := range changes {
		switch c := &changes[i]; {
		case c.Guard():
			guards++
		case c.Before == nil:
			made++
		case c.After == nil:
			removed++
		default:
			changed++
		}
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{made, "made"}, {changed, "changed"}, {removed, "removed"}, {guards, "only looked at"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return say.Count(len(changes), "more record") + ": " + strings.Join(parts, ", ")
}

func (d *diffWriter) content(prefix string, lines []string) {
	for _, l := range lines {
		d.printf("%s%s\n", prefix, l)
	}
}

// shorten gives the lines to show for both sides of a change: text without the lines that both begin and end with,
// anything else as its first bytes, size and hash.
func shorten(before, after store.Bytes) (b, a []string) {
	if !printable(before) || !printable(after) {
		return []string{hexDump(before)}, []string{hexDump(after)}
	}
	bl, al := splitLines(before), splitLines(after)
	head := 0
	for head < len(bl) && head < len(al) && bl[head] == al[head] {
		head++
	}
	tail := 0
	for tail < len(bl)-head && tail < len(al)-head && bl[len(bl)-1-tail] == al[len(al)-1-tail] {
		tail++
	}
	return window(before, bl, head, tail), window(after, al, head, tail)
}

// window renders lines[head:len-tail] of content.
func window(content store.Bytes, lines []string, head, tail int) []string {
	if content == nil {
		return []string{"(absent)"}
	}
	if len(content) == 0 {
		return []string{"(empty)"}
	}
	var out []string
	if head > 0 {
		out = append(out, fmt.Sprintf("... %s as before", say.Count(head, "line")))
	}
	show := lines[head : len(lines)-tail]
	for i, l := range show {
		if i == diffLines {
			out = append(out, fmt.Sprintf("... %s more", say.Count(len(show)-i, "line")))
			break
		}
		out = append(out, oneLine(l))
	}
	if tail > 0 {
		out = append(out, fmt.Sprintf("... %s as before", say.Count(tail, "line")))
	}
	return out
}

func oneLine(l string) string {
	if len(l) <= diffWidth {
		return say.Clean(l)
	}
	cut := diffWidth
	for cut > 0 && !utf8.RuneStart(l[cut]) {
		cut--
	}
	return fmt.Sprintf("%s... (%d bytes)", say.Clean(l[:cut]), len(l))
}

func hexDump(b store.Bytes) string {
	if b == nil {
		return "(absent)"
	}
	sum := sha256.Sum256(b)
	if len(b) <= diffHex {
		return fmt.Sprintf("%x (%s)", []byte(b), say.Count(len(b), "byte"))
	}
	return fmt.Sprintf("%x... (%d bytes, sha256 %x)", []byte(b[:diffHex]), len(b), sum[:8])
}

func printable(b store.Bytes) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

func splitLines(b store.Bytes) []string {
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// numbers lists the first few of many sequence numbers: "#1 #2 #7".
func numbers(seqs []int) string {
	const most = 8
	var b strings.Builder
	for i, s := range seqs {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(seqs)-most)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "#%d", s)
	}
	return b.String()
}

// named is what a finding is about, for people: the empty path is the root of a tree.
func named(what string) string {
	if what == "" {
		return "root"
	}
	return say.Clean(what)
}
