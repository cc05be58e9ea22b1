package cli

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"fettle/internal/say"
	"fettle/internal/systems/devmapper"
)

// devmapperLsFlags are the flags of fettle devmapper ls.
type devmapperLsFlags struct {
	settings
	wide, leaked, trouble   bool
	container, image, state string
	sort                    string
}

func (a *App) newDevmapperLs() *cobra.Command {
	var f devmapperLsFlags
	c := verb(cobra.Command{
		Use:   "ls [STORE]",
		Short: "List snapshots and thin devices with what uses them and how much they hold",
		Long: `Lists every snapshot with its device, and what belongs to no snapshot: device records, thin devices, entries of meta.db and ids
that are left over. What is wrong with a row stands below it, behind "!"; fettle explain CLASS says what that means.

MAPPED is what the thin device maps, OWN what no other device maps: what its deletion would free. A leaked device exists in the
pool, and nothing refers to it.

Exit 8: a layer is damaged, so that rows may be missing; what is readable has been listed.`,
		Example: `  fettle devmapper ls
  fettle devmapper ls --leaked --sort exclusive copies/
  fettle devmapper ls --image docker.io/library/nginx:latest /var/lib/containerd
  fettle devmapper ls --json copies/ | jq -r 'select(.leaked) | .device_id'`,
		Args: wants(0, 1, ""),
		RunE: func(c *cobra.Command, args []string) error {
			return a.devmapperLs(c.Context(), strings.Join(args, ""), &f)
		},
	}, exitClean, exitError, exitUsage, exitCancelled)
	p := c.Flags()
	p.BoolVar(&f.wide, "wide", false, "all columns, nothing shortened")
	p.BoolVar(&f.leaked, "leaked", false, "only thin devices that nothing refers to")
	p.BoolVar(&f.trouble, "trouble", false, "only rows with something wrong")
	p.StringVar(&f.container, "container", "", "only what the container `ID` needs: its snapshot and all below it")
	p.StringVar(&f.image, "image", "", "only the layers of the image `NAME`")
	p.StringVar(&f.state, "state", "", "only devices in the `STATE`: Activated, Deactivated, Faulty, ...")
	p.StringVar(&f.sort, "sort", "", "sort by `WHAT`: mapped, exclusive or name (default: by snapshot id)")
	addSet(c, &f.settings)
	complete(c, "sort", "mapped", "exclusive", "name")
	complete(c, "state", "Creating", "Created", "Activating", "Activated", "Suspending", "Suspended", "Resuming", "Resumed", "Deactivating",
		"Deactivated", "Removing", "Removed", "Faulty", "Unknown")
	return c
}

// deviceLine is a row as JSON.
type deviceLine struct {
	Type   string `json:"type"` // "devmapper-device"
	Schema int    `json:"schema"`
	*devmapper.Row
}

// poolLine is the pool as JSON, the last line of ls and tree.
type poolLine struct {
	Type   string `json:"type"` // "devmapper-pool"
	Schema int    `json:"schema"`
	*devmapper.PoolFacts
}

func (a *App) devmapperLs(ctx context.Context, text string, f *devmapperLsFlags) error {
	switch f.sort {
	case "", "mapped", "exclusive", "name":
	default:
		return usagef("--sort mapped, --sort exclusive or --sort name", "unknown value %q of --sort", f.sort)
	}
	return a.inventory(ctx, text, f.settings, func(inv *devmapper.Inventory) error {
		rows, err := f.choose(inv)
		if err != nil {
			return err
		}
		if a.json {
			for _, i := range rows {
				if err := a.line(deviceLine{"devmapper-device", 1, &inv.Rows[i]}); err != nil {
					return err
				}
			}
			return a.line(poolLine{"devmapper-pool", 1, &inv.Pool})
		}
		if f.wide {
			a.wideRows(inv, rows)
		} else {
			a.shortRows(inv, rows)
		}
		if len(rows) < len(inv.Rows) {
			a.print("%d of %s shown", len(rows), say.Count(len(inv.Rows), "row"))
		}
		a.printPool(&inv.Pool, text)
		return nil
	})
}

