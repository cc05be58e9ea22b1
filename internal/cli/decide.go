package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/repair"
	"fettle/internal/say"
	"fettle/internal/store"
)

// decide makes the plan if there is none, shows it and asks. It returns false when nothing is to be done.
func (m *mending) decide(ctx context.Context, s *session) (bool, error) {
	a := m.app
	asked := false
	if m.plan == nil {
		if m.resume {
			return false, usagef("start it with: "+a.commandLine("apply", m.run.ID()), "run %s has no repair to resume", m.run.ID())
		}
		if !m.flags.yes && !a.interactive() {
			return false, usagef("make one with: "+a.commandLine("plan", m.run.ID()), "run %s has no plan", m.run.ID())
		}
		if err := s.ready(); err != nil {
			return false, err
		}
		rules, err := m.choose(ctx, s)
		if err != nil {
			return false, err
		}
		asked = !m.flags.yes
		pol, err := a.policy(&m.policy, s.sys, rules...)
		if err != nil {
			return false, err
		}
		if !m.flags.yes {
			if err := m.askEach(ctx, s, &pol); err != nil {
				return false, err
			}
		}
		if m.plan, err = s.makePlan(ctx, pol); err != nil {
			return false, err
		}
		if err := m.plan.Save(m.run.File(repair.PlanFile)); err != nil {
			return false, &fault.Error{Op: "plan", Err: err}
		}
	}
	if m.plan.Steps() == 0 {
		return false, nil
	}
	m.preview()
	if m.resume || m.flags.yes || !a.interactive() {
		return true, nil
	}
	return true, m.confirm(ctx, asked)
}

// preview says in a few lines what will be done and what it costs. What loses something comes first.
func (m *mending) preview() {
	const most = 10
	n := 0
	for _, u := range m.plan.Units {
		what := map[int]string{}
		for _, p := range u.Findings {
			what[p.Seq] = p.What
		}
		var losing, rest []store.Outcome
		for _, o := range u.Outcomes {
			if o.Loses != "" {
				losing = append(losing, o)
			} else {
				rest = append(rest, o)
			}
		}
		for _, o := range append(losing, rest...) {
			if n++; n <= most {
				name := what[o.Seq]
				if name != "" {
					name = " " + say.Clean(name)
				}
				loses := ""
				if o.Loses != "" {
					loses = "; loses " + say.Clean(o.Loses)
				}
				m.app.print("  #%d%s: %s: %s%s", o.Seq, name, say.Clean(string(o.Action)), say.Clean(o.Result), loses)
			}
		}
		if u.Loss.Dropped > 0 {
			m.app.print("  %s: drops %d of %d %s", say.Clean(u.Unit), u.Loss.Dropped, u.Loss.Total, say.Clean(u.Loss.Unit))
		}
		for _, note := range u.Notes {
			m.app.print("  note: %s", say.Clean(note))
		}
	}
	if n > most {
		m.app.print("  and %d more: %s", n-most, m.app.commandLine("plan", m.run.ID(), "--full"))
	}
}

// choose asks how to repair, in the system's own words if it has some. The answer comes as policy rules.
func (m *mending) choose(ctx context.Context, s *session) ([]string, error) {
	if m.flags.yes || m.policy.given() {
		return nil, nil
	}
	question, choices, err := s.choices(ctx)
	if err != nil {
		return nil, err
	}
	answers := make([]answer, len(choices))
	for i, c := range choices {
		answers[i] = answer{c.Key, c.Label}
	}
	key, err := m.app.ask(ctx, question, answers...)
	if err != nil {
		return nil, err
	}
	for _, c := range choices {
		if c.Key == key {
			return c.Policy, nil
		}
	}
	return nil, errQuit
}

// confirm asks before the first write. asked means that the way of repair has been chosen already: then only a loss above
// the threshold is worth another question.
func (m *mending) confirm(ctx context.Context, asked bool) error {
	limit, err := m.flags.threshold()
	if err != nil {
		return err
	}
	var over []string
	for _, u := range m.plan.Units {
		if !limit.Allows(u.Loss) {
			over = append(over, fmt.Sprintf("%d of %d %s", u.Loss.Dropped, u.Loss.Total, u.Loss.Unit))
		}
	}
	question := say.Count(m.plan.Steps(), "step") + "."
	if len(over) > 0 {
		question = "This drops " + strings.Join(over, ", ") + "."
	} else if asked {
		return nil
	}
	answers := []answer{{'y', "repair"}, {'d', "show every change"}}
	if len(over) > 0 { // an empty line must not accept a loss
		answers = []answer{{quit, "quit"}, answers[0], answers[1]}
	}
	for {
		key, err := m.app.ask(ctx, question, answers...)
		switch {
		case err != nil:
			return err
		case key == 'd':
			if err := m.plan.WriteDiff(m.app.Out); err != nil {
				return err
			}
			continue
		case key != 'y':
			return errQuit
		}
		if len(over) > 0 { // a person has seen the loss and accepted it
			m.flags.maxLoss = "100%"
		}
		return nil
	}
}

// allowed turns --allow CLASS/ACTION into the actions that the engine may take although they cannot be undone, and refuses
// when the plan would take such an action for another class.
func (m *mending) allowed(s *session) ([]string, error) {
	var actions []string
	byAction := map[string][]string{}
	for _, text := range m.flags.allow {
		i := strings.LastIndexByte(text, '/')
		c, ok := s.sys.Classes().Lookup(text[:max(i, 0)])
		if i < 0 || !ok || !c.Offers(finding.Action(text[i+1:])) {
			return nil, usagef("fettle classes and fettle explain CLASS list them", "--allow %q is not CLASS/ACTION", text)
		}
		actions = append(actions, text[i+1:])
		byAction[text[i+1:]] = append(byAction[text[i+1:]], c.ID)
	}
	for _, u := range m.plan.Units {
		for _, st := range u.Steps {
			if !st.Irreversible {
				continue
			}
			for _, seq := range st.Findings {
				for _, p := range u.Findings {
					if p.Seq == seq && !slices.Contains(byAction[string(p.Action)], p.Class) {
						return nil, &fault.Error{Op: fmt.Sprintf("apply step %d", st.ID), Where: u.Unit, Err: fmt.Errorf("%w: %s", repair.ErrIrreversible, st.Title),
							Kind: fault.Unrepaired, Hint: "if it is really meant: " + m.app.commandLine("apply", m.run.ID(), "--allow", p.Class+"/"+string(p.Action))}
					}
				}
			}
		}
	}
	return actions, nil
}
