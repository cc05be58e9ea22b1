package fakedm

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// shown is one node as info, ls, status and table see it.
type shown struct {
	name      string
	target    string
	minor     int
	open      int
	suspended bool
	readOnly  bool
	events    int
	status    string
	table     string
}

func (d *control) all() []shown {
	var out []shown
	for _, p := range d.Pools {
		if p.Active {
			out = append(out, d.showPool(p))
		}
	}
	for _, n := range d.Nodes {
		out = append(out, d.showNode(n))
	}
	return out
}

func (d *control) showPool(p *Pool) shown {
	open := 0
	for _, n := range d.Nodes {
		if n.Pool == p.Name {
			open++
		}
	}
	length, held, mode, check := p.DataBlocks*uint64(p.BlockSectors), "-", "rw", "-"
	if p.HeldRoot != 0 {
		held = strconv.FormatUint(p.HeldRoot, 10)
	}
	used := uint64(len(p.used()))
	if p.NeedsCheck {
		check = "needs_check"
	}
	switch {
	case p.ReadOnly || p.NeedsCheck:
		mode = "ro"
	case used >= p.DataBlocks:
		mode = "out_of_data_space"
	}
	return shown{name: p.Name, target: "thin-pool", minor: p.Minor, open: open, suspended: p.Suspended,
		status: fmt.Sprintf("0 %d thin-pool %d %d/%d %d/%d %s %s discard_passdown queue_if_no_space %s 256", length, p.TransactionID,
			p.metaUsed(), p.MetaBlocks, used, p.DataBlocks, held, mode, check),
		table: fmt.Sprintf("0 %d thin-pool %s %s %d %d 1 skip_block_zeroing", length, p.Metadata, p.Data, p.BlockSectors, p.LowWater)}
}

func (d *control) showNode(n *Node) shown {
	s := shown{name: n.Name, target: "thin", minor: n.Minor, open: n.Open, suspended: n.Suspended, events: n.Events,
		status: fmt.Sprintf("0 %d thin Fail", n.Sectors)}
	p := d.Pool(n.Pool)
	if p == nil {
		return s
	}
	s.table = fmt.Sprintf("0 %d thin %d:%d %d", n.Sectors, major, p.Minor, n.Device)
	if t := p.Thin(n.Device); t != nil {
		end := "-"
		if h := t.highest(); h > 0 {
			end = strconv.FormatUint(h*uint64(p.BlockSectors)-1, 10)
		}
		s.status = fmt.Sprintf("0 %d thin %d %s", n.Sectors, t.Mapped()*uint64(p.BlockSectors), end)
	}
	return s
}

// major is device-mapper's usual major number.
const major = 253

// pick gives the nodes that a command is about: the one of that name, or all of them.
func (d *control) pick(name, target string) ([]shown, error) {
	if err := d.exists(name); err != nil {
		return nil, err
	}
	var out []shown
	for _, s := range d.all() {
		if (name == "" || s.name == base(name)) && (target == "" || s.target == target) {
			out = append(out, s)
		}
	}
	if name != "" && len(out) == 0 {
		return nil, d.say("Device does not exist.")
	}
	return out, nil
}

// lines is status or table.
func (d *control) lines(cmd, target, name string) error {
	list, err := d.pick(name, target)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		fmt.Fprintln(d.out, "No devices found")
	}
	for _, s := range list {
		line := s.status
		if cmd == "table" {
			line = s.table
		}
		if name == "" {
			line = s.name + ": " + line
		}
		fmt.Fprintln(d.out, line)
	}
	return nil
}

func (d *control) ls(target string) error {
	list, err := d.pick("", target)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		fmt.Fprintln(d.out, "No devices found")
	}
	for _, s := range list {
		fmt.Fprintf(d.out, "%s\t(%d:%d)\n", s.name, major, s.minor)
	}
	return nil
}

// info is "info" in its long form, and with -c (--columns) or -C as a table.
func (d *control) info(opts map[string]string, name string) error {
	list, err := d.pick(name, "")
	if err != nil {
		return err
	}
	columns := false
	for _, o := range []string{"c", "C", "columns"} {
		_, is := opts[o]
		columns = columns || is
	}
	if len(list) == 0 {
		fmt.Fprintln(d.out, "No devices found")
		return nil
	}
	if columns {
		return d.columns(list, opts)
	}
	for _, s := range list {
		state := map[bool]string{true: "SUSPENDED", false: "ACTIVE"}[s.suspended]
		fmt.Fprintf(d.out, "Name:              %s\nState:             %s\nRead Ahead:        256\nTables present:    LIVE\nOpen count:        %d\n"+
			"Event number:      %d\nMajor, minor:      %d, %d\nNumber of targets: 1\n\n", s.name, state, s.open, s.events, major, s.minor)
	}
	return nil
}

func (d *control) columns(list []shown, opts map[string]string) error {
	fields := opts["o"]
	if fields == "" {
		fields = opts["options"]
	}
	if fields == "" {
		fields = "name,major,minor,attr,open,segments,events,uuid"
	}
	separator, given := opts["separator"]
	if !given {
		separator = ":"
	}
	if _, no := opts["noheadings"]; !no {
		fmt.Fprintln(d.out, strings.ReplaceAll(fields, ",", separator))
	}
	for _, s := range list {
		var row []string
		for _, f := range strings.Split(fields, ",") {
			v, ok := s.field(f)
			if !ok {
				return d.say("Unrecognised field: %s\n%s", f, describe(unix.EINVAL))
			}
			row = append(row, v)
		}
		fmt.Fprintln(d.out, strings.Join(row, separator))
	}
	return nil
}

func (s shown) field(name string) (string, bool) {
	switch name {
	case "name":
		return s.name, true
	case "blkdevname":
		return "dm-" + strconv.Itoa(s.minor), true
	case "attr":
		attr := []byte("L--w")
		if s.suspended {
			attr[2] = 's'
		}
		if s.readOnly {
			attr[3] = 'r'
		}
		return string(attr), true
	case "major":
		return strconv.Itoa(major), true
	case "minor":
		return strconv.Itoa(s.minor), true
	case "open":
		return strconv.Itoa(s.open), true
	case "segments":
		return "1", true
	case "events":
		return strconv.Itoa(s.events), true
	case "suspended":
		return map[bool]string{true: "Suspended", false: "Active"}[s.suspended], true
	case "uuid":
		return "", true
	}
	return "", false
}

// splitName takes an LVM name apart at single hyphens; a double one stands for a hyphen in a name.
func (d *control) splitName(name string) error {
	const mark = "\x00"
	parts := strings.SplitN(strings.ReplaceAll(base(name), "--", mark), "-", 3)
	for len(parts) < 3 {
		parts = append(parts, "")
	}
	fmt.Fprintln(d.out, "VG:LV:LVLayer")
	fmt.Fprintln(d.out, strings.ReplaceAll(strings.Join(parts, ":"), mark, "-"))
	return nil
}