// choose gives the rows that are wanted, in the order that is wanted.
func (f *devmapperLsFlags) choose(inv *devmapper.Inventory) ([]int, error) {
	keep := map[int]bool{}
	if f.container != "" {
		found := inv.Find(f.container)
		found = slices.DeleteFunc(found, func(i int) bool {
			return !slices.ContainsFunc(inv.Rows[i].Containers, func(c devmapper.ContainerUse) bool {
				return c.ID == f.container || c.Namespace+"/"+c.ID == f.container
			})
		})
		if len(found) == 0 {
			return nil, usagef("fettle devmapper ls lists the containers that have a snapshot", "no container %q runs on a snapshot here", f.container)
		}
		for _, i := range found {
			for _, k := range inv.Chain(i) {
				keep[k] = true
			}
		}
	}
	needs := func(r *devmapper.Row) bool {
		return slices.ContainsFunc(r.Images, func(u devmapper.ImageUse) bool { return u.Name == f.image || u.Namespace+"/"+u.Name == f.image })
	}
	var rows []int
	for i := range inv.Rows {
		r := &inv.Rows[i]
		if (f.container == "" || keep[i]) && (f.image == "" || needs(r)) && (!f.leaked || r.Leaked) && (!f.trouble || len(r.Trouble) > 0) &&
			(f.state == "" || strings.EqualFold(r.State, f.state)) {
			rows = append(rows, i)
		}
	}
	if f.image != "" && len(rows) == 0 && !slices.ContainsFunc(inv.Rows, func(r devmapper.Row) bool { return needs(&r) }) {
		return nil, usagef("names are complete, as in docker.io/library/nginx:latest", "no snapshot here belongs to an image %q", f.image)
	}
	by := func(key func(r *devmapper.Row) *uint64) {
		slices.SortStableFunc(rows, func(a, b int) int { return cmp.Compare(orZero(key(&inv.Rows[b])), orZero(key(&inv.Rows[a]))) })
	}
	switch f.sort {
	case "mapped":
		by(func(r *devmapper.Row) *uint64 { return r.Mapped })
	case "exclusive":
		by(func(r *devmapper.Row) *uint64 { return r.Exclusive })
	case "name":
		slices.SortStableFunc(rows, func(a, b int) int { return cmp.Compare(rowName(&inv.Rows[a]), rowName(&inv.Rows[b])) })
	}
	return rows, nil
}

func orZero(n *uint64) uint64 {
	if n == nil {
		return 0
	}
	return *n
}

// rowName is what people call a row.
func rowName(r *devmapper.Row) string {
	switch {
	case r.Key != "":
		return r.Namespace + "/" + r.Key
	case r.Backend != "":
		return r.Backend
	case r.Device != "":
		return r.Device
	}
	return ""
}

// Widths of the narrow table: a terminal of 100 columns.
const (
	tableWidth = 100
	keyWidth   = 26
)

func idText[T uint32 | uint64](id *T) string {
	if id == nil {
		return "-"
	}
	return strconv.FormatUint(uint64(*id), 10)
}

// shortRows prints the table for terminals.
func (a *App) shortRows(inv *devmapper.Inventory, rows []int) {
	snap, dev := 4, 3
	for _, i := range rows {
		snap, dev = max(snap, len(idText(inv.Rows[i].SnapshotID))), max(dev, len(idText(inv.Rows[i].DeviceID)))
	}
	ns, title := commonNamespace(inv, rows), "KEY"
	if ns != "" {
		title += " IN " + say.Short(say.Clean(ns), keyWidth-7)
	}
	used := max(12, tableWidth-(snap+dev+11+9+9+keyWidth+6*2))
	if len(rows) > 0 {
		a.print("%*s  %*s  %-11s  %9s  %9s  %-*s  %s", snap, "SNAP", dev, "DEV", "STATE", "MAPPED", "OWN", keyWidth, title, "USED BY")
	}
	for _, i := range rows {
		r := &inv.Rows[i]
		name := rowName(r)
		if r.Key != "" && ns != "" {
			name = r.Key
		}
		a.print("%*s  %*s  %-11s  %9s  %9s  %-*s  %s", snap, idText(r.SnapshotID), dev, idText(r.DeviceID), orDash(stateText(r)), optBytes(r.Mapped),
			optBytes(r.Exclusive), keyWidth, say.Short(say.Clean(orDash(name)), keyWidth), cutEnd(say.Clean(usedBy(r, path.Base)), used))
		if len(r.Trouble) > 0 {
			a.print("%*s  ! %s", snap, "", troubleText(r))
		}
	}
}

// commonNamespace is the namespace of all rows that have one, "" when they differ.
func commonNamespace(inv *devmapper.Inventory, rows []int) string {
	ns := ""
	for _, i := range rows {
		r := &inv.Rows[i]
		switch {
		case r.Key == "" || r.Namespace == ns:
		case ns != "":
			return ""
		default:
			ns = r.Namespace
		}
	}
	return ns
}

// cutEnd shortens a text to n characters: the nearest user comes first.
func cutEnd(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-3]) + "..."
	}
	return s
}

// stateText is the state of the device, or what there is instead of a record.
func stateText(r *devmapper.Row) string {
	switch {
	case r.State != "":
		return r.State
	case r.Device != "":
		return "unreadable"
	case r.What == devmapper.RowID:
		return "id " + r.IDState
	case r.What == devmapper.RowThin && r.IDState != "":
		return "id " + r.IDState
	}
	return ""
}

