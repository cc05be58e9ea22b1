package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/say"
)

// byNumber is how many findings the command that decides them names one by one; more of them are named by class.
const byNumber = 4

// decideCommand is the command that makes the plan again with the findings that park units decided as they suggest.
func (a *App) decideCommand(plan *repair.Plan, parked []repair.Planned) string {
	rules := map[string]string{} // by what they are about; "" is the fallback
	var order []string
	for _, r := range plan.Policy {
		about, _, ok := strings.Cut(r, "=")
		if !ok {
			about = ""
		}
		rules[about], order = r, append(order, about)
	}
	for _, f := range parked {
		take := finding.Ignore
		if len(f.Offers) > 0 {
			take = f.Offers[0]
		}
		about := strconv.Itoa(f.Seq)
		// A rule about the very number can only be overruled by another one.
		if _, byNum := rules[about]; len(parked) > byNumber && !byNum {
			about = f.Class
		}
		if _, there := rules[about]; !there {
			order = append(order, about)
		}
		rules[about] = about + "=" + string(take)
	}
	args := []string{"plan", plan.Run}
	for _, about := range order {
		args = append(args, "--policy", rules[about])
	}
	return a.commandLine(args...)
}

// asking is the questions about findings that the policy leaves to a person.
type asking struct {
	m       *mending
	s       *session
	pol     *finding.Policy
	waiting map[string]int            // findings of a class that are still to be asked about
	same    map[string]finding.Action // what was said about the rest of a class
	each    map[string]bool           // classes whose findings are to be asked about one by one
}

// askEach puts the findings that the policy leaves to a person to the person, and adds the answers to the policy.
func (m *mending) askEach(ctx context.Context, s *session, pol *finding.Policy) error {
	q := &asking{m: m, s: s, pol: pol, waiting: map[string]int{}, same: map[string]finding.Action{}, each: map[string]bool{}}
	if err := q.every(func(f *finding.Finding) error { q.waiting[f.Class]++; return nil }); err != nil || len(q.waiting) == 0 {
		return err
	}
	if pol.BySeq == nil {
		pol.BySeq = map[int]finding.Action{}
	}
	return q.every(func(f *finding.Finding) error { return q.about(ctx, f) })
}

// every calls do for each finding that waits for a person.
func (q *asking) every(do func(*finding.Finding) error) error {
	for f, err := range toRepair(q.m.run) {
		if err != nil {
			return err
		}
		if f.Counts() && q.pol.Decide(&f) == finding.Interact {
			if err := do(&f); err != nil {
				return err
			}
		}
	}
	return nil
}

// about decides one finding.
func (q *asking) about(ctx context.Context, f *finding.Finding) error {
	q.waiting[f.Class]--
	offers := q.offers(f)
	if a, ok := q.same[f.Class]; ok && slices.Contains(offers, a) {
		q.pol.BySeq[f.Seq] = a
		return nil
	}
	answers := make([]answer, len(offers))
	for i, a := range offers {
		answers[i] = answer{rune('1' + i), string(a)}
	}
	key, err := q.m.app.ask(ctx, fmt.Sprintf("#%d %s: %s.", f.Seq, f.PathOr(f.Subject), strings.TrimRight(f.Title, ".")), answers...)
	if err != nil {
		return err
	}
	if key == quit {
		return errQuit
	}
	action := offers[key-'1']
	q.pol.BySeq[f.Seq] = action
	n := q.waiting[f.Class]
	if n == 0 || q.each[f.Class] {
		return nil
	}
	key, err = q.m.app.ask(ctx, fmt.Sprintf("The same for the other %s of class %s?", say.Count(n, "finding"), f.Class), answer{'y', "yes"}, answer{'n', "no"})
	switch {
	case err != nil:
		return err
	case key == quit:
		return errQuit
	case key == 'y':
		q.same[f.Class] = action
	default:
		q.each[f.Class] = true
	}
	return nil
}

// offers lists what can be chosen for f, at most nine: what it offers, without what cannot be undone (that has to be asked
// for by name), and to leave it.
func (q *asking) offers(f *finding.Finding) []finding.Action {
	c, _ := q.s.sys.Classes().Lookup(f.Class)
	var out []finding.Action
	for _, a := range f.Actions {
		if doc, ok := c.Doc(a); ok && !doc.Irreversible && len(out) < 8 {
			out = append(out, a)
		}
	}
	return append(out, finding.Ignore)
}
