package lustre

import (
	"context"
	"fmt"
	"strings"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// ground looks, before a sweep, at what everything stands on: the superblocks, group descriptors and bitmaps of the targets, the names in
// their root directories, and the files that say who a target is and which FIDs it has. What is wrong there becomes a finding.
func (s *sweeper) ground(ctx context.Context) error {
	for i, t := range s.targets {
		g := &grounds{target: t, unit: s.unit, note: s.report(i)}
		for _, p := range t.fs.Problems() {
			g.note(p)
		}
		t.fs.VerifySuper(g.note)
		if err := t.fs.VerifyGroups(ctx, g.note); err != nil {
			return fmt.Errorf("%s: %w", t.name(), err)
		}
		for _, p := range t.marks.harm {
			g.note(p)
		}
		if err := g.sums(ctx); err != nil {
			return fmt.Errorf("%s: %w", t.name(), err)
		}
		g.names()
		g.index()
		g.identity()
		g.sequences(i)
	}
	return nil
}

// grounds is what ground looks at of one target.
type grounds struct {
	*target
	unit *unit
	note ext4.Report
}

func (g *grounds) wrong(kind ext4.Kind, ino uint32, format string, args ...any) {
	g.note(ext4.Problem{Kind: kind, Inode: ino, Offset: -1, Text: fmt.Sprintf(format, args...)})
}

// sums verifies the checksums of the directories that the sweep does not read: those of the target itself.
func (g *grounds) sums(ctx context.Context) error {
	if !g.fs.Sums().Metadata {
		return nil
	}
	buf := make([]byte, g.fs.Super().BlockSize)
	for ino, what := range g.marks.dirs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		in, err := g.fs.Inode(ino)
		if what != roleLocal || err != nil || !in.IsDir() || in.IsInline() {
			continue
		}
		err = g.fs.DirBlocks(in, func(b ext4.DirBlock) bool {
			if g.fs.ReadBlock(b.Physical, buf) == nil { // else it was told when the names were read
				g.fs.VerifyDirBlock(b, buf, g.note)
			}
			return true
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// names looks at the names in the root of the target that something depends on.
func (g *grounds) names() {
	m := &g.marks
	if g.index0() && m.root == 0 {
		g.wrong(kindOwnName, ext4.InoRoot, "the target has no ROOT, which MDT0000 has to have")
	}
	if f, ok := g.fid(m.root); ok && !f.IsRoot() && !f.IsIGIF() {
		g.wrong(kindOwnName, m.root, "ROOT leads to inode %d, which is %v", m.root, f)
	}
	if f, ok := g.fid(m.remote); ok && f != lustre.LocalFID(lustre.OIDRemoteParentDir) {
		g.wrong(kindOwnName, m.remote, "REMOTE_PARENT_DIR leads to inode %d, which is %v", m.remote, f)
	}
	if !m.early(g.fs) {
		g.required()
	}
	for i, ino := range m.oi {
		if ino == 0 {
			g.wrong(kindOwnName, ext4.InoRoot, "of the object index %s is missing", lustre.OIName(i))
		}
	}
	if n := len(m.oi); n&(n-1) != 0 {
		g.wrong(kindOwnName, ext4.InoRoot, "the object index has %d files, which is no power of two", n)
	}
}

// required are names that every target has that was made since 2.4. A server makes what is missing anew, and forgets what was there.
func (g *grounds) required() {
	m := &g.marks
	for _, n := range []struct {
		name string
		ino  uint32
	}{{"PENDING", m.pending}, {"fld", m.fld}, {"last_rcvd", m.lastRcvd}, {"CONFIGS/mountdata", m.mountdata}} {
		if n.ino == 0 && (n.name != "fld" || g.index0()) { // 2.5 had it on MDT0000 only
			g.wrong(kindOwnName, ext4.InoRoot, "%s is missing in the root of the target", n.name)
		}
	}
	names := []string{"O", "CONFIGS", "seq_srv", "seq_ctl"} // the last one has what MDT0000 has left to give to others
	if !g.index0() {
		names = names[:3]
	}
	for _, name := range names {
		if _, ok := newWorld(g.unit).find(place{g.unit.places[g.target.index], ext4.InoRoot}, name); !ok {
			g.wrong(kindOwnName, ext4.InoRoot, "%s is missing in the root of the target", name)
		}
	}
}

func (g *grounds) index0() bool { return g.target.index == 0 }

// fid is what the inode of a local name says it is.
func (g *grounds) fid(ino uint32) (lustre.FID, bool) {
	if ino == 0 {
		return lustre.FID{}, false
	}
	in, err := g.fs.Inode(ino)
	if err != nil {
		g.wrong(kindOwnName, ino, "inode %d, which a name in the root leads to, cannot be read: %v", ino, err)
		return lustre.FID{}, false
	}
	var x attrs
	if err := x.read(g.fs, in, nil); err != nil {
		return lustre.FID{}, false
	}
	return x.lma.FID, x.known
}

// index looks at the FLD: whether a search finds its ranges, and whether they can be.
func (g *grounds) index() {
	if g.marks.fld == 0 {
		return
	}
	in, err := g.fs.Inode(g.marks.fld)
	if err == nil {
		_, err = searchable(g.fs, in, lustre.ShapeFLD, g.note)
	}
	if err != nil {
		g.wrong(kindFLD, g.marks.fld, "inode %d, fld: %v", g.marks.fld, err)
	}
	ranges, ps, err := g.marks.rangesAnd(g.fs)
	if err != nil {
		g.wrong(kindFLD, g.marks.fld, "inode %d, fld: %v", g.marks.fld, err)
	}
	_, more := lustre.NewFLD(ranges)
	for _, p := range append(ps, more...) {
		g.wrong(kindFLD, g.marks.fld, "inode %d, fld: %s", g.marks.fld, p)
	}
	for _, r := range ranges {
		index, what := g.unit.fld.Lookup(lustre.FID{Seq: r.Start, OID: 1})
		if what == lustre.PlaceMDT && !r.IsOST() && index != r.Index || what == lustre.PlaceOST && !r.IsOST() {
			g.wrong(kindFLD, g.marks.fld, "inode %d, fld: has %v, and the table of MDT0000 gives its begin to MDT%04x", g.marks.fld, r, index)
		}
	}
}

// identity compares the files that say which target this is with what it was opened as.
func (g *grounds) identity() {
	m := &g.marks
	if b := m.content(g.fs, m.mountdata, lustre.MountDataSize); b != nil {
		d, err := lustre.DecodeMountData(b)
		switch {
		case err != nil:
			g.wrong(kindIdentity, m.mountdata, "inode %d: %v", m.mountdata, err)
		case d.Flags&lustre.TargetMDT == 0 || d.Flags&lustre.TargetOST != 0:
			g.wrong(kindIdentity, m.mountdata, "inode %d: CONFIGS/mountdata says that this is no MDT, or an OST (flags 0x%x)", m.mountdata, d.Flags)
		case d.FSName != g.fsname || d.Index != g.target.index && d.Flags&lustre.TargetVirgin == 0:
			g.wrong(kindIdentity, m.mountdata, "inode %d: CONFIGS/mountdata says %q, MDT%04x; the target counts as %q, MDT%04x", m.mountdata, d.FSName, d.Index, g.fsname, g.target.index)
		default:
			if name, index, ok := lustre.TargetLabel(d.Service); !ok || name != d.FSName || index != d.Index {
				g.wrong(kindIdentity, m.mountdata, "inode %d: CONFIGS/mountdata says %q, MDT%04x, and calls it %q", m.mountdata, d.FSName, d.Index, d.Service)
			}
		}
	}
	if b := m.content(g.fs, m.lastRcvd, lustre.LastRcvdSize); len(b) >= lustre.LastRcvdSize {
		r, err := lustre.DecodeLastRcvd(b)
		name, index, ok := lustre.TargetLabel(strings.TrimSuffix(r.UUID, "_UUID"))
		if err == nil && (r.UUID != "" || r.MountCount > 0) && (!ok || name != g.fsname || index != g.target.index) {
			g.wrong(kindIdentity, m.lastRcvd, "inode %d: last_rcvd is that of %q", m.lastRcvd, r.UUID)
		}
	}
}

// sequences looks at the FIDs that the target is to give out next: they have to be its own.
func (g *grounds) sequences(mdt int) {
	w := newWorld(g.unit)
	for _, file := range []string{"seq_srv", "seq_ctl"} {
		rec, ok := w.find(place{mdt, ext4.InoRoot}, file)
		if !ok {
			continue
		}
		b := g.marks.content(g.fs, rec.ino, lustre.RangeSize)
		r, err := lustre.LittleRange(b)
		switch {
		case err != nil:
			g.wrong(kindSequence, rec.ino, "inode %d, %s: %v", rec.ino, file, err)
			continue
		case r.Start > r.End:
			g.wrong(kindSequence, rec.ino, "inode %d, %s: %v begins behind its end", rec.ino, file, r)
			continue
		case r.Start == r.End:
			continue
		case file == "seq_ctl":
			for _, given := range g.unit.fld.Ranges() {
				if given.Start < r.End && given.End > r.Start {
					g.wrong(kindSequence, rec.ino, "inode %d, %s: %v is left to be given to targets, and %v has been", rec.ino, file, r, given)
					break
				}
			}
			continue
		}
		for _, seq := range []uint64{r.Start, r.End - 1} {
			index, what := g.unit.fld.Lookup(lustre.FID{Seq: seq, OID: 1})
			if what == lustre.PlaceUnknown && !g.unit.complete() {
				continue
			}
			if what != lustre.PlaceMDT || index != g.target.index {
				g.wrong(kindSequence, rec.ino, "inode %d, %s: sequence 0x%x of %v is not the target's own", rec.ino, file, seq, r)
				break
			}
		}
	}
}
