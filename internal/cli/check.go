package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fettle/internal/check"
	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/report"
	"fettle/internal/runs"
	"fettle/internal/store"
)

// checkFlags are the flags of fettle check.
type checkFlags struct {
	repair     bool
	rate       int64
	rateBytes  size
	baseline   string
	skip       []string
	severities []string
	interval   time.Duration
	settings
	policyFlags
	applyFlags
}

func (a *App) newCheck() *cobra.Command {
	var f checkFlags
	c := verb(cobra.Command{
		Use:   "check STORE...",
		Short: "Check stores, read-only",
		Long: `Checks stores and says what is wrong with them, in their users' own terms. A check never writes to a store.

Every store gets a run of its own, which keeps the findings. The last lines are the verdict and the next command to type.
Ctrl-C stops at the next safe point; fettle resume goes on from there. Several stores are checked one after the other and
their exit codes are OR-ed.

With --repair everything that was found is then repaired by the policy (as fettle plan and fettle apply would), and the
store is checked again.

With --json there is one line per finding on standard output, and a summary line at the end.`,
		Example: `  fettle check /var/lib/flux/content.sqlite
  fettle check --repair -y --max-loss 1% flux:/var/lib/flux
  fettle check --json content.sqlite | jq -r 'select(.type=="finding").path'
  fettle check --severity 'job.*.guest.*=info' --skip 'tmp.*' content.sqlite
  fettle check --rate-bytes 50MiB --checkpoint 7 content.sqlite`,
		Args: wants(1, -1, "a store"),
		RunE: func(c *cobra.Command, args []string) error { return a.check(c.Context(), args, &f) },
	}, exitClean, exitRepaired, exitUnrepaired, exitError, exitUsage, exitCancelled)
	p := c.Flags()
	p.BoolVar(&f.repair, "repair", false, "repair what is found, by the policy, and check again")
	p.Int64Var(&f.rate, "rate", 0, "read at most `N` records per second (0: no limit)")
	p.Var(&f.rateBytes, "rate-bytes", "read at most so many bytes per second (0: no limit)")
	p.StringVar(&f.baseline, "baseline", "", "accept the findings listed in `FILE` (lines: CLASS PATH-OR-SUBJECT)")
	p.StringArrayVar(&f.skip, "skip", nil, "do not report keys that match `PATTERN` (repeatable)")
	p.StringArrayVar(&f.severities, "severity", nil, "`RULE` CLASS[:KEY]=SEVERITY or KEY=SEVERITY, the first that fits decides (repeatable)")
	p.DurationVar(&f.interval, "checkpoint-every", check.DefaultInterval, "make a checkpoint every `DURATION`, which is about what is lost when the check is killed")
	f.settings.add(p)
	f.policyFlags.add(p)
	f.applyFlags.add(p)
	return c
}

// job is one store to be checked.
type job struct {
	sys      store.System
	spec     runs.Spec
	baseline *check.Baseline
	rules    []check.SeverityRule
}

func (a *App) check(ctx context.Context, stores []string, f *checkFlags) error {
	if _, err := f.threshold(); err != nil {
		return err
	}
	if !f.repair && (f.given() || f.yes || len(f.allow) > 0) {
		return usagef("add --repair, or give it to fettle plan or fettle apply", "--policy, --policy-file, --yes and --allow are about repairs")
	}
	if f.repair && !f.yes && !a.interactive() {
		return usagef("add --yes to repair without being asked", "--repair has to ask, but this is no terminal")
	}
	dir, err := a.runsDir()
	if err != nil {
		return err
	}
	// Everything that can be wrong with the command line is found before the first store is touched.
	jobs := make([]*job, 0, len(stores))
	for _, text := range stores {
		j, err := a.prepare(text, f)
		if err != nil {
			return err
		}
		jobs = append(jobs, j)
	}
	code := exitClean
	for i, j := range jobs {
		if i > 0 {
			a.print("")
		}
		c, err := a.checkOne(ctx, dir, j, f)
		a.complain(err)
		code |= c | exitOfError(err)
		if code&exitCancelled != 0 {
			break
		}
	}
	return exit(code)
}

// prepare turns the command line into the spec of a run.
func (a *App) prepare(text string, f *checkFlags) (*job, error) {
	sys, loc, err := a.locate(text)
	if err != nil {
		return nil, err
	}
	set, err := f.values()
	if err != nil {
		return nil, err
	}
	j := &job{sys: sys}
	j.spec = runs.Spec{Version: a.Version, Store: text, System: sys.Name(), Paths: loc.Paths, Settings: set, Skip: f.skip,
		Memory: int64(a.memory), Workers: a.workers, Rate: f.rate, RateBytes: int64(f.rateBytes), Interval: f.interval,
		Severities: keyRules(f.severities, sys.Classes())}
	if f.baseline != "" {
		if j.spec.Baseline, err = filepath.Abs(f.baseline); err != nil {
			return nil, &fault.Error{Op: "find baseline", Err: err}
		}
	}
	if f.rate < 0 || f.interval < 0 {
		return nil, usagef("", "rates and intervals cannot be negative")
	}
	if f.given() {
		if _, err := a.policy(&f.policyFlags, sys); err != nil {
			return nil, err
		}
	}
	return j, j.parse()
}

