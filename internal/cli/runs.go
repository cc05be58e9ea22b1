package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fettle/internal/fault"
	"fettle/internal/repair"
	"fettle/internal/runs"
	"fettle/internal/say"
)

func (a *App) newRuns() *cobra.Command {
	list := func(*cobra.Command, []string) error { return a.listRuns() }
	return sub(verb(cobra.Command{
		Use:   "runs",
		Short: "List runs, look at one, remove them",
		Long: `Lists the runs that are kept, newest first. A run is a directory of plain files: what was asked for, the findings, the
plan, the journal that makes undo possible. "last" stands for the newest run in every command.`,
		Example: "  fettle runs\n  fettle runs show last\n  fettle runs rm --older-than 30d",
		Args:    wants(0, 0, ""),
		RunE:    list,
	}, exitClean, exitError, exitUsage),
		verb(cobra.Command{
			Use:     "list",
			Short:   "List runs, newest first",
			Example: "  fettle runs list --json | jq -r .id",
			Args:    wants(0, 0, ""),
			RunE:    list,
		}, exitClean, exitError, exitUsage),
		a.newRunsShow(), a.newRunsRemove())
}

// runLine is what is told about a run in one line.
type runLine struct {
	Type    string       `json:"type"`
	Schema  int          `json:"schema"`
	ID      string       `json:"id"`
	Path    string       `json:"path"`
	Started time.Time    `json:"started"`
	State   runs.State   `json:"state"`
	Verdict string       `json:"verdict,omitempty"`
	Found   int          `json:"findings"`
	Repair  repair.State `json:"repair,omitempty"`
	Store   string       `json:"store"`
	Error   string       `json:"error,omitempty"`
}

func describe(r *runs.Run) runLine {
	l := runLine{Type: "run", Schema: 1, ID: r.ID(), Path: r.Path(), Started: r.Spec().Started, Store: r.Spec().Store}
	if err := r.Broken(); err != nil {
		l.State, l.Error = runs.Failed, err.Error()
		return l
	}
	st, err := r.Status()
	if err != nil {
		l.State, l.Error = runs.Failed, err.Error()
		return l
	}
	l.State, l.Error, l.Found = st.State, st.Error, st.Findings
	if sum, err := r.Summary(); err == nil {
		l.Verdict, l.Found = string(sum.Verdict), sum.Findings
	}
	if rep, err := repair.StateOf(r.Path()); err != nil {
		l.Error = err.Error()
	} else {
		l.Repair = rep.State
	}
	return l
}

func (a *App) listRuns() error {
	dir, err := a.runsDir()
	if err != nil {
		return err
	}
	all, err := dir.List()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		a.say("no runs in %s", dir.Path())
	}
	for i, r := range all {
		l := describe(r)
		if a.json {
			if err := a.line(l); err != nil {
				return err
			}
			continue
		}
		if i == 0 {
			a.print("%-19s  %-16s  %-11s  %-10s  %8s  %-13s  %s", "RUN", "STARTED", "STATE", "VERDICT", "FINDINGS", "REPAIR", "STORE")
		}
		what := say.Clean(l.Store)
		if l.Error != "" {
			what += "  (" + say.Clean(l.Error) + ")"
		}
		a.print("%-19s  %-16s  %-11s  %-10s  %8d  %-13s  %s", l.ID, l.Started.Local().Format("2006-01-02 15:04"), l.State,
			orDash(l.Verdict), l.Found, orDash(string(l.Repair)), what)
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *App) newRunsShow() *cobra.Command {
	return verb(cobra.Command{
		Use:               "show RUN",
		Short:             "Show one run: what was asked for, how far it is, what came of it",
		Example:           "  fettle runs show last",
		Args:              wants(1, 1, "a run"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := a.findRun(args[0])
			if err != nil {
				return err
			}
			return a.showRun(r)
		},
	}, exitClean, exitError, exitUsage)
}

// runDetail is everything that is known about a run but its findings.
type runDetail struct {
	Type    string         `json:"type"` // always "run-detail"
	Schema  int            `json:"schema"`
	Path    string         `json:"path"`
	Spec    runs.Spec      `json:"spec"`
	Status  runs.Status    `json:"status"`
	Summary *runs.Summary  `json:"summary"` // null while the check has not ended
	Repair  *repair.Status `json:"repair"`
	Verify  *verification  `json:"verify"` // null if it was not repaired
}

func (a *App) showRun(r *runs.Run) error {
	d := runDetail{Type: "run-detail", Schema: 1, Path: r.Path(), Spec: r.Spec()}
	var err error
	if d.Status, err = r.Status(); err != nil {
		return err
	}
	if d.Repair, err = repair.StateOf(r.Path()); err != nil {
		return err
	}
	if sum, err := r.Summary(); err == nil {
		d.Summary = &sum
	}
	if v, err := readVerification(r); err == nil {
		d.Verify = v
	}
	if a.json {
		return a.line(d)
	}
	a.showDetail(r.ID(), &d)
	return nil
}

