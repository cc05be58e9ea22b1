package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fettle/internal/finding"
	"fettle/internal/say"
	"fettle/internal/systems/devmapper"
)

func (a *App) newDevmapperShow() *cobra.Command {
	var set settings
	c := verb(cobra.Command{
		Use:   "show STORE NAME...",
		Short: "Show everything that the layers say about a snapshot, device or container",
		Long: `Shows one thing from all sides: what each layer claims about it, the snapshots that it is made from, those that are made from it,
what uses it, and what is wrong.

NAME is a device (pool-snap-7), "dev 7" or "snap 7" (a number alone means either), a key of metadata.db, a key of containerd, the
id of a container, or the name of an image. STORE may be "devmapper:" for this machine.`,
		Example: `  fettle devmapper show devmapper: web-1
  fettle devmapper show /var/lib/containerd 'dev 7'
  fettle devmapper show --json copies/ docker.io/library/nginx:latest`,
		Args: wants(2, -1, "a store and a name"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.devmapperShow(c.Context(), args[0], strings.Join(args[1:], " "), set)
		},
	}, exitClean, exitError, exitUsage, exitCancelled)
	addSet(c, &set)
	return c
}

// showLine is what show tells as JSON.
type showLine struct {
	Type   string `json:"type"` // "devmapper-show"
	Schema int    `json:"schema"`
	*devmapper.Row
	Claims   []finding.Evidence `json:"claims"`
	Chain    []*devmapper.Row   `json:"chain"`    // what it is made from, the nearest first
	Children []*devmapper.Row   `json:"children"` // what is made from it
	Findings []showFinding      `json:"findings"`
}

// showFinding is what show tells of a finding. It is none of a run: a check gives it its number.
type showFinding struct {
	Class     string             `json:"class"`
	Severity  finding.Severity   `json:"severity"`
	Title     string             `json:"title"`
	Subject   string             `json:"subject"`
	Suggested finding.Action     `json:"suggested,omitempty"`
	Why       string             `json:"why,omitempty"`
	Evidence  []finding.Evidence `json:"evidence"`
}

func (a *App) devmapperShow(ctx context.Context, text, name string, set settings) error {
	return a.inventory(ctx, text, set, func(inv *devmapper.Inventory) error {
		rows := inv.Find(name)
		if len(rows) == 0 {
			return usagef("fettle devmapper ls "+shellName(text)+" lists what there is", "nothing here is called %q", name)
		}
		if len(rows) > 1 {
			a.say("note: %s means %d things", say.Clean(name), len(rows))
		}
		for n, i := range rows {
			if a.json {
				if err := a.line(showJSON(inv, i)); err != nil {
					return err
				}
				continue
			}
			if n > 0 {
				a.print("")
			}
			a.showRow(inv, i, text)
		}
		return nil
	})
}

func showJSON(inv *devmapper.Inventory, i int) showLine {
	l := showLine{Type: "devmapper-show", Schema: 1, Row: &inv.Rows[i], Claims: inv.Claims(i), Chain: []*devmapper.Row{}, Children: []*devmapper.Row{}, Findings: []showFinding{}}
	for _, k := range inv.Chain(i)[1:] {
		l.Chain = append(l.Chain, &inv.Rows[k])
	}
	for _, k := range inv.Rows[i].Children {
		l.Children = append(l.Children, &inv.Rows[k])
	}
	for _, f := range inv.Findings(i) {
		l.Findings = append(l.Findings, showFinding{f.Class, f.Severity, f.Title, f.Subject, f.Suggested, f.Why, f.Evidence})
	}
	return l
}

func (a *App) showRow(inv *devmapper.Inventory, i int, text string) {
	r := &inv.Rows[i]
	p := func(name, format string, args ...any) {
		a.print("  %-10s %s", name, say.Clean(fmt.Sprintf(format, args...)))
	}
	a.print("%s", a.outStyle().Bold(say.Clean(rowTitle(r))))
	if r.SnapshotID != nil || r.Backend != "" {
		p("snapshot", "%s  %s  %s", idText(r.SnapshotID), orDash(r.Kind), orDash(r.Backend))
	}
	if r.Key != "" {
		p("key", "%s/%s", r.Namespace, r.Key)
	}
	if r.Created != nil {
		p("created", "%s", r.Created.UTC().Format(time.RFC3339))
	}
	if r.DeviceID != nil || r.Device != "" {
		p("device", "%s  id %s (%s)  %s", orDash(r.Device), idText(r.DeviceID), orDash(r.IDState), orDash(r.State))
	}
	if r.Size != nil {
		p("size", "%s", optBytes(r.Size))
	}
	if r.Mapped != nil {
		p("mapped", "%s, %s by no other device", optBytes(r.Mapped), optBytes(r.Exclusive))
	}
	p("used by", "%s", usedBy(r, whole))
	a.print("\nWHO SAYS WHAT")
	for _, e := range inv.Claims(i) {
		a.print("  %s: %s", say.Clean(e.Witness), say.Clean(e.Says))
	}
	if chain := inv.Chain(i); len(chain) > 1 {
		a.print("\nMADE FROM")
		a.shortList(inv, chain[1:], 50)
	} else if r.Parent != "" {
		a.print("\nMADE FROM\n  %s, which is not there", say.Clean(r.Parent))
	}
	if len(r.Children) > 0 {
		a.print("\nCHILDREN")
		a.shortList(inv, r.Children, 20)
	}
	a.showFindings(inv.Findings(i), text)
}

// rowTitle is what a row is, in one line.
func rowTitle(r *devmapper.Row) string {
	name := rowName(r)
	switch r.What {
	case devmapper.RowSnapshot:
		return "snapshot " + name
	case devmapper.RowRecord:
		return "device record " + name + " without a snapshot"
	case devmapper.RowThin:
		return "thin device " + idText(r.DeviceID) + " without a record"
	case devmapper.RowEntry:
		return "entry " + name + " of meta.db without a snapshot"
	case devmapper.RowMissing:
		return "snapshot " + name + ", which is missing"
	}
	return "device id " + idText(r.DeviceID) + " without a record and a device"
}

func (a *App) shortList(inv *devmapper.Inventory, rows []int, most int) {
	for n, i := range rows {
		if n == most {
			a.print("  and %d more", len(rows)-most)
			return
		}
		r := &inv.Rows[i]
		mark := ""
		if len(r.Trouble) > 0 {
			mark = "  ! " + troubleText(r)
		}
		a.print("  snap %s  dev %s  %-11s  %s (own %s)  %s%s", idText(r.SnapshotID), idText(r.DeviceID), orDash(stateText(r)), optBytes(r.Mapped), optBytes(r.Exclusive),
			say.Clean(rowName(r)), mark)
	}
}

func (a *App) showFindings(found []finding.Finding, text string) {
	if len(found) == 0 {
		a.print("\nnothing is wrong with it")
		return
	}
	a.print("\nFINDINGS")
	counts := false
	for _, f := range found {
		counts = counts || f.Severity != finding.Info
		a.print("  %s %s: %s", a.outStyle().Severity(f.Severity, string(f.Severity)), f.Class, say.Clean(f.Title))
		if f.Why != "" {
			a.print("    %s: %s", f.Suggested, say.Clean(f.Why))
		}
	}
	if counts {
		a.print("next: %s", a.commandLine("check", devmapperText(text)))
	}
}
