package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/say"
	"fettle/internal/store"
)

// policyFlags say which actions to take.
type policyFlags struct {
	rules []string
	file  string
}

func (p *policyFlags) add(f *pflag.FlagSet) {
	f.StringArrayVar(&p.rules, "policy", nil, "`RULE` CLASS=ACTION, SEQ=ACTION, PATTERN=ACTION or ACTION; the most specific wins (repeatable)")
	f.StringVar(&p.file, "policy-file", "", "read rules from `FILE`, one per line; --policy overrides them")
}

// given tells whether the user said anything about the policy.
func (p *policyFlags) given() bool { return len(p.rules) > 0 || p.file != "" }

// words are the flags again, as they were given.
func (p *policyFlags) words() []string {
	var out []string
	if p.file != "" {
		out = append(out, "--policy-file", p.file)
	}
	for _, r := range p.rules {
		out = append(out, "--policy", r)
	}
	return out
}

// all lists the rules of the file and then those of the command line.
func (p *policyFlags) all() ([]string, error) {
	var out []string
	if p.file != "" {
		lines, err := readLines(p.file)
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			k, v, ok := strings.Cut(l, "=")
			if ok {
				l = strings.TrimSpace(k) + "=" + strings.TrimSpace(v)
			}
			out = append(out, l)
		}
	}
	return append(out, p.rules...), nil
}

// policy parses the rules for the classes of a system.
func (a *App) policy(p *policyFlags, sys store.System, more ...string) (finding.Policy, error) {
	rules, err := p.all()
	if err != nil {
		return finding.Policy{}, err
	}
	pol, err := finding.ParsePolicy(append(append([]string{}, more...), rules...), sys.Classes())
	if err != nil {
		return pol, fault.NewUsage(err, "fettle explain CLASS lists the actions of a class")
	}
	return pol, nil
}

func (a *App) newPolicy() *cobra.Command {
	var f policyFlags
	var system string
	c := verb(cobra.Command{
		Use:   "policy [RUN]",
		Short: "Show what a policy would decide",
		Long: `Shows which action a policy takes: for every class, or for the findings of a run, counted by class and action (with --json
one line per finding). A wrong rule is an error, so this also validates a policy file.

A policy is a list of rules. SEQ=ACTION is about one finding of a run, CLASS=ACTION about a class, PATTERN=ACTION about all
classes that match, and ACTION alone about everything else. Without rules every finding's own suggestion is taken.
"interact" leaves a finding to a person: until it is decided, nothing of its unit is repaired. "ignore" leaves it alone,
"default" takes the suggestion.`,
		Example: `  fettle policy --policy 'flux/*=restore' --policy 7=ignore last
  fettle policy --policy-file site.policy`,
		Args:              wants(0, 1, ""),
		ValidArgsFunction: a.completeRuns,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				return a.policyOfRun(args[0], &f)
			}
			return a.policyOfClasses(system, &f)
		},
	}, exitClean, exitError, exitUsage)
	f.add(c.Flags())
	c.Flags().StringVar(&system, "system", "", "only the classes of `SYSTEM`")
	return c
}

func (a *App) policyOfClasses(system string, f *policyFlags) error {
	systems := a.Systems
	if system != "" {
		s, ok := a.system(system)
		if !ok {
			return usagef(a.supported(), "unknown system %q", system)
		}
		systems = []store.System{s}
	}
	rules, err := f.all()
	if err != nil {
		return err
	}
	all := a.classes()
	pol, err := finding.ParsePolicy(rules, all)
	if err != nil {
		return fault.NewUsage(err, "fettle explain CLASS lists the actions of a class")
	}
	for _, s := range systems {
		for _, c := range s.Classes() {
			probe := finding.Finding{Class: c.ID, Severity: c.Severity, Actions: c.ActionNames(), Suggested: c.Default()}
			act := pol.Decide(&probe)
			if a.json {
				if err := a.line(decision{Type: "decision", Schema: 1, Class: c.ID, Action: act}); err != nil {
					return err
				}
				continue
			}
			a.print("%-36s  %s", c.ID, act)
		}
	}
	return nil
}

// decision is one line of fettle policy --json.
type decision struct {
	Type   string         `json:"type"`
	Schema int            `json:"schema"`
	Run    string         `json:"run,omitempty"`
	Seq    int            `json:"seq,omitempty"`
	Class  string         `json:"class"`
	Action finding.Action `json:"action"`
}

func (a *App) policyOfRun(name string, f *policyFlags) error {
	r, err := a.findInForce(name)
	if err != nil {
		return err
	}
	sys, err := a.systemOf(r.ID(), r.Spec().System)
	if err != nil {
		return err
	}
	pol, err := a.policy(f, sys)
	if err != nil {
		return err
	}
	type key struct {
		class  string
		action finding.Action
	}
	counts := map[key]int{}
	var order []key
	for fi, err := range real(r) {
		if err != nil {
			return err
		}
		if fi.Accepted {
			continue
		}
		act := pol.Decide(&fi)
		if a.json {
			if err := a.line(decision{"decision", 1, r.ID(), fi.Seq, fi.Class, act}); err != nil {
				return err
			}
			continue
		}
		k := key{fi.Class, act}
		if counts[k]++; counts[k] == 1 {
			order = append(order, k)
		}
	}
	for _, k := range order {
		act := string(k.action)
		if act == "" {
			act = "ignore"
		}
		a.print("%6d  %-36s  %s", counts[k], say.Clean(k.class), say.Clean(act))
	}
	if len(order) == 0 && !a.json {
		a.print("%s", fmt.Sprintf("run %s has no findings", r.ID()))
	}
	return nil
}
