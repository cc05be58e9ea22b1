package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"
	"time"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/store"
)

// toySystem is a store in one text file, so that scripts can make one, damage it and compare it. Its first line is "toy",
// the others are
//
//	obj NAME          an object
//	ref NAME OBJECT   a reference; dangling when there is no such object
//	odd NAME          a record that cannot be undone when it is shredded
//	note TEXT         an info
//	busy              the store is in use
//	hold              a check waits at this line until it is stopped or there is a file named as the store with ".go" added
//	crawl             a write is not over before that
type toySystem struct{}

var toyClasses = finding.Classes{
	{ID: "toy/dangling", Aliases: []string{"TOY_DANGLING"}, Title: "reference to an object that is gone", Severity: finding.Error,
		Shape: finding.Dangling, Explain: "A ref names an object that is not there.",
		Actions: []finding.ActionDoc{
			{Action: finding.Unlink, Does: "removes the ref", Loses: "the ref"},
			{Action: finding.Restore, Does: "makes the object again"}}},
	{ID: "toy/odd", Title: "odd record", Severity: finding.Warning, Shape: finding.Corrupt, Explain: "An odd record is there.",
		Actions: []finding.ActionDoc{
			{Action: finding.Discard, Does: "removes it", Loses: "the record"},
			{Action: "shred", Does: "removes it for good", Loses: "the record", Irreversible: true}}},
	{ID: "toy/note", Title: "a note", Severity: finding.Info, Shape: finding.Orphan, Explain: "Worth knowing."},
}

func (toySystem) Name() string             { return "toy" }
func (toySystem) Title() string            { return "toy store in a text file" }
func (toySystem) Classes() finding.Classes { return toyClasses }
func (toySystem) Recognize(path string) (bool, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return false, nil
	}
	return bytes.HasPrefix(raw, []byte("toy\n")), nil
}

func (toySystem) Open(_ context.Context, loc store.Location, opts store.Options) (store.Store, error) {
	for k := range opts.Settings {
		if k != "checkpoint" && k != "scan-checkpoints" && k != "color" {
			return nil, fault.NewUsage(fmt.Errorf("toy: unknown setting %q", k), "known settings: color")
		}
	}
	if _, err := os.Stat(loc.Paths[0]); err != nil {
		return nil, &fault.Error{Op: "open", Where: loc.Text, Err: err}
	}
	return &toyUnit{path: loc.Paths[0], skip: opts.Skip}, nil
}

type toyUnit struct {
	path string
	skip []string
	work context.Context // what a writer was opened with
}

func (u *toyUnit) Units() []store.Unit     { return []store.Unit{u} }
func (u *toyUnit) Close() error            { return nil }
func (u *toyUnit) ID() string              { return u.path }
func (u *toyUnit) Targets() []store.Target { return []store.Target{{Name: "file", Path: u.path}} }

func (u *toyUnit) Fingerprint(context.Context) (string, error) {
	raw, err := os.ReadFile(u.path)
	return fmt.Sprintf("%x", sha256.Sum256(raw)), err
}

func (u *toyUnit) lines() ([]string, error) {
	raw, err := os.ReadFile(u.path)
	if err != nil {
		return nil, err
	}
	var out []string
	for sc := bufio.NewScanner(bytes.NewReader(raw)); sc.Scan(); {
		out = append(out, sc.Text())
	}
	return out, nil
}

func (u *toyUnit) has(line string) (bool, error) {
	lines, err := u.lines()
	for _, l := range lines {
		if l == line {
			return true, nil
		}
	}
	return false, err
}

func (u *toyUnit) InUse(context.Context) (string, error) {
	busy, err := u.has("busy")
	if busy {
		return "process 1", nil
	}
	return "", err
}

func (u *toyUnit) Passes() []store.Pass {
	return []store.Pass{{Name: "read", Title: "reading lines", Run: u.read}}
}

func (u *toyUnit) read(ctx context.Context, env store.Env) error {
	lines, err := u.lines()
	if err != nil {
		return err
	}
	at := 0
	if _, err := env.Load(&at); err != nil {
		return err
	}
	objects := map[string]bool{}
	for _, l := range lines {
		if name, ok := strings.CutPrefix(l, "obj "); ok {
			objects[name] = true
		}
	}
	env.Total(int64(len(lines)), 0)
	for i := at; i < len(lines); i++ {
		if lines[i] == "hold" {
			u.hold(ctx)
		}
		if f, ok := u.judge(lines[i], objects); ok {
			if _, err := env.Emit(f); err != nil {
				return err
			}
		}
		if err := env.Did(ctx, 1, int64(len(lines[i]))); err != nil {
			return errors.Join(err, env.Save(i+1))
		}
		if env.Due() {
			if err := env.Save(i + 1); err != nil {
				return err
			}
		}
	}
	env.Fact("objects", len(objects))
	return nil
}