func troubleText(r *devmapper.Row) string {
	names := make([]string, len(r.Trouble))
	for i, c := range r.Trouble {
		names[i] = strings.TrimPrefix(c, "devmapper/")
	}
	return strings.Join(names, ", ")
}

// whole shows the name of an image as it is; path.Base leaves out where it came from.
func whole(name string) string { return name }

// usedBy says in a few words what needs a row, the nearest user first. image says how names of images are shown.
func usedBy(r *devmapper.Row, image func(string) string) string {
	var parts []string
	for _, c := range r.Containers {
		parts = append(parts, c.ID)
	}
	tops, layers := 0, 0
	for _, u := range r.Images {
		if u.Top {
			tops++
			if tops == 1 {
				parts = append(parts, image(u.Name))
			}
		} else {
			layers++
		}
	}
	if tops > 1 {
		parts = append(parts, say.Count(tops-1, "more image"))
	}
	if tops == 0 && layers == 1 {
		parts = append(parts, "layer of "+image(r.Images[0].Name))
	} else if layers > 0 {
		parts = append(parts, "layer of "+say.Count(layers, "image"))
	}
	if r.Below > 0 {
		parts = append(parts, say.Count(r.Below, "container")+" above")
	}
	for _, l := range r.Leases {
		parts = append(parts, "lease "+l)
	}
	if r.Leaked {
		parts = append(parts, "leaked")
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

// wideRows prints every column, one line for each row.
func (a *App) wideRows(inv *devmapper.Inventory, rows []int) {
	table := [][]string{{"ROW", "SNAP", "DEV", "DEVICE", "STATE", "ID", "KIND", "MAPPED", "OWN", "SIZE", "TIME", "OPEN", "KEY", "BACKEND KEY", "PARENT", "USED BY", "TROUBLE"}}
	for _, i := range rows {
		r := &inv.Rows[i]
		open := "-"
		if r.Open != nil {
			open = strconv.Itoa(*r.Open)
		}
		key := r.Key
		if key != "" {
			key = r.Namespace + "/" + key
		}
		line := []string{r.What, idText(r.SnapshotID), idText(r.DeviceID), r.Device, r.State, r.IDState, r.Kind, byteCount(r.Mapped), byteCount(r.Exclusive),
			byteCount(r.Size), idText(r.PoolTime), open, key, r.Backend, r.Parent, usedBy(r, whole), troubleText(r)}
		for k := range line {
			line[k] = orDash(say.Clean(line[k]))
		}
		table = append(table, line)
	}
	a.printTable(table)
}

func byteCount(n *uint64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatUint(*n, 10)
}

// printTable prints lines of equal length in columns as wide as they need to be.
func (a *App) printTable(table [][]string) {
	width := make([]int, len(table[0]))
	for _, line := range table {
		for k, text := range line {
			width[k] = max(width[k], len([]rune(text)))
		}
	}
	for _, line := range table {
		var b strings.Builder
		for k, text := range line {
			fmt.Fprintf(&b, "%-*s  ", width[k], text)
		}
		a.print("%s", strings.TrimRight(b.String(), " "))
	}
}

// printPool prints the totals and what to do next.
func (a *App) printPool(p *devmapper.PoolFacts, text string) {
	line := "pool " + say.Clean(orDash(p.Name))
	if p.Live {
		line += " (live)"
	}
	if p.BlockSize != nil {
		line += fmt.Sprintf(", blocks of %s", optBytes(p.BlockSize))
	}
	a.print("%s", line)
	if p.DataTotal != nil {
		a.print("data %s of %s used, metadata %s of %s", optBytes(p.DataUsed), optBytes(p.DataTotal), optBytes(p.MetadataUsed), optBytes(p.MetadataTotal))
	}
	line = fmt.Sprintf("%s, %s, %s", say.Count(p.Snapshots, "snapshot"), say.Count(p.Records, "device record"), say.Count(p.ThinDevices, "thin device"))
	if p.Leaked > 0 {
		line += fmt.Sprintf("; %s, at least %s to be had back", say.Count(p.Leaked, "leaked device"), bytesText(int64(min(p.Reclaimable, 1<<62))))
	}
	a.print("%s", line)
	if p.Findings > 0 {
		a.print("%s; next: %s", say.Count(p.Findings, "finding"), a.commandLine("check", devmapperText(text)))
	}
}

// devmapperText is a store as the general commands take it.
func devmapperText(text string) string {
	if strings.HasPrefix(text, "devmapper:") {
		return text
	}
	return "devmapper:" + text
}
