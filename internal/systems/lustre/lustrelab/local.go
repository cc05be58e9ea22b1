package lustrelab

import (
	"encoding/binary"
	"fmt"
	"path/filepath"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/systems/lustre/mkldiskfs"
)

// begin creates the image of an MDT with the files whose inode numbers others need to know.
func begin(dir string, p *plan, index, inodes int) (*target, error) {
	o := p.opt
	t := &target{index: index, path: filepath.Join(dir, fmt.Sprintf("mdt%d.img", index))}
	var err error
	t.im, err = mkldiskfs.Create(t.path, mkldiskfs.Options{
		Label: fmt.Sprintf("%s-MDT%04x", o.FSName, index), Seed: mix(o.Seed + uint64(index)), Inodes: inodes, InodeSize: o.InodeSize,
		Extents: o.Extents, MetadataCsum: o.MetadataCsum, Bit64: o.Bit64, EAInode: o.EAInode, Linear: o.Linear, Fragment: o.Fragment, Time: defaultDay,
	})
	if err != nil {
		return nil, err
	}
	if err := t.putFirst(); err != nil {
		t.im.Abandon()
		return nil, err
	}
	return t, nil
}

// putFirst makes lost+found and takes inodes for the object index and REMOTE_PARENT_DIR.
func (t *target) putFirst() error {
	t.im.UseRoot()
	t.count++
	t.root = localDir{ino: ext4.InoRoot, links: 2}
	lost, err := t.alloc(true)
	if err != nil {
		return err
	}
	o := &object{ino: lost, mode: ext4.ModeDir | 0o700, links: 2, lma: lustre.LMA{FID: lustre.LocalFID(lustre.OIDBackendLost)}}
	for i := range t.oi {
		ino, err := t.alloc(false)
		if err != nil {
			return err
		}
		t.oi[i] = &oiFile{im: t.im, ino: ino}
	}
	if err := t.putDir(o, mkldiskfs.Entry{Ino: ext4.InoRoot}, nil, 4); err != nil {
		return err
	}
	t.root.add(mkldiskfs.Entry{Name: "lost+found", Ino: lost, Type: ext4.TypeDir})
	if t.parents.ino, err = t.alloc(true); err != nil {
		return err
	}
	t.parents.links = 2
	t.root.add(mkldiskfs.Entry{Name: "REMOTE_PARENT_DIR", Ino: t.parents.ino, Type: ext4.TypeDir})
	for i := range t.oi {
		t.root.add(mkldiskfs.Entry{Name: lustre.OIName(i), Ino: t.oi[i].ino, Type: ext4.TypeRegular})
	}
	return nil
}

// localFID is the next number of the files that are named on each target by itself.
func (t *target) localFID() lustre.FID {
	t.locals++
	return lustre.FID{Seq: lustre.SeqLocalName, OID: t.locals}
}

// file makes a local file. A zero FID becomes that of inode and generation.
func (t *target) file(d *localDir, name string, lma lustre.LMA, content []byte, xattrs ...mkldiskfs.Xattr) error {
	ino, err := t.alloc(false)
	if err != nil {
		return err
	}
	if lma.FID.IsZero() {
		lma.FID = lustre.IGIF(ino, t.im.Generation(ino))
	}
	o := &object{ino: ino, mode: ext4.ModeRegular | 0o644, links: 1, lma: lma, xattrs: xattrs}
	if o.m, err = t.im.PutFile(ino, t.im.Generation(ino), content); err != nil {
		return err
	}
	e := mkldiskfs.Entry{Name: name, Ino: ino, Type: ext4.TypeRegular}
	if lma.FID.IsNormal() {
		e.FID = lma.FID
	}
	d.add(e)
	return t.put(o)
}

// dir makes a local directory with what fill puts into it.
func (t *target) dir(up *localDir, name string, mode uint16, lma lustre.LMA, fill func(*localDir) error) error {
	ino, err := t.alloc(true)
	if err != nil {
		return err
	}
	if lma.FID.IsZero() {
		lma.FID = lustre.IGIF(ino, t.im.Generation(ino))
	}
	d := &localDir{ino: ino, links: 2}
	if fill != nil {
		if err := fill(d); err != nil {
			return err
		}
	}
	up.add(mkldiskfs.Entry{Name: name, Ino: ino, Type: ext4.TypeDir})
	o := &object{ino: ino, mode: ext4.ModeDir | mode, links: d.links, lma: lma}
	return t.putDir(o, mkldiskfs.Entry{Ino: up.ino}, d.entries, 0)
}

func local(oid uint32) lustre.LMA { return lustre.LMA{FID: lustre.LocalFID(oid)} }

