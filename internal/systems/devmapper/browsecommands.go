package devmapper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/format/boltfile"
	"fettle/internal/format/thinmeta"
	"fettle/internal/store"
)

// Commands implements store.View.
func (v *view) Commands() []store.BrowseCommand {
	return []store.BrowseCommand{
		{Name: "who", Usage: "NAME", Short: "show what every layer says about a device, snapshot or container", MinArgs: 1, MaxArgs: 2, Run: v.cmdWho,
			Long: "NAME is the name of a device, dev 7, snap 7, a key of metadata.db or of meta.db, or the id of a container."},
		{Name: "chain", Usage: "NAME", Short: "list what a snapshot is made from, the base last", MinArgs: 1, MaxArgs: 2, Run: v.cmdChain},
		{Name: "runs", Usage: "DEVID", Short: "list the mappings of a thin device, in blocks", MinArgs: 1, MaxArgs: 1, Run: v.cmdRuns},
		{Name: "shares", Usage: "DEVID DEVID", Short: "tell whether two thin devices have a block in common", MinArgs: 2, MaxArgs: 2, Run: v.cmdShares},
		{Name: "page", Usage: "FILE N", Short: "decode page N of a database, or block N of the thin metadata", MinArgs: 2, MaxArgs: 2, Run: v.cmdPage,
			Long: "FILE is a name below /files. What cannot be decoded is shown in hex."},
		{Name: "strays", Usage: "FILE", Short: "list what a database holds outside of its tree: old and deleted records, and those cut off by damage", MinArgs: 1, MaxArgs: 1, Run: v.cmdStrays},
	}
}

// rows are what the arguments of a command name.
func (v *view) rows(args []string) ([]int, error) {
	name := strings.Join(args, " ")
	found := v.inv.Find(name)
	if len(found) == 0 {
		return nil, fault.WithHint(fmt.Errorf("nothing here is called %q", name), "ls /snapshots, ls /devices and ls /containers show names; numbers go with dev or snap: who dev 7")
	}
	return found, nil
}

