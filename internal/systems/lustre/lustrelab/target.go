package lustrelab

import (
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mkldiskfs"
)

// target is one MDT that is being written.
type target struct {
	index int
	im    *mkldiskfs.Image
	path  string
	oi    [oiFiles]*oiFile

	root    localDir // inode 2
	parents localDir // REMOTE_PARENT_DIR
	locals  uint32   // numbers given of sequence LOCAL_NAME
	count   int      // inodes in use
}

// localDir is a directory whose names are gathered and written at the end.
type localDir struct {
	ino     uint32
	entries []mkldiskfs.Entry
	links   uint16
}

func (d *localDir) add(e mkldiskfs.Entry) {
	d.entries = append(d.entries, e)
	if e.Type == ext4.TypeDir {
		d.links++
	}
}

// object is what is written for one inode.
type object struct {
	ino    uint32
	mode   uint16
	links  uint16
	lma    lustre.LMA
	xattrs []mkldiskfs.Xattr // beside the LMA
	m      mkldiskfs.Map
	file   bool // of the namespace: its FID comes in ascending order
}

// trusted makes an attribute of the name space "trusted.".
func trusted(name string, value []byte) mkldiskfs.Xattr {
	return mkldiskfs.Xattr{Index: ext4.XattrIndexTrusted, Name: name, Value: value}
}

func (t *target) alloc(dir bool) (uint32, error) {
	t.count++
	return t.im.AllocInode(dir)
}

// put writes an inode and, unless it is an agent, its entry of the object index.
func (t *target) put(o *object) error {
	gen := t.im.Generation(o.ino)
	if o.ino == ext4.InoRoot {
		gen = 0
	}
	in := mkldiskfs.Inode{Mode: o.mode, Links: o.links, Generation: gen, Map: o.m}
	in.Xattrs = append([]mkldiskfs.Xattr{trusted("lma", o.lma.Encode())}, o.xattrs...)
	if err := t.im.PutInode(o.ino, &in); err != nil {
		return fmt.Errorf("MDT%04x: %w", t.index, err)
	}
	if o.lma.Has(lustre.LMAIAgent) || !lustre.InOI(o.lma.FID, o.lma.Compat) {
		return nil
	}
	n, err := lustre.OIFile(o.lma.FID, oiFiles)
	if err != nil {
		return err
	}
	e := lustre.OIEntry{FID: o.lma.FID, Ino: o.ino, Generation: gen}
	if o.file {
		return t.oi[n].add(e)
	}
	t.oi[n].others = append(t.oi[n].others, e)
	return nil
}

// putDir writes the blocks and the inode of a directory.
func (t *target) putDir(o *object, parent mkldiskfs.Entry, entries []mkldiskfs.Entry, minBlocks int) error {
	gen := t.im.Generation(o.ino)
	if o.ino == ext4.InoRoot {
		gen = 0
	}
	m, err := t.im.PutDir(&mkldiskfs.Dir{Ino: o.ino, Generation: gen, Parent: parent, Entries: entries, MinBlocks: minBlocks})
	if err != nil {
		return fmt.Errorf("MDT%04x: %w", t.index, err)
	}
	o.m = m
	return t.put(o)
}

// agent makes the inode that stands for an object of another MDT, named in the directory parent, and gives its number.
func (t *target) agent(fid lustre.FID, mode uint16, parent uint32) (uint32, error) {
	dir := mode&ext4.ModeTypeMask == ext4.ModeDir
	ino, err := t.alloc(dir)
	if err != nil {
		return 0, err
	}
	o := &object{ino: ino, mode: mode & ext4.ModeTypeMask, links: 1, lma: lustre.LMA{Incompat: lustre.LMAIAgent, FID: fid}}
	switch {
	case dir:
		o.links = 2
		// A server leaves the agent's own FID behind '..'.
		return ino, t.putDir(o, mkldiskfs.Entry{Ino: parent, FID: fid}, nil, 0)
	case o.mode == ext4.ModeSymlink:
		o.m = mkldiskfs.FastSymlink(fid.String())
	}
	return ino, t.put(o)
}

// remote hangs an object with a remote name under REMOTE_PARENT_DIR. The FIDs behind those names are not reliable on real
// targets either: most names have none, some the right one, some that of a neighbour.
func (t *target) remote(fid lustre.FID, ino uint32, dirType uint8) {
	e := mkldiskfs.Entry{Name: lustre.RemoteParentName(fid), Ino: ino, Type: dirType}
	switch ino % 8 {
	case 0:
		e.FID = fid
	case 1:
		e.FID = lustre.FID{Seq: fid.Seq, OID: fid.OID + 1}
	}
	t.parents.add(e)
}
