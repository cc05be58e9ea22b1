package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"fettle/internal/finding"
	"fettle/internal/report"
	"fettle/internal/say"
)

func (a *App) newExplain() *cobra.Command {
	return verb(cobra.Command{
		Use:   "explain CLASS|RUN#SEQ",
		Short: "Explain a class of findings, or one finding",
		Long: `Explains a class: what it is, how it comes about, what the system does with it, and what each action does and loses.
With RUN#SEQ (or just #SEQ, for the newest run) it shows one finding with its evidence first.`,
		Example: `  fettle explain flux/dangling-valref
  fettle explain last#3
  fettle explain '#3'`,
		Args:              wants(1, 1, "a class or RUN#SEQ"),
		ValidArgsFunction: a.completeClasses,
		RunE: func(_ *cobra.Command, args []string) error {
			if run, seq, ok := strings.Cut(args[0], "#"); ok {
				return a.explainFinding(run, seq)
			}
			c, ok := a.lookupClass(args[0])
			if !ok {
				return usagef(a.classHint(args[0]), "unknown class %q", args[0])
			}
			if a.json {
				return a.line(classLine(c))
			}
			a.explainClass(c)
			return nil
		},
	}, exitClean, exitError, exitUsage)
}

func (a *App) explainFinding(run, number string) error {
	seq, err := strconv.Atoi(number)
	if err != nil || seq < 1 {
		return usagef("the number in front of a finding, as in last#3", "%q is not the number of a finding", number)
	}
	if run == "" {
		run = last
	}
	r, err := a.findInForce(run)
	if err != nil {
		return err
	}
	f, err := r.Finding(seq)
	if err != nil {
		return err
	}
	if a.json {
		return a.line(f)
	}
	if a.quiet {
		return nil
	}
	report.Block(a.Out, &f, a.outStyle())
	if f.CausedBy != nil {
		a.print("      follows from %s#%d", r.ID(), *f.CausedBy)
	}
	if len(f.Actions) > 0 {
		offered := make([]string, 0, len(f.Actions)+1)
		for _, act := range f.Actions {
			if act != finding.Ignore { // offered always, and last
				offered = append(offered, say.Clean(string(act)))
			}
		}
		a.print("      offered: %s", strings.Join(append(offered, string(finding.Ignore)), ", "))
	}
	a.print("")
	if c, ok := a.classes().Lookup(f.Class); ok {
		a.explainClass(c)
	}
	return nil
}

func (a *App) explainClass(c finding.Class) {
	st := a.outStyle()
	a.print("%s  %s", st.Bold(c.ID), c.Title)
	line := fmt.Sprintf("severity %s, shape %s", st.Severity(c.Severity, string(c.Severity)), c.Shape)
	if len(c.Aliases) > 0 {
		line += ", also known as " + strings.Join(c.Aliases, ", ")
	}
	a.print("%s\n", line)
	a.print("%s\n", wrap(c.Explain, 100, ""))
	if len(c.DependsOn) > 0 {
		a.print("Where it only follows from %s, that finding stands for it.\n", strings.Join(c.DependsOn, ", "))
	}
	if len(c.Actions) == 0 {
		a.print("Nothing can be done about it here.")
		return
	}
	a.print("Actions, the default first:")
	for _, d := range c.Actions {
		a.print("  %s%s", st.Bold(string(d.Action)), irreversible(d))
		a.print("%s", wrap(d.Does, 96, "    "))
		a.print("%s", wrap("loses: "+orNothing(d.Loses), 96, "    "))
	}
}

// wrap breaks text into lines of at most width characters, each with the indent in front. Empty lines stay.
func wrap(text string, width int, indent string) string {
	var out []string
	for _, par := range strings.Split(strings.TrimSpace(text), "\n") {
		line := ""
		for _, w := range strings.Fields(par) {
			if line != "" && len([]rune(line))+1+len([]rune(w)) > width-len(indent) {
				out = append(out, indent+line)
				line = ""
			}
			if line != "" {
				line += " "
			}
			line += w
		}
		out = append(out, indent+line)
	}
	return strings.Join(out, "\n")
}