// putLocals writes what a target has beside the namespace.
func (t *target) putLocals(p *plan, seq sequence) error {
	oidir := lustre.LMA{Compat: lustre.LMACNotInOI | lustre.LMACFIDOnOST}
	err := t.dir(&t.root, "O", 0o755, oidir, func(o *localDir) error {
		for _, seq := range []uint64{lustre.SeqLocalName, lustre.SeqLLOG, lustre.SeqLLOGName} {
			if err := t.objectDir(o, seq, oidir); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	data := lustre.MountData{Flags: lustre.TargetMDT, Index: uint32(t.index), MountType: 1, FSName: p.opt.FSName,
		Service: fmt.Sprintf("%s-MDT%04x", p.opt.FSName, t.index), MountOptions: "user_xattr,errors=remount-ro"}
	if t.index == 0 {
		data.Flags |= lustre.TargetMGS
	}
	err = t.dir(&t.root, "CONFIGS", 0o755, local(lustre.OIDConfigs), func(c *localDir) error {
		return t.file(c, "mountdata", lustre.LMA{}, data.Encode())
	})
	if err != nil {
		return err
	}
	return t.putServices(p, seq)
}

// objectDir makes O/SEQ with LAST_ID and 32 directories, where objects without a name would be.
func (t *target) objectDir(o *localDir, seq uint64, lma lustre.LMA) error {
	name := fmt.Sprintf("%x", seq)
	if seq < lustre.SeqIGIF {
		name = fmt.Sprintf("%d", seq)
	}
	return t.dir(o, name, 0o755, lma, func(s *localDir) error {
		for i := range 32 {
			if err := t.dir(s, fmt.Sprintf("d%d", i), 0o700, lma, nil); err != nil {
				return err
			}
		}
		return t.file(s, "LAST_ID", lustre.LMA{FID: lustre.FID{Seq: seq}}, make([]byte, 8))
	})
}

// ranges are the sequences that the FLD of the MDT knows: MDT0 has all of them, others their own.
func (t *target) ranges(mdts int) []lustre.Range {
	var ranges []lustre.Range
	for m := range mdts {
		if t.index == 0 || m == t.index {
			ranges = append(ranges, lustre.Range{Start: seqBase(m), End: seqBase(m + 1), Index: uint32(m)})
		}
	}
	if t.index == 0 {
		ranges = append(ranges, lustre.Range{Start: lustre.SeqIGIF, End: lustre.SeqIGIFMax + 1},
			lustre.Range{Start: lustre.SeqDotLustre, End: lustre.SeqDotLustre + 1}, lustre.Range{Start: lustre.SeqRoot, End: lustre.SeqRoot + 1},
			lustre.Range{Start: seqBase(mdts), End: seqBase(mdts + 1), Flags: lustre.RangeOST})
	}
	return ranges
}

// putServices writes the files of the services: FLD, sequences, recovery, logs, LFSCK. seq is the first that was not given.
func (t *target) putServices(p *plan, seq sequence) error {
	fld, err := lustre.BuildFLD(mkldiskfs.BlockSize, t.ranges(p.opt.MDTs))
	if err != nil {
		return err
	}
	// Servers give sequences in lots of 1000.
	given := seqBase(t.index) + (seq.seq-seqBase(t.index)+1000)/1000*1000
	rest := lustre.Range{Start: given, End: seqBase(t.index + 1), Index: uint32(t.index)}
	type file struct {
		name    string
		lma     lustre.LMA
		content []byte
	}
	files := []file{
		{"fld", local(lustre.OIDFLD), joined(fld)},
		{"seq_srv", local(lustre.OIDSeqSrv), rest.AppendLittle(nil)},
		{"last_rcvd", local(lustre.OIDLastRcvd), t.lastRcvd(p)},
		{"reply_data", local(lustre.OIDReplyData), replyHeader()},
		{"BATCHID", local(lustre.OIDBatchID), make([]byte, 8)},
		{"CATALOGS", local(lustre.OIDCatalogs), make([]byte, 64)},
		{"OI_scrub", lustre.LMA{Compat: lustre.LMACNotInOI}, make([]byte, 400)},
		{"update_log", lustre.LMA{FID: lustre.FID{Seq: lustre.SeqUpdateLog, OID: uint32(t.index)}}, make([]byte, 64)},
		{"changelog_catalog", lustre.LMA{FID: lustre.FID{Seq: lustre.SeqLLOGName, OID: 5}}, nil},
		{"changelog_users", lustre.LMA{FID: lustre.FID{Seq: lustre.SeqLLOGName, OID: 6}}, nil},
		{"hsm_actions", lustre.LMA{FID: lustre.FID{Seq: lustre.SeqLLOGName, OID: 7}}, nil},
	}
	if t.index == 0 {
		all := lustre.Range{Start: seqBase(p.opt.MDTs + 1), End: 0xffffffffffffffff}
		files = append(files, file{"seq_ctl", local(lustre.OIDSeqCtl), all.AppendLittle(nil)})
	}
	for _, f := range files {
		if err := t.file(&t.root, f.name, f.lma, f.content); err != nil {
			return err
		}
	}
	logs := lustre.LMA{FID: lustre.FID{Seq: lustre.SeqUpdateLogDir, OID: uint32(t.index)}}
	err = t.dir(&t.root, "update_log_dir", 0o644, logs, func(d *localDir) error {
		for i := range 3 {
			fid := lustre.FID{Seq: seqBase(t.index), OID: uint32(i + 1)}
			if err := t.file(d, fid.String(), lustre.LMA{FID: fid}, make([]byte, 64)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.putLFSCK(p)
}

// putLFSCK writes the state of an LFSCK that never ran.
func (t *target) putLFSCK(p *plan) error {
	index, err := lustre.ShapeTrace.Build(mkldiskfs.BlockSize, 192, nil)
	if err != nil {
		return err
	}
	mark := lustre.LFSCKBookmark{Version: 2, Window: 1024}
	if p.opt.LostFound {
		mark.LostFound = lostFID(t.index)
	}
	err = t.dir(&t.root, "LFSCK", 0o644, lustre.LMA{FID: t.localFID()}, func(d *localDir) error {
		for i := range 16 {
			if err := t.file(d, fmt.Sprintf("lfsck_namespace_%02d", i), lustre.LMA{FID: t.localFID()}, joined(index)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := t.file(&t.root, "lfsck_bookmark", lustre.LMA{FID: t.localFID()}, mark.Encode()); err != nil {
		return err
	}
	state := lustre.LFSCKNamespace{Magic: lustre.LFSCKNamespaceMagic}
	return t.file(&t.root, "lfsck_namespace", lustre.LMA{FID: t.localFID()}, joined(index),
		trusted("lfsck_ns", state.Encode()), trusted("lfsck_bitmap", make([]byte, 8)))
}

func (t *target) lastRcvd(p *plan) []byte {
	head := lustre.LastRcvd{UUID: fmt.Sprintf("%s-MDT%04x_UUID", p.opt.FSName, t.index), LastTransno: 0x30000000a, MountCount: 3, Compat: 8,
		ROCompat: 1, Incompat: 0x21c, ServerSize: 512, ClientStart: 8192, ClientSize: 128, Subdirs: 32, Index: uint32(t.index)}
	return append(head.Encode(), make([]byte, 8192+256-lustre.LastRcvdSize)...)
}

// replyHeader is the begin of reply_data: magic, sizes of header and records.
func replyHeader() []byte {
	b := make([]byte, 32)
	for i, v := range []uint32{0xbdabda01, 32, 32} {
		binary.LittleEndian.PutUint32(b[4*i:], v)
	}
	return b
}

func joined(blocks [][]byte) []byte {
	var out []byte
	for _, b := range blocks {
		out = append(out, b...)
	}
	return out
}

// lostFID is that of .lustre/lost+found/MDTxxxx.
func lostFID(mdt int) lustre.FID { return lustre.FID{Seq: seqBase(mdt), OID: 0x100} }

// finish writes REMOTE_PARENT_DIR, the object index and the root, and completes the image.
func (t *target) finish() error {
	up := mkldiskfs.Entry{Ino: ext4.InoRoot}
	o := &object{ino: t.parents.ino, mode: ext4.ModeDir | 0o755, links: t.parents.links,
		lma: lustre.LMA{Compat: lustre.LMACNotInOI, FID: lustre.LocalFID(lustre.OIDRemoteParentDir)}}
	if err := t.putDir(o, up, t.parents.entries, 0); err != nil {
		return err
	}
	for _, f := range t.oi {
		m, err := f.close()
		if err != nil {
			return err
		}
		lma := lustre.LMA{Compat: lustre.LMACNotInOI, FID: lustre.IGIF(f.ino, t.im.Generation(f.ino))}
		if err := t.put(&object{ino: f.ino, mode: ext4.ModeRegular | 0o644, links: 1, lma: lma, m: m}); err != nil {
			return err
		}
	}
	o = &object{ino: ext4.InoRoot, mode: ext4.ModeDir | 0o755, links: t.root.links,
		lma: lustre.LMA{Compat: lustre.LMACNotInOI, FID: lustre.LocalFID(lustre.OIDFSRoot)}}
	if err := t.putDir(o, up, t.root.entries, 0); err != nil {
		return err
	}
	return t.im.Close()
}
