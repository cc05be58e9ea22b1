package recover

import (
	"encoding/json"
	"fmt"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"fettle/internal/systems/flux"
)

// Report says what was found, what was lost, what was done and how to take it back. Its JSON form is an interface.
type Report struct {
	Type     string    `json:"type"` // always "recover"
	Schema   int       `json:"schema"`
	Stamp    string    `json:"stamp"`
	Started  time.Time `json:"started"`
	StateDir string    `json:"statedir"`
	Database string    `json:"database"`
	DryRun   bool      `json:"dry_run,omitempty"`

	Route Route    `json:"route"`
	Why   string   `json:"why"`
	Notes []string `json:"notes,omitempty"` // what else a person should know, in the order in which it was met

	Before   *Checked  `json:"before,omitempty"` // null when the database could not be checked
	After    *Checked  `json:"after,omitempty"`  // of the new database
	Repair   *Repaired `json:"repair,omitempty"`
	LostTime string    `json:"lost_time,omitempty"` // how far the store went back

	Drained      []Drained `json:"drained_nodes"`
	DrainsKnown  bool      `json:"drained_nodes_known"` // false: some may be missing from the list
	HighestJob   string    `json:"highest_job"`         // F58; later ids are above it
	HighestID    uint64    `json:"highest_job_id"`
	Active       []Job     `json:"active_jobs"`
	Unreadable   int       `json:"unreadable_jobs"`
	StateWritten []string  `json:"state_written,omitempty"` // keys that were written from other evidence than the tree

	Emergency *Emergency `json:"emergency_dump,omitempty"`
	GoodDump  string     `json:"newest_good_dump,omitempty"`
	Restored  string     `json:"restored_dump,omitempty"`
	Link      *Link      `json:"restore_link,omitempty"`
	Aside     string     `json:"damaged_database,omitempty"`
	Files     []string   `json:"report_files,omitempty"`
	TakeBack  []string   `json:"take_back,omitempty"` // shell commands
}

// Emergency is the dump that was written before anything was changed.
type Emergency struct {
	Path string `json:"path"`
	flux.DumpCounts
}

