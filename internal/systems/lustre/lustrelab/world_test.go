package lustrelab

import (
	"bytes"
	"fmt"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// world is everything that the images of one file system say, read by a naive program.
type world struct {
	t       *testing.T
	wrong   []string             // what is inconsistent
	objects map[lustre.FID]*seen // of the namespace
	names   map[lustre.FID][]lustre.Link
	fld     *lustre.FLD
	agents  int
	pending map[lustre.FID]bool
}

// seen is one object as its own MDT has it.
type seen struct {
	mdt   int
	in    *ext4.Inode
	lma   lustre.LMA
	link  *lustre.LinkEA
	lmv   *lustre.LMV
	names []name // if it is a directory
	up    lustre.FID
	upIno uint32
}

type name struct {
	text string
	fid  lustre.FID
	typ  uint8
	ino  uint32
}

// mdt is what is looked up within one image.
type mdt struct {
	fs      *ext4.FS
	byIno   map[uint32]*seen
	oi      map[lustre.FID]lustre.OIEntry
	parents map[lustre.FID]uint32 // REMOTE_PARENT_DIR
	rpd     uint32
}

// errorf notes an inconsistency.
func (w *world) errorf(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// report fails the test with everything that is inconsistent.
func (w *world) report() {
	w.t.Helper()
	for _, s := range w.wrong {
		w.t.Error(s)
	}
}

func openAll(t *testing.T, paths []string) (out []*ext4.FS) {
	t.Helper()
	for _, path := range paths {
		fs, err := ext4.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { fs.Close() })
		out = append(out, fs)
	}
	return out
}

func readWorld(t *testing.T, images []*ext4.FS) (*world, []*mdt) {
	w := &world{t: t, objects: map[lustre.FID]*seen{}, names: map[lustre.FID][]lustre.Link{}, pending: map[lustre.FID]bool{}}
	var mdts []*mdt
	for i, fs := range images {
		mdts = append(mdts, w.readMDT(i, fs))
	}
	return w, mdts
}

func (w *world) problem(p ext4.Problem) { w.errorf("%+v", p) }

func (w *world) readMDT(index int, fs *ext4.FS) *mdt {
	m := &mdt{fs: fs, byIno: map[uint32]*seen{}, oi: map[lustre.FID]lustre.OIEntry{}, parents: map[lustre.FID]uint32{}}
	if len(fs.Problems())+len(fs.Refusals()) > 0 {
		w.t.Fatal(fs.Problems(), fs.Refusals())
	}
	for g := range fs.Groups() {
		if ok, err := fs.VerifyBitmaps(g, w.problem); err != nil || !ok || !fs.VerifyGroup(g, w.problem) {
			w.errorf("group %d: %v", g, err)
		}
	}
	err := fs.SweepInodes(w.t.Context(), ext4.SweepOptions{Report: w.problem}, func(in *ext4.Inode) error {
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
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.readLocals(index, m)
	return m
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
			s.up, s.upIno = fid, d.Inode
		default:
			s.names = append(s.names, name{string(d.Name), fid, d.Type, d.Inode})
		}
		return true
	}, w.problem)
}

// readLocals follows the names of the root to the files whose content matters.
func (w *world) readLocals(index int, m *mdt) {
	for _, n := range m.byIno[ext4.InoRoot].names {
		in := m.byIno[n.ino]
		if in == nil {
			w.errorf("MDT%04x: %s has no inode", index, n.text)
			continue
		}
		content := func() []byte {
			b, err := m.fs.ReadAll(in.in, 1<<26)
			if err != nil {
				w.t.Fatal(err)
			}
			return b
		}
		if k, ok := lustre.ParseOIName(n.text); ok {
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
			for _, r := range in.names {
				w.pending[r.fid] = true
			}
		case "update_log_dir":
			for _, r := range in.names {
				w.pending[r.fid] = true
			}
		}
	}
}

func (w *world) readOI(m *mdt, file int, b []byte) {
	for at := 0; at < len(b); at += 4096 {
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
		w.t.Fatal(err)
	}
	at, err := root.Shape.Child(b[:4096], true, e.Key())
	for range root.Levels {
		if err == nil {
			at, err = root.Shape.Child(b[at*4096:(at+1)*4096], false, e.Key())
		}
	}
	found := false
	if err == nil {
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
	if _, err := lustre.FLDRanges(b[4096:8192], func(r lustre.Range) bool { all = append(all, r); return true }); err != nil {
		w.t.Fatal(err)
	}
	fld, ps := lustre.NewFLD(all)
	if len(ps) > 0 {
		w.errorf("%v", ps)
	}
	w.fld = fld
}