// parse reads what the spec names; it is also how a resumed run gets them again.
func (j *job) parse() (err error) {
	if j.rules, err = check.ParseSeverities(j.spec.Severities, j.sys.Classes()); err != nil {
		return err
	}
	if j.spec.Baseline != "" {
		j.baseline, err = check.ReadBaseline(j.spec.Baseline, j.sys.Classes())
	}
	return err
}

// keyRules turns rules that name only a key into rules about that key in every class.
func keyRules(rules []string, classes finding.Classes) []string {
	out := make([]string, len(rules))
	for i, r := range rules {
		out[i] = r
		eq := strings.LastIndexByte(r, '=')
		if eq < 0 {
			continue
		}
		class, _, _ := strings.Cut(r[:eq], ":")
		if _, ok := classes.Lookup(class); !ok && class != "*" && !strings.Contains(class, "/") {
			out[i] = "*:" + r
		}
	}
	return out
}

func (a *App) checkOne(ctx context.Context, dir *runs.Dir, j *job, f *checkFlags) (int, error) {
	// The store is opened before the run is made, so that a wrong path leaves no run behind.
	st, err := j.sys.Open(ctx, j.spec.Location(), j.spec.Options())
	if err != nil {
		return exitClean, err
	}
	r, err := dir.New(j.spec)
	if err != nil {
		st.Close()
		return exitClean, err
	}
	sum, err := a.runCheck(ctx, r, j, st, false)
	st.Close() // opened read-only: nothing can be lost
	if err != nil {
		return exitClean, err
	}
	if f.repair && sum.Verdict == finding.Damaged {
		if err := a.showRunText(r, sum, j.sys, nil); err != nil {
			return exitError, err
		}
		return a.repairFound(ctx, r, f)
	}
	if a.json {
		return exitOf(sum.Verdict), a.line(sum)
	}
	return exitOf(sum.Verdict), a.showRunText(r, sum, j.sys, a.next(r, sum))
}

// engine runs the check engine on an open store, with progress.
func (a *App) engine(ctx context.Context, r *runs.Run, j *job, st store.Store, resume bool, each func(finding.Finding)) (runs.Summary, error) {
	spec := r.Spec()
	show := a.newProgress(r.ID())
	defer show.end()
	return check.Run(ctx, check.Config{Store: st, Classes: j.sys.Classes(), Run: r, Memory: spec.Memory, Workers: spec.Workers, Rate: spec.Rate,
		RateBytes: spec.RateBytes, Interval: spec.Interval, Resume: resume, Severities: j.rules, Baseline: j.baseline,
		OnProgress: show.update, OnFinding: each})
}

// runCheck runs a check and prints its findings as JSON lines if wanted. When the check did not end it also prints what is
// known, and says how to go on.
func (a *App) runCheck(ctx context.Context, r *runs.Run, j *job, st store.Store, resume bool) (runs.Summary, error) {
	var lineErr error
	var each func(finding.Finding)
	if a.json {
		each = func(f finding.Finding) {
			if lineErr == nil {
				lineErr = a.line(f)
			}
		}
	}
	sum, err := a.engine(ctx, r, j, st, resume, each)
	if err == nil && lineErr != nil {
		err = &fault.Error{Op: "write findings", Where: "standard output", Err: lineErr, Hint: "the run has them: " + a.commandLine("findings", r.ID())}
	}
	if err == nil || sum.Type == "" {
		return sum, err
	}
	if a.json {
		err = errors.Join(err, a.line(sum))
	} else if terr := a.showRunText(r, sum, j.sys, a.next(r, sum)); terr != nil {
		err = errors.Join(err, terr)
	}
	if errors.Is(err, check.ErrStopped) {
		return sum, &fault.Error{Op: "check", Where: j.spec.Store, Err: check.ErrStopped, Kind: fault.Cancelled, Hint: "go on with: " + a.commandLine("resume", r.ID())}
	}
	return sum, err
}

// checkMax is how many findings of a class a check shows in full, so that the verdict is not lost behind hundreds of them;
// each section names the command that shows the rest.
const checkMax = 10

// showRunText prints a run for people; nothing with --json or --quiet.
func (a *App) showRunText(r *runs.Run, sum runs.Summary, sys store.System, next []string) error {
	if a.json || a.quiet {
		return nil
	}
	src := a.source(r, sum, sys)
	src.Next = next
	src.Max = checkMax
	return report.Text(a.Out, src, a.outStyle())
}

// readLines reads a small text file: one entry per line, # begins a comment.
func readLines(path string) ([]string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, &fault.Error{Op: "read", Err: err, Kind: fault.Usage}
	}
	var out []string
	for _, l := range strings.Split(string(raw), "\n") {
		if l = strings.TrimSpace(l); l != "" && l[0] != '#' {
			out = append(out, l)
		}
	}
	return out, nil
}
