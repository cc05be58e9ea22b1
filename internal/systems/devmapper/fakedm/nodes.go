package fakedm

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"fettle/internal/format/thinmeta"
)

// create makes a node with a table of one line.
func (d *control) create(name, table string) error {
	if strings.Contains(name, "/") {
		return d.say("Name \"%s\" invalid. It contains a '/'.", name)
	}
	if d.known(name) {
		return d.ioctl("create", name, unix.EBUSY)
	}
	f := strings.Fields(table)
	if len(f) < 3 {
		return d.ioctl("reload", name, unix.EINVAL)
	}
	var err error
	switch f[2] {
	case "thin":
		err = d.createThinNode(name, f)
	case "thin-pool":
		err = d.createPoolNode(name, f)
	default:
		err = unix.EINVAL
	}
	if err != nil {
		return d.ioctl("reload", name, err)
	}
	return nil
}

// createThinNode takes "0 LENGTH thin POOL ID".
func (d *control) createThinNode(name string, f []string) error {
	if len(f) < 5 {
		return unix.EINVAL
	}
	sectors, err1 := strconv.ParseUint(f[1], 10, 64)
	id, err2 := strconv.ParseUint(f[4], 10, 32)
	if f[0] != "0" || err1 != nil || err2 != nil || sectors == 0 || id > maxDevice {
		return unix.EINVAL
	}
	p := d.Pool(f[3])
	if p == nil || !p.Active {
		return unix.ENXIO
	}
	if p.Thin(uint32(id)) == nil {
		return unix.ENODATA
	}
	d.Minor++
	d.Nodes = append(d.Nodes, &Node{Name: name, Pool: p.Name, Device: uint32(id), Sectors: sectors, Minor: d.Minor})
	return nil
}

// createPoolNode takes "0 LENGTH thin-pool METADATA DATA BLOCK LOWWATER ...". Metadata is read from the file, as the kernel does.
func (d *control) createPoolNode(name string, f []string) error {
	if len(f) < 7 {
		return unix.EINVAL
	}
	sectors, err1 := strconv.ParseUint(f[1], 10, 64)
	block, err2 := strconv.ParseUint(f[5], 10, 32)
	low, err3 := strconv.ParseUint(f[6], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || block == 0 {
		return unix.EINVAL
	}
	p, err := LoadThinMeta(f[3], name)
	if err != nil {
		return err
	}
	if uint32(block) != p.BlockSectors || sectors/block < p.DataBlocks {
		return unix.EINVAL
	}
	p.DataBlocks, p.LowWater, p.Data, p.Active = sectors/block, low, f[4], true
	d.Minor++
	p.Minor = d.Minor
	d.Pools = slices.DeleteFunc(d.Pools, func(o *Pool) bool { return o.Name == name })
	d.Pools = append(d.Pools, p)
	return nil
}

// reload takes a new table for a node. Only the lengths can change: what a resize needs.
func (d *control) reload(name, table string) error {
	f := strings.Fields(table)
	sectors := uint64(0)
	if len(f) > 4 {
		sectors, _ = strconv.ParseUint(f[1], 10, 64)
	}
	p, n := d.Pool(name), d.Node(name)
	switch {
	case p == nil && n == nil:
		return d.ioctl("reload", name, unix.ENXIO)
	case sectors == 0:
		return d.ioctl("reload", name, unix.EINVAL)
	case n != nil:
		n.Sectors = sectors
	case sectors/uint64(p.BlockSectors) < p.DataBlocks:
		return d.ioctl("reload", name, unix.EINVAL)
	default:
		p.DataBlocks = sectors / uint64(p.BlockSectors)
	}
	return nil
}

func (d *control) suspend(name string, on bool) error {
	what := map[bool]string{true: "suspend", false: "resume"}[on]
	if err := d.exists(name); err != nil {
		return err
	}
	if n := d.Node(name); n != nil {
		n.Suspended = on
		return nil
	}
	if p := d.Pool(name); p != nil && p.Active {
		p.Suspended = on
		return nil
	}
	return d.ioctl(what, name, unix.ENXIO)
}

func (d *control) remove(name string, opts map[string]string) error {
	if err := d.exists(name); err != nil {
		return err
	}
	if p := d.Pool(name); p != nil && p.Active {
		if slices.ContainsFunc(d.Nodes, func(n *Node) bool { return n.Pool == p.Name }) {
			return d.ioctl("remove", name, unix.EBUSY)
		}
		p.Active = false
		return p.flush()
	}
	n := d.Node(name)
	if n == nil {
		return d.ioctl("remove", name, unix.ENXIO)
	}
	if n.Open > 0 {
		if _, ok := opts["deferred"]; !ok {
			return d.ioctl("remove", name, unix.EBUSY)
		}
		n.Deferred = true
		return nil
	}
	d.Nodes = slices.DeleteFunc(d.Nodes, func(o *Node) bool { return o == n })
	return nil
}

// Close takes back one that holds a node open. A node whose removal was deferred goes away with the last.
func (s *State) Close(name string) error {
	n := s.Node(name)
	if n == nil || n.Open == 0 {
		return fmt.Errorf("close %s: %w", name, unix.ENXIO)
	}
	if n.Open--; n.Open == 0 && n.Deferred {
		s.Nodes = slices.DeleteFunc(s.Nodes, func(o *Node) bool { return o == n })
	}
	return nil
}

// flush writes the pool's metadata to its metadata device, if that is a file.
func (p *Pool) flush() error {
	if st, err := os.Stat(p.Metadata); err != nil || !st.Mode().IsRegular() {
		return nil
	}
	return WriteThinMeta(p, p.Metadata)
}

// highest is one more than the highest mapped virtual block.
func (t *Thin) highest() uint64 {
	if len(t.Runs) == 0 {
		return 0
	}
	last := t.Runs[len(t.Runs)-1]
	return last.Virtual + last.Length
}

// metaUsed estimates the metadata blocks in use, with the tenth that the kernel holds in reserve.
func (p *Pool) metaUsed() uint64 {
	n := uint64(10) + p.MetaBlocks/10
	for _, t := range p.Thins {
		n += 1 + uint64(len(t.Runs))/uint64(thinmeta.MaxEntries(8))
	}
	return min(n, p.MetaBlocks)
}