// hold waits until ctx is cancelled or the store may go on.
func (u *toyUnit) hold(ctx context.Context) {
	for ctx.Err() == nil {
		if _, err := os.Stat(u.path + ".go"); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (u *toyUnit) judge(line string, objects map[string]bool) (finding.Finding, bool) {
	w := strings.Fields(line)
	ev := []finding.Evidence{{Witness: "line", Says: line}}
	switch {
	case len(w) == 3 && w[0] == "ref" && !objects[w[2]]:
		for _, s := range u.skip {
			if glob(s, w[1]) {
				return finding.Finding{}, false
			}
		}
		return finding.Finding{Class: "toy/dangling", Subject: w[2], Path: &w[1], Group: "g1", Evidence: ev, Why: "nothing else is known"}, true
	case len(w) == 2 && w[0] == "odd":
		return finding.Finding{Class: "toy/odd", Subject: w[1], Path: &w[1], Evidence: ev}, true
	case len(w) > 1 && w[0] == "note":
		return finding.Finding{Class: "toy/note", Subject: line, Evidence: ev}, true
	}
	return finding.Finding{}, false
}

// toyLine is the line that a finding is about.
func toyLine(f *finding.Finding) string {
	switch f.Class {
	case "toy/dangling":
		return "ref " + *f.Path + " " + f.Subject
	case "toy/odd":
		return "odd " + f.Subject
	}
	return f.Subject
}

func (u *toyUnit) Confirm(_ context.Context, f *finding.Finding) (bool, error) {
	return u.has(toyLine(f))
}

func (u *toyUnit) Choices(_ context.Context, fs iter.Seq2[finding.Finding, error]) (string, []store.Choice, error) {
	n := 0
	for f, err := range fs {
		if err != nil {
			return "", nil, err
		}
		if f.Class == "toy/dangling" {
			n++
		}
	}
	if n == 0 {
		return "", nil, nil
	}
	return fmt.Sprintf("%d refs are dangling", n), []store.Choice{
		{Key: 'u', Label: "unlink them"}, {Key: 'm', Label: "make the objects", Policy: []string{"toy/dangling=restore"}}}, nil
}

func (u *toyUnit) Plan(_ context.Context, _ string, ds []store.Decision) (*store.Proposal, error) {
	p := &store.Proposal{}
	lines, err := u.lines()
	if err != nil {
		return nil, err
	}
	for _, l := range lines {
		if strings.HasPrefix(l, "ref ") {
			p.Loss.Total++
		}
	}
	p.Loss.Unit = "refs"
	for i, d := range ds {
		line := toyLine(&d.Finding)
		s := store.Step{ID: i + 1, Title: string(d.Action) + " " + d.Finding.Subject, Findings: []int{d.Finding.Seq}}
		out := store.Outcome{Seq: d.Finding.Seq, Action: d.Action, Result: "removed"}
		switch d.Action {
		case finding.Restore:
			s.Changes = []store.Change{{Target: "file", Addr: "obj " + d.Finding.Subject, After: store.Bytes{}}}
			out.Result = "made again"
		case "shred":
			s.Irreversible = true
			fallthrough
		default:
			s.Changes = []store.Change{{Target: "file", Addr: line, Before: store.Bytes{}}}
			if d.Finding.Class == "toy/dangling" {
				p.Loss.Dropped++
			}
		}
		p.Steps, p.Outcomes = append(p.Steps, s), append(p.Outcomes, out)
	}
	return p, nil
}

func (u *toyUnit) OpenWriter(ctx context.Context, _ string) (store.Writer, error) {
	u.work = ctx
	return u, nil
}

// Lower turns the removal or addition of a line into the new content of the file.
func (u *toyUnit) Lower(_ context.Context, s store.Step) ([]store.Change, error) {
	before, err := os.ReadFile(u.path)
	if err != nil {
		return nil, err
	}
	after := before
	for _, c := range s.Changes {
		line := []byte(c.Addr + "\n")
		if c.After != nil {
			after = append(append([]byte{}, after...), line...)
			continue
		}
		if !bytes.Contains(after, line) {
			return nil, fmt.Errorf("line %q is gone", c.Addr)
		}
		after = bytes.Replace(after, line, nil, 1)
	}
	return []store.Change{{Target: "file", Addr: "content", Before: before, After: after}}, nil
}

func (u *toyUnit) Read(context.Context, string, string) (store.Bytes, error) {
	return os.ReadFile(u.path)
}

func (u *toyUnit) Write(_ context.Context, c store.Change) error {
	defer func() {
		if bytes.Contains(c.After, []byte("crawl\n")) {
			u.hold(u.work) // not the context of the write, which nobody cancels
		}
	}()
	// By rename: scripts kill fettle in the middle, and the whole file is one record.
	if err := os.WriteFile(u.path+".new", c.After, 0o600); err != nil {
		return err
	}
	return os.Rename(u.path+".new", u.path)
}

func (u *toyUnit) Sync(context.Context) error { return nil }