func (a *App) showDetail(id string, d *runDetail) {
	a.print("run      %s", id)
	a.print("store    %s (%s)", say.Clean(d.Spec.Store), say.Clean(d.Spec.System))
	a.print("started  %s on %s by fettle %s", d.Spec.Started.Local().Format(time.RFC3339), say.Clean(d.Spec.Host), say.Clean(d.Spec.Version))
	a.print("command  %s", say.Clean(strings.Join(d.Spec.Argv, " ")))
	a.print("files    %s", say.Clean(d.Path))
	a.print("state    %s", d.Status.State)
	if d.Status.Error != "" {
		a.print("error    %s", say.Clean(d.Status.Error))
	}
	if d.Status.State == runs.Running {
		a.print("at       %s", progressLine(d.Status.Progress))
	}
	if d.Summary != nil {
		a.print("verdict  %s, %s", d.Summary.Verdict, say.Count(d.Summary.Findings, "finding"))
	}
	if d.Repair.State != repair.None {
		a.print("repair   %s", d.Repair.State)
		for _, u := range d.Repair.Units {
			for _, s := range u.Steps {
				a.print("  step %d  %-13s  %s  %s", s.Step, s.State, say.Clean(u.Unit), say.Clean(s.Title))
			}
		}
	}
	if d.Verify != nil {
		a.print("checked again by run %s: %s", d.Verify.Run, d.Verify.Verdict)
	}
}

func (a *App) newRunsRemove() *cobra.Command {
	var older string
	var force, all bool
	c := verb(cobra.Command{
		Use:   "rm RUN...",
		Short: "Remove runs",
		Long: `Removes runs with all their files. A run whose repair is applied or was interrupted is kept unless --force is given:
without its journal the repair cannot be undone or completed any more.`,
		Example:           "  fettle runs rm 20260102-030405-abc\n  fettle runs rm --older-than 30d",
		Args:              wants(0, -1, ""),
		ValidArgsFunction: a.completeRuns,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 && older == "" && !all {
				return usagef("fettle runs lists them", "fettle runs rm needs a run, --older-than or --all")
			}
			return a.removeRuns(args, older, all, force)
		},
	}, exitClean, exitError, exitUsage)
	c.Flags().StringVar(&older, "older-than", "", "remove every run older than `AGE`, such as 12h or 30d")
	c.Flags().BoolVar(&all, "all", false, "remove every run")
	c.Flags().BoolVar(&force, "force", false, "also runs whose repair could then not be undone")
	return c
}

func (a *App) removeRuns(names []string, older string, all, force bool) error {
	dir, err := a.runsDir()
	if err != nil {
		return err
	}
	var chosen []*runs.Run
	for _, n := range names {
		r, err := dir.Find(n)
		if err != nil {
			return err
		}
		chosen = append(chosen, r)
	}
	if older != "" || all {
		var age time.Duration
		if older != "" {
			if age, err = parseAge(older); err != nil {
				return err
			}
		}
		list, err := dir.List()
		if err != nil {
			return err
		}
		for _, r := range list {
			if all || time.Since(r.Spec().Started) > age {
				chosen = append(chosen, r)
			}
		}
	}
	kept := 0
	for _, r := range chosen {
		if why := needed(r); why != "" && !force {
			a.warn("%s is kept: %s (--force removes it all the same)", r.ID(), why)
			kept++
			continue
		}
		if err := dir.Remove(r); err != nil {
			return err
		}
		a.say("removed %s", r.ID())
	}
	if kept > 0 {
		return exit(exitError)
	}
	return nil
}

// needed says why a run should not be removed; "" if it may.
func needed(r *runs.Run) string {
	if st, err := r.Status(); err == nil && st.State == runs.Running {
		return "it is running"
	}
	st, err := repair.StateOf(r.Path())
	if err != nil {
		if names, _ := filepath.Glob(r.File("*journal*")); len(names) > 0 {
			return "its journal cannot be read"
		}
		return ""
	}
	switch st.State {
	case repair.None, repair.PlannedState, repair.Undone:
		return ""
	}
	return "its repair is " + string(st.State) + " and could not be undone any more"
}

// parseAge reads a duration in which d stands for days.
func parseAge(text string) (time.Duration, error) {
	days, ok := strings.CutSuffix(text, "d")
	if ok {
		var n int
		if _, err := fmt.Sscanf(days+"$", "%d$", &n); err == nil && n >= 0 && n < 100_000 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fault.NewUsage(fmt.Errorf("--older-than: %q is not an age", text), "for example 12h or 30d")
	}
	return d, nil
}
