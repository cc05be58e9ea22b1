package lustrelab

import (
	"bytes"
	"context"
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// world is everything that the images of one file system say, read by a naive program: it holds all objects in memory and has
// nothing in common with the check that the lab tries.
type world struct {
	wrong   []string // what is inconsistent, filled by check
	mdts    []*mdt
	objects map[lustre.FID]*seen // of the namespace
	refs    map[lustre.FID][]ref // the names of each object
	fld     *lustre.FLD
	agents  int
	pending map[lustre.FID]bool
}

// seen is one object as its own MDT has it.
type seen struct {
	mdt   int
	in    *ext4.Inode // without Raw
	lma   lustre.LMA
	link  *lustre.LinkEA
	lmv   *lustre.LMV
	alien bool   // a directory of another system
	names []name // if it is a directory
	up    lustre.FID
	upIno uint32
	upAt  place
}

// name is an entry of a directory.
type name struct {
	text string
	fid  lustre.FID
	typ  uint8
	ino  uint32
	at   place
}

// place is where an entry lies.
type place struct {
	block   uint64 // of the image
	logical uint32 // of the directory
	offset  int    // in the block
}

// ref is a name as its object finds it: the n-th of directory dir.
type ref struct {
	dir *seen
	n   int
}

func (r ref) name() *name { return &r.dir.names[r.n] }

// link is the record that the object's link EA should have for the name.
func (r ref) link() lustre.Link { return lustre.Link{Parent: r.dir.lma.FID, Name: r.name().text} }

// mdt is what is looked up within one image.
type mdt struct {
	fs      *ext4.FS
	byIno   map[uint32]*seen
	oi      map[lustre.FID]lustre.OIEntry
	oiFiles [oiFiles]uint32
	parents map[lustre.FID]uint32 // REMOTE_PARENT_DIR
	rpd     uint32
}

// errorf notes an inconsistency.
func (w *world) errorf(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// readWorld reads all images.
func readWorld(ctx context.Context, images []*ext4.FS) (*world, error) {
	w := &world{objects: map[lustre.FID]*seen{}, refs: map[lustre.FID][]ref{}, pending: map[lustre.FID]bool{}}
	for i, fs := range images {
		m, err := w.readMDT(ctx, i, fs)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", fs.Name(), err)
		}
		w.mdts = append(w.mdts, m)
	}
	return w, nil
}

func (w *world) problem(p ext4.Problem) { w.errorf("%+v", p) }

func (w *world) readMDT(ctx context.Context, index int, fs *ext4.FS) (*mdt, error) {
	m := &mdt{fs: fs, byIno: map[uint32]*seen{}, oi: map[lustre.FID]lustre.OIEntry{}, parents: map[lustre.FID]uint32{}}
	for _, p := range fs.Problems() {
		w.problem(p)
	}
	for _, r := range fs.Refusals() {
		w.errorf("%s", r.Text)
	}
	for g := range fs.Groups() {
		if ok, err := fs.VerifyBitmaps(g, w.problem); err != nil || !ok || !fs.VerifyGroup(g, w.problem) {
			w.errorf("group %d: %v", g, err)
		}
	}
	err := fs.SweepInodes(ctx, ext4.SweepOptions{Report: w.problem}, func(in *ext4.Inode) error {
		if in.Flags&ext4.FlagEAInode != 0 || in.Number < 11 && in.Number != ext4.InoRoot || in.Number == fs.Super().ProjectQuotaInum {
			return nil
		}
		s := &seen{mdt: index, in: in.Clone()}
		if !fs.VerifyInode(in, w.problem) {
			w.errorf("inode %d", in.Number)
		}
		m.byIno[in.Number] = s
		if err := w.readObject(fs, s); err != nil {
			w.errorf("%v", err)
		}
		s.in.Raw = nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return m, w.readLocals(index, m)
}

func (w *world) readObject(fs *ext4.FS, s *seen) error {
	value := func(n string) ([]byte, bool) {
		b, ok, err := fs.Xattr(s.in, ext4.XattrIndexTrusted, n)
		if err != nil {
			w.errorf("%v", err)
		}
		return b, ok
	}
	b, ok := value("lma")
	if !ok {
		return fmt.Errorf("inode %d has no LMA", s.in.Number)
	}
	var err error
	if s.lma, err = lustre.DecodeLMA(b); err != nil {
		return err
	}
	if b, ok := value("link"); ok {
		ea, ps, err := lustre.DecodeLinkEA(b)
		if err != nil || len(ps) > 0 {
			return fmt.Errorf("inode %d: %v, %v", s.in.Number, ps, err)
		}
		s.link = &ea
	}
	if b, ok := value("lmv"); ok && lustre.LMVMagic(b) == lustre.LMVForeign {
		s.alien = true
		if f, err := lustre.DecodeForeign(b); err != nil || len(f.Value) == 0 {
			return fmt.Errorf("inode %d: %+v, %v", s.in.Number, f, err)
		}
	} else if ok {
		v, err := lustre.DecodeLMV(b)
		if err != nil || v.Insane() != "" {
			return fmt.Errorf("inode %d: %s, %v", s.in.Number, v.Insane(), err)
		}
		s.lmv = &v
	}
	if b, ok := value("lov"); ok {
		if l, err := lustre.DecodeLOV(b); err != nil || l.Owner != s.lma.FID || l.Objects < 1 {
			return fmt.Errorf("inode %d: %+v, %v", s.in.Number, l, err)
		}
	}
	if !s.in.IsDir() {
		return nil
	}
	return fs.Dir(s.in, func(d ext4.Dirent) bool {
		var fid lustre.FID
		if raw, ok := d.LUFID(); ok {
			fid = lustre.BigFID(raw)
		}
		switch string(d.Name) {
		case ".":
		case "..":
			s.up, s.upIno, s.upAt = fid, d.Inode, place{d.Block, d.Logical, d.Offset}
		default:
			s.names = append(s.names, name{string(d.Name), fid, d.Type, d.Inode, place{d.Block, d.Logical, d.Offset}})
		}
		return true
	}, w.problem)
}

// readLocals follows the names of the root to the files whose content matters.
func (w *world) readLocals(index int, m *mdt) error {
	root := m.byIno[ext4.InoRoot]
	if root == nil {
		return fmt.Errorf("it has no root")
	}
	var failed error
	for _, n := range root.names {
		in := m.byIno[n.ino]
		if in == nil {
			w.errorf("MDT%04x: %s has no inode", index, n.text)
			continue
		}
		content := func() []byte {
			in, err := m.fs.Inode(n.ino)
			if err != nil {
				failed = err
				return nil
			}
			b, err := m.fs.ReadAll(in, 1<<30)
			if err != nil {
				failed = err
			}
			return b
		}
		if k, ok := lustre.ParseOIName(n.text); ok && k < oiFiles {
			m.oiFiles[k] = n.ino
			w.readOI(m, k, content())
		}
		switch n.text {
		case "fld":
			if index == 0 {
				w.readFLD(content())
			}
		case "REMOTE_PARENT_DIR":
			m.rpd = n.ino
			for _, r := range in.names {
				fid, ok := lustre.ParseRemoteParentName(r.text)
				if !ok {
					w.errorf("%q in REMOTE_PARENT_DIR", r.text)
				}
				m.parents[fid] = r.ino
			}
		case "PENDING":
			for _, r := range in.names { // servers put no FID behind these names
				if s := m.byIno[r.ino]; s != nil {
					w.pending[s.lma.FID] = true
				}
			}
		case "update_log_dir":
			for _, r := range in.names {
				w.pending[r.fid] = true
			}
		}
	}
	return failed
}

func (w *world) readOI(m *mdt, file int, b []byte) {
	for at := 0; at+4096 <= len(b); at += 4096 {
		block := b[at : at+4096]
		if lustre.IAMBlockKind(block) != lustre.IAMLeafBlock {
			continue
		}
		ps, err := lustre.OIEntries(block, func(e lustre.OIEntry) bool {
			if n, _ := lustre.OIFile(e.FID, oiFiles); n != file {
				w.errorf("%v is in file %d of the object index", e.FID, file)
			}
			m.oi[e.FID] = e
			w.descend(b, e)
			return true
		})
		if err != nil || len(ps) > 0 {
			w.errorf("%v, %v", ps, err)
		}
	}
}

// descend finds an entry through the tree, as a server does.
func (w *world) descend(b []byte, e lustre.OIEntry) {
	root, err := lustre.DecodeIAMRoot(b[:4096])
	if err != nil {
		w.errorf("object index: %v", err)
		return
	}
	at, err := root.Shape.Child(b[:4096], true, e.Key())
	for range root.Levels {
		if err == nil && (at+1)*4096 <= uint64(len(b)) {
			at, err = root.Shape.Child(b[at*4096:(at+1)*4096], false, e.Key())
		}
	}
	found := false
	if err == nil && (at+1)*4096 <= uint64(len(b)) {
		_, err = root.Shape.Records(b[at*4096:(at+1)*4096], func(k, r []byte) bool {
			found = found || bytes.Equal(k, e.Key()) && bytes.Equal(r, e.Record())
			return !found
		})
	}
	if err != nil || !found {
		w.errorf("%v is not found through the tree: %v", e, err)
	}
}

func (w *world) readFLD(b []byte) {
	var all []lustre.Range
	for at := 4096; at+4096 <= len(b); at += 4096 {
		if lustre.IAMBlockKind(b[at:at+4096]) != lustre.IAMLeafBlock {
			continue
		}
		if _, err := lustre.FLDRanges(b[at:at+4096], func(r lustre.Range) bool { all = append(all, r); return true }); err != nil {
			w.errorf("fld: %v", err)
		}
	}
	fld, ps := lustre.NewFLD(all)
	if len(ps) > 0 {
		w.errorf("%v", ps)
	}
	w.fld = fld
}
