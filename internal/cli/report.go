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

func (a *App) newReport() *cobra.Command {
	var html, sarif, junit bool
	var out string
	var most int
	c := verb(cobra.Command{
		Use:   "report RUN",
		Short: "Write a run as text, HTML, JSON, SARIF or JUnit",
		Long: `Writes the findings and the summary of a run in a form to read or to hand on: text (the default), one self-contained HTML
page, JSON lines (--json), SARIF 2.1.0 or JUnit XML.`,
		Example: `  fettle report last --html -o report.html
  fettle report last --sarif -o fettle.sarif
  fettle report last --json | jq .`,
		Args:              wants(1, 1, "a run"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(_ *cobra.Command, args []string) error {
			n := 0
			for _, b := range []bool{html, sarif, junit, a.json} {
				if b {
					n++
				}
			}
			if n > 1 {
				return usagef("give one of --html, --json, --sarif, --junit", "only one format at a time")
			}
			if most < 0 {
				return usagef("", "--max %d makes no sense", most)
			}
			r, err := a.findRun(args[0])
			if err != nil {
				return err
			}
			src, sum, err := a.sourceOf(r)
			if err != nil {
				return err
			}
			if most > 0 {
				src.Max = most
			}
			switch {
			case html:
				return a.toFile(out, func(w io.Writer) error { return report.HTML(w, src) })
			case sarif:
				return a.toFile(out, func(w io.Writer) error { return report.SARIF(w, src) })
			case junit:
				return a.toFile(out, func(w io.Writer) error { return report.JUnit(w, src) })
			case a.json:
				return a.toFile(out, func(w io.Writer) error {
					if err := report.Lines(w, src.Each()); err != nil {
						return err
					}
					return writeLine(w, sum)
				})
			}
			st := a.outStyle()
			if out != "" {
				st = report.Style{}
			}
			return a.toFile(out, func(w io.Writer) error { return report.Text(w, src, st) })
		},
	}, exitClean, exitError, exitUsage)
	f := c.Flags()
	f.BoolVar(&html, "html", false, "one self-contained HTML page")
	f.BoolVar(&sarif, "sarif", false, "SARIF 2.1.0")
	f.BoolVar(&junit, "junit", false, "JUnit XML")
	f.StringVarP(&out, "output", "o", "", "write to `FILE` instead of standard output")
	f.IntVar(&most, "max", 0, "show at most `N` findings of a class in text and HTML")
	return c
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