func (v *view) cmdWho(_ context.Context, c store.BrowseCall) error {
	rows, err := v.rows(c.Args)
	if err != nil {
		return err
	}
	for n, i := range rows {
		if n > 0 {
			fmt.Fprintln(c.Out)
		}
		for _, e := range v.inv.Claims(i) {
			if _, err := fmt.Fprintf(c.Out, "%s: %s\n", e.Witness, e.Says); err != nil {
				return err
			}
		}
		for _, f := range v.inv.Findings(i) {
			if _, err := fmt.Fprintf(c.Out, "! %s %s: %s\n", f.Severity, f.Class, f.Title); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *view) cmdChain(ctx context.Context, c store.BrowseCall) error {
	rows, err := v.rows(c.Args)
	if err != nil {
		return err
	}
	for _, i := range rows {
		chain := v.inv.Chain(i)
		for _, k := range chain {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := fmt.Fprintln(c.Out, rowLine(&v.inv.Rows[k])); err != nil {
				return err
			}
		}
		last := &v.inv.Rows[chain[len(chain)-1]]
		if last.Up >= 0 {
			fmt.Fprintln(c.Out, "! the chain comes back to itself")
		} else if last.Parent != "" {
			fmt.Fprintf(c.Out, "! its parent %s is not there\n", last.Parent)
		}
	}
	return nil
}

// rowLine is a row in one line.
func rowLine(r *Row) string {
	num := func(n *uint64) string {
		if n == nil {
			return "-"
		}
		return strconv.FormatUint(*n, 10)
	}
	dev := "-"
	if r.DeviceID != nil {
		dev = strconv.FormatUint(uint64(*r.DeviceID), 10)
	}
	name := r.Backend
	if name == "" {
		name = r.Device
	}
	line := fmt.Sprintf("snap %-6s dev %-6s %-11s mapped %-10s own %-10s %s", num(r.SnapshotID), dev, r.State, num(r.Mapped), num(r.Exclusive), name)
	if len(r.Trouble) > 0 {
		line += "  ! " + strings.Join(r.Trouble, ", ")
	}
	return line
}

// deviceID reads the number of a thin device.
func deviceID(text string) (uint32, error) {
	if id, ok := parseDevice(text); ok {
		return id, nil
	}
	n, err := strconv.ParseUint(text, 10, 24)
	if err != nil {
		return 0, fault.NewUsage(fmt.Errorf("%q is no device id", text), "ls /thin lists them")
	}
	return uint32(n), nil
}

// errNoThin says that a question about thin devices cannot be answered.
var errNoThin = errors.New("the thin metadata is not there")

func (v *view) cmdRuns(ctx context.Context, c store.BrowseCall) error {
	id, err := deviceID(c.Args[0])
	if err != nil {
		return err
	}
	return v.writeRuns(ctx, id, c.Out)
}

// writeRuns lists mappings: virtual block, data block, length, pool time.
func (v *view) writeRuns(ctx context.Context, id uint32, w io.Writer) error {
	if v.u.thin == nil {
		return errNoThin
	}
	var bad []string
	n := 0
	for r, err := range v.u.thin.pool.Runs(id) {
		switch {
		case errors.Is(err, thinmeta.ErrNoDevice):
			return fmt.Errorf("thin device %d: %w", id, err)
		case err != nil:
			bad = append(bad, err.Error())
			continue
		}
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := fmt.Fprintf(w, "virtual %d data %d length %d time %d\n", r.Virtual, r.Data, r.Length, r.Time); err != nil {
			return err
		}
	}
	if len(bad) > 0 {
		return store.Partial("%d parts of the mappings cannot be read; first: %s", len(bad), bad[0])
	}
	return nil
}

func (v *view) cmdShares(ctx context.Context, c store.BrowseCall) error {
	a, err := deviceID(c.Args[0])
	if err != nil {
		return err
	}
	b, err := deviceID(c.Args[1])
	if err != nil {
		return err
	}
	if v.u.thin == nil {
		return errNoThin
	}
	shared, sure, err := v.u.thin.pool.Shares(ctx, a, b)
	switch {
	case err != nil:
		return err
	case shared:
		fmt.Fprintf(c.Out, "devices %d and %d share blocks\n", a, b)
	case sure:
		fmt.Fprintf(c.Out, "devices %d and %d share no block\n", a, b)
	default:
		fmt.Fprintf(c.Out, "devices %d and %d share no block in what can be read\n", a, b)
		return store.Partial("not everything could be compared")
	}
	return nil
}

func (v *view) cmdStrays(ctx context.Context, c store.BrowseCall) error {
	l := v.layer(c.Args[0])
	if l == nil {
		return fault.NewUsage(fmt.Errorf("no database %q", c.Args[0]), "ls /files lists them")
	}
	n := 0
	err := l.file.Salvage(ctx, func(e boltfile.Element) error {
		n++
		state := "cut off"
		switch {
		case e.Free:
			state = "free"
		case e.Repaired:
			state = "guessed"
		}
		what := showBytes(e.Value)
		if e.Bucket {
			what = "bucket"
			if e.Root != 0 {
				what += fmt.Sprintf(" with root page %d", e.Root)
			}
		}
		_, err := fmt.Fprintf(c.Out, "page %-6d %-7s %s = %s\n", e.Page, state, formatName(string(e.Key)), what)
		return err
	})
	if err == nil && n == 0 {
		fmt.Fprintln(c.Out, "nothing: every leaf page belongs to the tree")
	}
	return err
}

// layer is the database with a name, nil without one.
func (v *view) layer(name string) *boltLayer {
	for _, b := range v.u.bolts {
		if b.target == strings.TrimPrefix(name, "/files/") {
			return b
		}
	}
	return nil
}
