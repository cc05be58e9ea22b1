package cli

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"fettle/internal/fault"
	"fettle/internal/report"
	"fettle/internal/runs"
)

// reportFlags choose the form of a report.
type reportFlags struct {
	html, sarif, junit, lfsck bool
	out                       string
	most                      int
}

func (a *App) newReport() *cobra.Command {
	var f reportFlags
	c := verb(cobra.Command{
		Use:   "report RUN",
		Short: "Write a run as text, HTML, JSON, SARIF, JUnit or LFSCK's counters",
		Long: `Writes the findings and the summary of a run in a form to read or to hand on: text (the default), one self-contained HTML
page, JSON lines (--json), SARIF 2.1.0 or JUnit XML.

--lfsck writes a check of a Lustre file system as fettle status --format lfsck does.`,
		Example: `  fettle report last --html -o report.html
  fettle report last --sarif -o fettle.sarif
  fettle report last --json | jq .
  fettle report last --lfsck | awk '/_inconsistent: [1-9]/'`,
		Args:              wants(1, 1, "a run"),
		ValidArgsFunction: a.completeRuns,
		RunE:              func(_ *cobra.Command, args []string) error { return a.report(args[0], &f) },
	}, exitClean, exitError, exitUsage)
	p := c.Flags()
	p.BoolVar(&f.html, "html", false, "one self-contained HTML page")
	p.BoolVar(&f.sarif, "sarif", false, "SARIF 2.1.0")
	p.BoolVar(&f.junit, "junit", false, "JUnit XML")
	p.BoolVar(&f.lfsck, "lfsck", false, "the fields of LFSCK's lfsck_namespace, for runs on Lustre")
	p.StringVarP(&f.out, "output", "o", "", "write to `FILE` instead of standard output")
	p.IntVar(&f.most, "max", 0, "show at most `N` findings of a class in text and HTML")
	return c
}

func (a *App) report(run string, f *reportFlags) error {
	n := 0
	for _, b := range []bool{f.html, f.sarif, f.junit, f.lfsck, a.json} {
		if b {
			n++
		}
	}
	if n > 1 {
		return usagef("give one of --html, --json, --sarif, --junit, --lfsck", "only one format at a time")
	}
	if f.most < 0 {
		return usagef("", "--max %d makes no sense", f.most)
	}
	r, err := a.findInForce(run)
	if err != nil {
		return err
	}
	src, sum, err := a.sourceOf(r)
	if err != nil {
		return err
	}
	if f.most > 0 {
		src.Max = f.most
	}
	return a.toFile(f.out, func(w io.Writer) error {
		switch {
		case f.html:
			return report.HTML(w, src)
		case f.sarif:
			return report.SARIF(w, src)
		case f.junit:
			return report.JUnit(w, src)
		case f.lfsck:
			return lfsckReport(w, r)
		case a.json:
			if err := report.Lines(w, src.Each()); err != nil {
				return err
			}
			return writeLine(w, sum)
		case f.out != "":
			return report.Text(w, src, report.Style{})
		}
		return report.Text(w, src, a.outStyle())
	})
}

// sourceOf is a run ready to be rendered, also one that has not ended.
func (a *App) sourceOf(r *runs.Run) (*report.Source, runs.Summary, error) {
	sys, err := a.systemOf(r.ID(), r.Spec().System)
	if err != nil {
		return nil, runs.Summary{}, err
	}
	sum, err := r.Summary()
	if errors.Is(err, os.ErrNotExist) {
		st, err := r.Status()
		if err != nil {
			return nil, sum, err
		}
		sum = runs.Summary{Type: "summary", Schema: runs.Schema, Run: r.ID(), State: st.State, Verdict: "incomplete", Findings: st.Findings,
			Seconds: st.Elapsed, Notes: []string{"the check has not ended"}}
	} else if err != nil {
		return nil, sum, err
	}
	return a.source(r, sum, sys), sum, nil
}

// toFile writes to the file path, whole or not at all, or to standard output if path is "".
func (a *App) toFile(path string, write func(io.Writer) error) (err error) {
	if path == "" {
		return write(a.Out)
	}
	wrap := func(err error) error {
		if err == nil {
			return nil
		}
		return &fault.Error{Op: "write", Where: path, Err: err}
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return wrap(err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriter(f)
	if err = write(w); err == nil {
		err = wrap(w.Flush())
	}
	if err == nil {
		err = wrap(f.Chmod(0o644))
	}
	if cerr := f.Close(); err == nil {
		err = wrap(cerr)
	}
	if err == nil {
		err = wrap(os.Rename(f.Name(), path))
	}
	if err == nil {
		a.say("wrote %s", path)
	}
	return err
}
