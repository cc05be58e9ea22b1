package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/store"
)

// Config says what to score.
type Config struct {
	Kit   *Kit
	Cases []string // names; none means all
	Seeds int      // how many stores, made from the seeds 1, 2, ...; 0 means 1
	Seed  uint64   // the first one; 0 means 1
	Dir   string   // for the stores; "" means a temporary directory. What is made in it is removed.
	// OnTrial is told of every trial as it ends; may be nil.
	OnTrial func(*Trial)
}

// Row is the score of one case over all seeds.
type Row struct {
	Case   string `json:"case"`
	Trials int    `json:"trials"`
	Score
	Repaired int      `json:"repaired"` // findings that a repair was about
	Clean    Ratio    `json:"clean"`    // second checks
	Undone   Ratio    `json:"undone"`
	Errors   []string `json:"errors,omitempty"`
}

// Ratio counts how often something that had to be so was so.
type Ratio struct {
	Good int `json:"good"`
	Of   int `json:"of"`
}

func (r *Ratio) add(o Outcome) {
	switch o {
	case Yes:
		r.Good++
		r.Of++
	case No:
		r.Of++
	}
}

func (r Ratio) String() string {
	if r.Of == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", r.Good, r.Of)
}

// Good tells whether everything in the row is as it must be.
func (r *Row) Good() bool {
	return r.Missed == 0 && r.False == 0 && r.Clean.Good == r.Clean.Of && r.Undone.Good == r.Undone.Of && len(r.Errors) == 0
}

// Report is the outcome of Run.
type Report struct {
	Type   string `json:"type"` // always "score"
	Schema int    `json:"schema"`
	System string `json:"system"`
	Seeds  int    `json:"seeds"`
	Rows   []Row  `json:"rows"`
	Total  Row    `json:"total"`
}

// Run does a trial of every case on every store. An error means that the lab itself failed; failures of what is on trial
// are in the report.
func Run(ctx context.Context, cfg Config) (_ *Report, err error) {
	cases, err := cfg.choose()
	if err != nil {
		return nil, err
	}
	cfg.Seeds, cfg.Seed = max(1, cfg.Seeds), max(1, cfg.Seed)
	if cfg.Dir, err = os.MkdirTemp(cfg.Dir, "fettle-lab-"); err != nil {
		return nil, &fault.Error{Op: "score", Err: err}
	}
	defer os.RemoveAll(cfg.Dir)
	rep := &Report{Type: "score", Schema: 1, System: cfg.Kit.System.Name(), Seeds: cfg.Seeds, Rows: make([]Row, len(cases)), Total: Row{Case: "total"}}
	for i := range cases {
		rep.Rows[i].Case = cases[i].Name
	}
	part := store.Begin(ctx, "score", "scoring", int64(cfg.Seeds)*int64(len(cases)), 0)
	defer part.End()
	ctx = store.WithMeter(ctx, nil) // the parts of a trial are too small to be shown
	for s := range cfg.Seeds {
		seed := cfg.Seed + uint64(s)
		base := filepath.Join(cfg.Dir, "store")
		if err := cfg.Kit.Make(ctx, base, seed); err != nil {
			return nil, err
		}
		for i, c := range cases {
			dir := filepath.Join(cfg.Dir, "trial")
			if err := os.Mkdir(dir, 0o700); err != nil {
				return nil, &fault.Error{Op: "score", Err: err}
			}
			t, err := cfg.Kit.trial(ctx, dir, base, c, seed)
			if err != nil {
				return nil, fmt.Errorf("case %s, seed %d: %w", c.Name, seed, err)
			}
			if err := os.RemoveAll(dir); err != nil {
				return nil, &fault.Error{Op: "score", Err: err}
			}
			part.Did(1, 0)
			rep.Rows[i].add(t)
			rep.Total.add(t)
			if cfg.OnTrial != nil {
				cfg.OnTrial(t)
			}
		}
		if err := os.RemoveAll(base); err != nil {
			return nil, &fault.Error{Op: "score", Err: err}
		}
	}
	return rep, nil
}