// Drained is a drained node.
type Drained struct {
	Host   string    `json:"host"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
}

// Job is an active job, with the name of its user where this host knows it.
type Job struct {
	flux.Job
	User string `json:"user"`
	// Kept tells whether the job is in its place in the new database, so that Flux takes it up again.
	Kept bool `json:"kept"`
}

// Code is the exit code for an init script: 0 nothing was wrong, 1 recovered.
func (r *Report) Code() int {
	if r.Route == RouteNothing {
		return 0
	}
	return 1
}

func (r *Report) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	const most = 200
	if len(r.Notes) < most {
		r.Notes = append(r.Notes, text)
	}
}

// describe fills in what the report says about the outcome.
func (s *session) describe(best *candidate) error {
	r := s.rep
	r.Repair = best.repaired
	if best.dump != nil {
		r.Restored = best.dump.path
		if best.counts.Clashes > 0 {
			r.note("%d values have the key of a directory too; they are kept as KEY~value", best.counts.Clashes)
		}
	}
	r.Drained, r.DrainsKnown = []Drained{}, s.ev.DrainsKnown
	for _, n := range s.ev.State.Drains().Nodes() {
		r.Drained = append(r.Drained, Drained{Host: n.Host, Since: time.Unix(0, int64(n.Timestamp*1e9)).UTC(), Reason: n.Reason})
	}
	r.HighestID, r.HighestJob = uint64(s.ev.State.HighestJob), s.ev.State.HighestJob.F58()
	if best.path != "" {
		if err := s.jobs(best); err != nil {
			return err
		}
	} else {
		r.Active = []Job{}
	}
	r.Unreadable = s.ev.Lost
	for _, suffix := range []string{".txt", ".json"} {
		r.Files = append(r.Files, filepath.Join(s.StateDir, reportName(s.stamp)+suffix))
	}
	aside := s.asideName(s.stamp)
	if exists(s.db) {
		r.Aside = aside
		r.TakeBack = append(r.TakeBack, fmt.Sprintf("mv %s %s.recovered-%s", quoteShell(s.db), quoteShell(s.db), s.stamp),
			fmt.Sprintf("mv %s %s", quoteShell(aside), quoteShell(s.db)))
	}
	for _, side := range sidecars[:2] {
		if exists(s.db + side) {
			r.TakeBack = append(r.TakeBack, fmt.Sprintf("mv %s %s", quoteShell(aside+side), quoteShell(s.db+side)))
		}
	}
	return nil
}

// jobs compares the active jobs of the damaged store with those of the new one.
func (s *session) jobs(best *candidate) error {
	work, err := s.sub("result")
	if err != nil {
		return err
	}
	result, err := flux.OpenRelic(s.ctx, best.path, work)
	if err != nil {
		return err
	}
	defer result.Close()
	after, err := result.Evidence(s.ctx)
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for _, j := range after.Active {
		kept[j.ID] = true
	}
	s.rep.Active = []Job{}
	for _, j := range s.ev.Active {
		s.rep.Active = append(s.rep.Active, Job{Job: j, User: userName(j.UserID), Kept: kept[j.ID]})
		delete(kept, j.ID)
	}
	if n := len(kept); n > 0 {
		s.rep.note("%d jobs are active in the new database that were not in the old one, or could not be read there: it is older", n)
	}
	if !after.RootTime.IsZero() && best.repaired == nil && !s.ev.LastTime.IsZero() && best.dump != nil {
		s.rep.LostTime = s.ev.LastTime.Sub(time.Unix(best.dump.report.NewestTime, 0)).Round(time.Second).String()
	}
	return nil
}

func userName(id uint32) string {
	text := strconv.FormatUint(uint64(id), 10)
	if u, err := user.LookupId(text); err == nil {
		return u.Username
	}
	return text
}

func reportName(stamp string) string { return "recover-" + stamp }

// writeReport writes the text and the JSON file.
func (s *session) writeReport() error {
	if len(s.rep.Files) == 0 {
		for _, suffix := range []string{".txt", ".json"} {
			s.rep.Files = append(s.rep.Files, filepath.Join(s.StateDir, reportName(s.rep.Stamp)+suffix))
		}
	}
	b, err := json.MarshalIndent(s.rep, "", " ")
	if err != nil {
		return err
	}
	for i, content := range [][]byte{[]byte(s.rep.Text()), append(b, '\n')} {
		if err := s.Files.Write(s.rep.Files[i], content); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		s.owned(s.rep.Files[i])
	}
	return nil
}

// Text is the report for people.
func (r *Report) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("fettle flux recover %s", clean(r.StateDir))
	if r.DryRun {
		line("dry run: nothing is written; this is what would be done")
	}
	line("%s  %s: %s", r.Started.Format(time.RFC3339), r.Route, clean(r.Why))
	if r.Before != nil && !r.Before.Clean {
		line("\nfindings: %d", r.Before.Findings)
		for _, t := range r.Before.Titles {
			line("  %s", clean(t))
		}
	}
	r.lossText(line)
	r.stateText(line)
	if len(r.Notes) > 0 {
		line("\nnotes:")
		for _, n := range r.Notes {
			line("  %s", clean(n))
		}
	}
	r.filesText(line)
	return b.String()
}

func (r *Report) lossText(line func(string, ...any)) {
	if r.LostTime != "" {
		line("\nlost: everything of the last %s", r.LostTime)
	}
	if r.Repair == nil {
		return
	}
	line("\nwhat was done and what it cost:")
	const most = 1000
	for i, l := range r.Repair.Lines {
		if i == most {
			line("  and %d more, see the JSON report", len(r.Repair.Lines)-most)
			break
		}
		text := fmt.Sprintf("%s: %s: %s", l.What, l.Action, l.Result)
		if l.Loses != "" {
			text += "; lost: " + l.Loses
		}
		line("  %s", clean(text))
	}
	for _, n := range r.Repair.Notes {
		line("  %s", clean(n))
	}
}

func (r *Report) stateText(line func(string, ...any)) {
	if r.Route == RouteNothing || r.Route == RouteLink {
		return
	}
	if r.DrainsKnown {
		line("\ndrained nodes, all kept: %d", len(r.Drained))
	} else {
		line("\ndrained nodes found: %d. THERE MAY HAVE BEEN MORE: what held the list is damaged or lost.", len(r.Drained))
		line("  Compare with your own records, and drain by hand what is missing, before jobs are let in.")
	}
	for _, d := range r.Drained {
		line("  %-20s since %s  %s", clean(d.Host), d.Since.Format(time.RFC3339), clean(d.Reason))
	}
	line("\nlater job ids are above %s (%d)", r.HighestJob, r.HighestID)
	line("\nactive jobs of the damaged database: %d", len(r.Active))
	for _, j := range r.Active {
		kept := "kept"
		if !j.Kept {
			kept = "LOST from its place"
		}
		if j.Partial {
			kept += ", events are missing"
		}
		line("  %-14s %-10s %-16s %-9s %-20s %s", j.ID, clean(j.User), clean(j.Name), j.State, clean(j.Nodes), kept)
	}
	if r.Unreadable > 0 {
		line("  and %d whose state cannot be read", r.Unreadable)
	}
	for _, k := range r.StateWritten {
		line("%s was written anew from all evidence", clean(k))
	}
}

func (r *Report) filesText(line func(string, ...any)) {
	if r.Emergency != nil {
		line("\nemergency dump: %s (%d keys, %d damaged and %d of lost directories below lost+found, %d lost)", clean(r.Emergency.Path),
			r.Emergency.Keys, r.Emergency.Partial, r.Emergency.Older, r.Emergency.Lost)
	}
	if r.GoodDump != "" {
		line("newest good dump: %s", clean(r.GoodDump))
	}
	if r.Link != nil {
		what := "stays"
		if r.Link.Aside != "" {
			what = "set aside as " + filepath.Base(r.Link.Aside)
		}
		line("%s -> %s: %s: %s", clean(r.Link.Path), clean(r.Link.Target), what, clean(r.Link.Why))
	}
	if r.Aside != "" {
		line("the damaged database is kept as %s", clean(r.Aside))
	}
	if len(r.TakeBack) > 0 {
		line("\nto take it back, with Flux stopped:")
		for _, c := range r.TakeBack {
			line("  %s", c)
		}
	}
	if r.Route != RouteNothing && !r.DryRun {
		line("\nit is safe to start Flux")
	}
}

// clean makes text from a store harmless on a terminal.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c >= 0x7f && c < 0xa0 {
			return '?'
		}
		return c
	}, s)
}

func quoteShell(s string) string {
	if s != "" && strings.IndexFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_-./:=,+@%", c))
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
