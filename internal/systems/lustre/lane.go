package lustre

import (
	"context"
	"errors"
	"fmt"

	"fettle/internal/claim"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/match"
)

// runner sweeps one lane until it has to pause.
type runner struct {
	*sweeper
	ctx    context.Context
	lane   *lane
	t      *target
	w      *match.Writer
	note   ext4.Report
	sums   bool // inodes and directory blocks have checksums
	counts counts

	subject []byte // buffers of the claim that is being made
	says    []byte
	x       attrs
	obj     object
	nam     name
	work    int64 // since the last Did, in records
	since   int   // records since the last look at the clock
	ripe    bool  // enough was done for a checkpoint to be worth it

	dirs    []dirState // of the batch, ascending by inode number
	blocks  []ext4.DirBlock
	met     uint64 // directory blocks of the whole lane so far
	current int    // directory that was met last
}

// every is how many records lie between two looks at clock, rate limit and pause.
const every = 512

func (s *sweeper) newRunner(ctx context.Context, l *lane) (*runner, error) {
	w, err := s.matcher.Writer()
	if err != nil {
		return nil, fmt.Errorf("gather claims: %w", err)
	}
	t := s.targets[l.Target]
	return &runner{sweeper: s, ctx: ctx, lane: l, t: t, w: w, note: s.report(l.Target), sums: t.fs.Sums().Metadata}, nil
}

// did counts work, and looks now and then whether to pause or stop.
func (r *runner) did(records int64) error {
	r.work += records
	if r.since += int(records); r.since < every {
		return nil
	}
	return r.tell()
}

func (r *runner) tell() error {
	work := r.work
	r.work, r.since = 0, 0
	r.ripe = true
	if r.env.Due() {
		r.pause.Store(true)
	}
	return r.env.Did(r.ctx, work, work*int64(r.t.fs.Super().InodeSize))
}

// resting tells whether the lane has to come to a halt; it always does something first.
func (r *runner) resting() bool { return r.ripe && r.pause.Load() }

// add hands over a claim whose payload is in r.says.
func (r *runner) add(f lustre.FID, own uint32, kind claim.Kind, at, sub uint64) error {
	r.subject = appendSubject(r.subject[:0], f, own)
	return r.w.Add(claim.Claim{Subject: r.subject, Kind: kind, Says: r.says,
		Witness: claim.Witness{Target: uint32(r.lane.Target), At: at, Sub: sub}})
}

// sweepInodes reads inode tables batch by batch: inodes up to a number of directories, then the blocks of these.
func (r *runner) sweepInodes() error {
	for {
		err := r.t.fs.SweepInodes(r.ctx, ext4.SweepOptions{Start: ext4.Position{Group: r.lane.Group, Index: r.lane.Inode}, End: r.lane.End,
			Workers: 1, Report: r.note}, r.inode)
		if err != nil && !errors.Is(err, errPause) {
			return fmt.Errorf("%s: %w", r.t.name(), err)
		}
		if err := r.finishBatch(); err != nil {
			return fmt.Errorf("%s: %w", r.t.name(), err)
		}
		if err == nil {
			r.lane.Done = true
			return r.tell()
		}
		if r.resting() {
			return nil
		}
	}
}

// inode takes one inode in.
func (r *runner) inode(in *ext4.Inode) error {
	if len(r.dirs) >= r.batch || r.resting() {
		r.lane.Group, r.lane.Inode = in.Group, in.Index
		return errPause
	}
	r.counts.Inodes++
	if err := r.take(in); err != nil {
		return err
	}
	return r.did(1)
}

// take makes the claims of one inode.
func (r *runner) take(in *ext4.Inode) error {
	if in.IsFree() {
		return nil // reserved by ext4
	}
	if r.sums {
		r.t.fs.VerifyInode(in, r.note)
	}
	if in.Flags&ext4.FlagEAInode != 0 || in.Number < ext4.InoRoot {
		return nil
	}
	own := r.t.marks.own(in.Number)
	x := &r.x
	*x = attrs{}
	if err := x.read(r.t.fs, in, r.note); err != nil {
		return err
	}
	f, known := x.lma.FID, x.known
	if known && x.lma.Has(lustre.LMAIAgent) && !own {
		r.counts.Remote++
		r.says = append(r.says[:0], byte(in.Mode>>12))
		return r.add(f, r.t.index, kAgent, uint64(in.Number), uint64(in.Links))
	}
	if !known {
		f = lustre.IGIF(in.Number, in.Generation)
		x.bits |= objNoLMA
	}
	if own || in.Links == 0 {
		x.bits |= objHeld
	}
	if err := r.directory(in, f, x); err != nil {
		return err
	}
	if x.bits&objHeld != 0 && !known {
		return nil // nobody can say anything of it
	}
	r.obj = object{gen: in.Generation, mode: in.Mode, links: in.Links, compat: x.lma.Compat, incompat: x.lma.Incompat, bits: x.bits,
		lmv: x.lmv, hashes: x.hashes}
	if x.bits&objHeld != 0 {
		r.obj.lmv, r.obj.hashes, r.obj.bits = nil, nil, x.bits&^objLMV
	}
	r.says = r.obj.says(r.says[:0])
	return r.add(f, r.t.index, kObject, uint64(in.Number), 0)
}

// attrs are the attributes of one inode as the sweep needs them.
type attrs struct {
	lma    lustre.LMA
	known  bool
	bits   uint8
	lmv    []byte
	hashes []uint64
	few    [4]uint64 // room for the usual number of hashes
	raw    [lustre.LMVSize]byte
}

// read reads the attributes, from the inode itself if they are all there.
func (x *attrs) read(fs *ext4.FS, in *ext4.Inode, note ext4.Report) error {
	if in.FileACL != 0 {
		return in.Xattrs(fs, func(a ext4.Xattr) bool { x.take(a); return true }, note)
	}
	outside := false
	in.InodeXattrs(func(a ext4.Xattr) bool {
		outside = outside || a.ValueInode != 0
		x.take(a)
		return true
	}, note)
	if !outside {
		return nil
	}
	*x = attrs{}
	return in.Xattrs(fs, func(a ext4.Xattr) bool { x.take(a); return true }, nil)
}

// take looks at one attribute.
func (x *attrs) take(a ext4.Xattr) {
	if a.Index != ext4.XattrIndexTrusted {
		return
	}
	switch string(a.Name) {
	case "lma":
		if l, err := lustre.DecodeLMA(a.Value); err == nil && l.FID.Sane() {
			x.lma, x.known = l, true
		}
	case "link":
		x.link(a.Value)
	case "lmv":
		switch lustre.LMVMagic(a.Value) {
		case lustre.LMVForeign:
			x.bits |= objForeign
		case lustre.LMVUser: // a default for new directories in old releases
		default:
			x.bits |= objLMV
			x.lmv = x.raw[:copy(x.raw[:], a.Value)]
		}
	}
}

// link takes the link EA in.
func (x *attrs) link(value []byte) {
	x.hashes = x.few[:0]
	odd, overflow, err := eachLink(value, func(parent lustre.FID, name []byte) {
		h := linkHash(parent, name)
		for _, had := range x.hashes {
			if had == h {
				x.bits |= objLinkOdd
			}
		}
		if !parent.Sane() {
			x.bits |= objLinkOdd
		}
		x.hashes = append(x.hashes, h)
	})
	switch {
	case err != nil:
		x.bits |= objCrashed
		return
	case odd:
		x.bits |= objLinkOdd
	}
	x.bits |= objLink
	if overflow {
		x.bits |= objOverflow
	}
}
