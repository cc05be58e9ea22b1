package flux

import (
	"context"
	"fmt"
	"io"
	"time"

	"fettle/internal/fault"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// switches reads the one-letter options of a command that takes nothing else.
func switches(args []string, allowed string) (map[byte]bool, error) {
	set := map[byte]bool{}
	for _, a := range args {
		if len(a) < 2 || a[0] != '-' {
			return nil, fault.NewUsage(fmt.Errorf("unexpected argument %q", a), "help COMMAND explains a command")
		}
		for i := 1; i < len(a); i++ {
			ok := false
			for j := range len(allowed) {
				ok = ok || allowed[j] == a[i]
			}
			if !ok {
				return nil, fault.NewUsage(fmt.Errorf("unknown option %q", a), "help COMMAND explains a command")
			}
			set[a[i]] = true
		}
	}
	return set, nil
}

// cmdCheckpoints lists the rows, newest first, and what became of their roots.
func (v *view) cmdCheckpoints(ctx context.Context, c store.BrowseCall) error {
	opts, err := switches(c.Args, "at")
	if err != nil {
		return err
	}
	if len(v.u.checkpoints) == 0 {
		fmt.Fprintln(c.Out, "no checkpoint rows")
	} else {
		fmt.Fprintf(c.Out, "  %-6s %-8s %-20s %-10s %-*s  %s\n", "ROW", "SEQUENCE", "TIME", "AGE", v.refWidth(), "ROOT", "STATE")
	}
	now := time.Now()
	for i := range v.u.checkpoints {
		row := &v.u.checkpoints[i]
		id, seq := fmt.Sprint(row.ID), "-"
		if row.Legacy {
			id = "legacy"
		}
		if row.value.HasSequence {
			seq = fmt.Sprint(row.value.Sequence)
		}
		mark := " "
		if len(v.root.rows) > 0 && !row.ref.IsZero() && row.ref == v.root.ref {
			mark = "*"
		}
		when, age := timeText(row.when(), now)
		state := ""
		if row.err != nil {
			state = "malformed: " + row.err.Error()
		}
		if !row.ref.IsZero() {
			s, err := v.rootState(ctx, row.ref, opts['t'])
			if err != nil {
				return err
			}
			if state != "" {
				state += "; "
			}
			state += s
		}
		root := row.ref.String()
		if root == "" {
			root = "-"
		}
		if row.Salvaged {
			state += " (row salvaged)"
		}
		fmt.Fprintf(c.Out, "%s %-6s %-8s %-20s %-10s %-*s  %s\n", mark, id, seq, when, age, v.refWidth(), root, state)
	}
	if opts['a'] {
		return v.listOrphans(ctx, c.Out, opts['t'])
	}
	return nil
}

func (v *view) refWidth() int {
	a := v.u.algorithm()
	return len(a.String()) + 1 + 2*a.Size()
}

func timeText(t, now time.Time) (when, age string) {
	if t.IsZero() {
		return "-", "-"
	}
	return t.Format("2006-01-02 15:04:05Z"), roundAge(now.Sub(t))
}

// rootState says whether a root can be read; with whole, whether everything below it can.
func (v *view) rootState(ctx context.Context, ref treeobj.Ref, whole bool) (string, error) {
	b := newBlobReader(v.u)
	if f := v.u.judgeRoot(b, ref); f.class != "" {
		return "root cannot be read: " + f.says, nil
	}
	if !whole {
		return "root can be read", nil
	}
	good, err := v.u.treeGood(ctx, nil, ref)
	if err != nil {
		return "", err
	}
	if good {
		return "whole tree is good", nil
	}
	return "tree is damaged", nil
}

// listOrphans lists root directories that no row names: every commit leaves one behind.
func (v *view) listOrphans(ctx context.Context, w io.Writer, whole bool) error {
	found, err := v.u.recentRoots(ctx)
	if err != nil {
		return err
	}
	named := map[treeobj.Ref]bool{}
	for i := range v.u.checkpoints {
		named[v.u.checkpoints[i].ref] = true
	}
	fmt.Fprintf(w, "\nother root directories, newest first (at most %d):\n", maxOrphanRoots)
	for _, o := range found {
		if named[o.ref] {
			continue
		}
		state, err := v.rootState(ctx, o.ref, whole)
		if err != nil {
			return err
		}
		mark := " "
		if o.ref == v.root.ref {
			mark = "*"
		}
		fmt.Fprintf(w, "%s %s  table row %d  %s\n", mark, o.ref, o.rowID, state)
	}
	return nil
}

// cmdUse switches to another tree. The current one stays if the other cannot be read.
func (v *view) cmdUse(ctx context.Context, c store.BrowseCall) error {
	found, err := v.u.findRoot(v.u.distinctRoots(), c.Args[0])
	if err != nil {
		return fault.WithHint(fmt.Errorf("no checkpoint %q", c.Args[0]), "checkpoints lists them: give a row id, a sequence number or a rootref")
	}
	if f := v.u.judgeRoot(newBlobReader(v.u), found[0].ref); f.class != "" {
		return fault.WithHint(fmt.Errorf("%s: %s: %s", found[0].label(), found[0].ref, f.says), "checkpoints -a lists roots that can be read")
	}
	v.setRoot(found[0])
	fmt.Fprintf(c.Err, "now showing the tree of %s, %s\n", v.root.label(), v.root.ref)
	for _, n := range v.notes {
		fmt.Fprintln(c.Err, n)
	}
	return nil
}