// Cases are a healthy store, every recipe by itself, and the kit's own combinations.
func (k *Kit) Cases() []Case {
	out := []Case{{Name: "healthy"}}
	for _, r := range k.Recipes {
		out = append(out, Case{Name: short(r.Class), Injuries: []Injury{{Class: r.Class, Count: 3}}})
	}
	return append(out, k.Mixed...)
}

// short leaves out the system's name.
func short(class string) string { return class[strings.IndexByte(class, '/')+1:] }

func (cfg *Config) choose() ([]Case, error) {
	all := cfg.Kit.Cases()
	if len(cfg.Cases) == 0 {
		return all, nil
	}
	var out []Case
	for _, name := range cfg.Cases {
		n := len(out)
		for _, c := range all {
			if c.Name == short(name) {
				out = append(out, c)
			}
		}
		if len(out) == n {
			var names []string
			for _, c := range all {
				names = append(names, c.Name)
			}
			return nil, fault.NewUsage(fmt.Errorf("nothing to score is called %q", name), "known: "+strings.Join(names, ", "))
		}
	}
	return out, nil
}

func (r *Row) add(t *Trial) {
	r.Trials++
	if t.Comparison != nil {
		r.Score.Add(t.Comparison.Score)
	}
	r.Repaired += t.Findings
	r.Clean.add(t.Clean)
	r.Undone.add(t.Undone)
	if t.Repaired == No {
		r.Clean.Of++
	}
	if t.Error != "" {
		r.Errors = append(r.Errors, fmt.Sprintf("%s, seed %d: %s", t.Case, t.Seed, t.Error))
	}
}

// columns of the table.
var columns = []string{"injury", "stores", "injected", "found", "missed", "false", "repaired", "second check clean", "undone identical"}

func (r *Row) cells() []string {
	n := func(i int) string { return fmt.Sprint(i) }
	return []string{r.Case, n(r.Trials), n(r.Injected), n(r.Found), n(r.Missed), n(r.False), n(r.Repaired), r.Clean.String(), r.Undone.String()}
}

// WriteText writes the table for a terminal, and the errors.
func (rep *Report) WriteText(w io.Writer) error {
	rows := [][]string{columns}
	for i := range rep.Rows {
		rows = append(rows, rep.Rows[i].cells())
	}
	rows = append(rows, rep.Total.cells())
	width := make([]int, len(columns))
	for _, r := range rows {
		for i, c := range r {
			width[i] = max(width[i], len(c))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%-*s", width[0], r[0])
		for i, c := range r[1:] {
			fmt.Fprintf(&b, "  %*s", width[i+1], c)
		}
		b.WriteByte('\n')
	}
	for _, e := range rep.Total.Errors {
		fmt.Fprintf(&b, "error: %s\n", e)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteMarkdown writes the page docs/reference/lab-score.md.
func (rep *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# What the lab says about %s\n\n", rep.System)
	fmt.Fprintf(&b, "Made by `fettle lab score --system %s --seeds %d --markdown`. Each store is made from a seed, injured, checked, repaired by the default\n"+
		"actions, or those that the name of a row ends in, checked again, and the repair is taken back. Numbers are findings; the last two columns count stores.\n"+
		"A second check is clean if it finds nothing but what the actions leave as it is.\n\n", rep.System, rep.Seeds)
	fmt.Fprintf(&b, "| %s |\n|---%s\n", strings.Join(columns, " | "), strings.Repeat("|---:", len(columns)-1)+"|")
	for i := range rep.Rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(rep.Rows[i].cells(), " | "))
	}
	fmt.Fprintf(&b, "| %s |\n", strings.Join(rep.Total.cells(), " | "))
	for _, e := range rep.Total.Errors {
		fmt.Fprintf(&b, "\n- error: %s\n", strings.ReplaceAll(e, "\n", " "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
