package repair

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"sort"
	"strconv"
	"time"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/store"
)

// MakeConfig says what a plan is made of.
type MakeConfig struct {
	Run      string
	Store    string // the location, as the user wrote it
	Units    []store.Planner
	Findings iter.Seq2[finding.Finding, error] // in order of their numbers; see Slice. Planners get them without their evidence
	Policy   finding.Policy
	WorkDir  func(unit string) (string, error) // an existing scratch directory for the unit; see WorkDirs
	Now      func() time.Time                  // nil is time.Now
}

// Slice makes the findings of a MakeConfig from what is in memory.
func Slice(fs []finding.Finding) iter.Seq2[finding.Finding, error] {
	return func(yield func(finding.Finding, error) bool) {
		for _, f := range fs {
			if !yield(f, nil) {
				return
			}
		}
	}
}

// Make decides every finding by the policy, reads again those that are to be repaired, and lets each unit's Planner say
// how. Nothing is written to the store. Findings left alone (ignore, no action offered, or accepted and not decided on by
// number) are listed as pending, those that no longer hold as gone. A finding that waits for a person (interact) parks its
// unit, which gets no steps; the other units go on. Every unit with at least one finding is in the plan, in the order of Units.
func Make(ctx context.Context, cfg MakeConfig) (*Plan, error) {
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	p := &Plan{Type: "plan", Schema: PlanSchema, Run: cfg.Run, Created: now().UTC(), Store: cfg.Store, Policy: Rules(cfg.Policy)}
	units := make(map[string]store.Planner, len(cfg.Units))
	for _, u := range cfg.Units {
		if units[u.ID()] != nil {
			return nil, &fault.Error{Op: "plan", Where: u.ID(), Err: errors.New("two units have this name")}
		}
		units[u.ID()] = u
	}
	byUnit := map[string][]finding.Finding{}
	same := lean{}
	for f, err := range cfg.Findings {
		if err != nil {
			return nil, fmt.Errorf("plan: read findings: %w", err)
		}
		if units[f.Unit] == nil {
			return nil, &fault.Error{Op: "plan", Where: fmt.Sprintf("finding %d", f.Seq), Err: fmt.Errorf("its unit %q is not in the store", f.Unit),
				Hint: "the store is not the one that was checked, or its layout changed: check it again"}
		}
		same.strip(&f)
		byUnit[f.Unit] = append(byUnit[f.Unit], f)
	}
	for _, u := range cfg.Units {
		fs := byUnit[u.ID()]
		if len(fs) == 0 {
			continue
		}
		delete(byUnit, u.ID()) // the unit's decisions are all that is needed of them
		planned, err := makeUnit(ctx, &cfg, u, fs)
		if err != nil {
			return nil, fmt.Errorf("plan unit %s: %w", u.ID(), err)
		}
		p.Units = append(p.Units, *planned)
	}
	if err := p.valid(); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return p, p.Seal()
}

// lean keeps the findings of a plan small, which are all in memory: words that most of them have in common are there once.
type lean map[string]string

func (l lean) strip(f *finding.Finding) {
	for _, s := range []*string{&f.Type, &f.Run, &f.Class, &f.Unit, &f.Why, &f.Group} {
		*s = l.once(*s)
	}
	f.Severity, f.Suggested = finding.Severity(l.once(string(f.Severity))), finding.Action(l.once(string(f.Suggested)))
	for i, a := range f.Actions {
		f.Actions[i] = finding.Action(l.once(string(a)))
	}
}

// maxWords bounds how many words are remembered.
const maxWords = 1 << 12

func (l lean) once(s string) string {
	if have, ok := l[s]; ok {
		return have
	}
	if len(l) < maxWords {
		l[s] = s
	}
	return s
}

// propose asks the Planner and checks that it kept to the contract.
func propose(ctx context.Context, cfg *MakeConfig, u store.Planner, decided []store.Decision, out *Unit) error {
	work, err := cfg.WorkDir(u.ID())
	if err != nil {
		return fmt.Errorf("scratch directory: %w", err)
	}
	prop, err := u.Plan(ctx, work, decided)
	if err != nil {
		return err
	}
	if err := validSteps(prop.Steps); err != nil {
		return err
	}
	known := make(map[int]bool, len(decided))
	for _, d := range decided {
		known[d.Finding.Seq] = true
	}
	for _, s := range prop.Steps {
		for _, seq := range s.Findings {
			if !known[seq] {
				return fmt.Errorf("step %d (%s) claims to repair finding %d, which was not decided on", s.ID, s.Title, seq)
			}
		}
	}
	answered := map[int]bool{}
	for _, o := range prop.Outcomes {
		if !known[o.Seq] || answered[o.Seq] {
			return fmt.Errorf("the outcome of finding %d was given twice or not asked for", o.Seq)
		}
		answered[o.Seq] = true
	}
	if len(answered) != len(known) {
		return fmt.Errorf("%d findings were decided but %d have an outcome", len(known), len(answered))
	}
	if len(prop.Steps) > 0 {
		out.Steps = prop.Steps
	}
	out.Outcomes, out.Loss, out.Notes = prop.Outcomes, prop.Loss, append(out.Notes, prop.Notes...)
	return nil
}

// Rules writes a policy in the form that finding.ParsePolicy reads, most specific rule first.
func Rules(p finding.Policy) []string {
	rules := []string{}
	seqs := make([]int, 0, len(p.BySeq))
	for seq := range p.BySeq {
		seqs = append(seqs, seq)
	}
	sort.Ints(seqs)
	for _, seq := range seqs {
		rules = append(rules, strconv.Itoa(seq)+"="+string(p.BySeq[seq]))
	}
	classes := make([]string, 0, len(p.ByClass))
	for c := range p.ByClass {
		classes = append(classes, c)
	}
	sort.Strings(classes)
	for _, c := range classes {
		rules = append(rules, c+"="+string(p.ByClass[c]))
	}
	if p.Fallback != "" {
		rules = append(rules, string(p.Fallback))
	}
	return rules
}

// WorkDirs gives each unit the scratch directory dir/work/UNIT, made on demand. Make, Apply, Resume and Undo of one run
// must all be given the same.
func WorkDirs(dir string) func(unit string) (string, error) {
	return func(unit string) (string, error) {
		path := filepath.Join(dir, "work", fileName(unit))
		return path, mkdirAll(path)
	}
}
