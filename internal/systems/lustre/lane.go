package lustre

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"fettle/internal/claim"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/match"
)

// runner sweeps one lane until it has to pause.
type runner struct {
	*sweeper
	ctx     context.Context
	lane    *lane
	t       *target
	w       *match.Writer
	note    ext4.Report
	sums    bool // inodes and directory blocks have checksums
	counts  counts
	balance balance

	subject []byte // buffers of the claim that is being made
	says    []byte
	x       attrs
	obj     object
	nam     name
	same    sameNames
	outside *ext4.Problem // what the reader said of the next entry, whose inode number no inode has; nil for others
	work    int64         // since the last Did, in records
	bytes   int64         // likewise
	since   int           // things done since the last Did
	looks   uint          // Dids so far
	at      uint32        // number of the last inode
	began   time.Time     // the batch
	most    int           // blocks of one batch, about
	ripe    bool          // something was done: a checkpoint is worth it

	dirs    []dirState // of the batch, ascending by inode number
	blocks  []ext4.DirBlock
	met     uint64       // directory blocks of the whole lane so far
	current int          // directory that was met last
	unused  lustre.Range // sequences that the target has not given out; none if that is not known
}

// every is how many inodes or blocks lie between two looks at clock, rate limit and pause. It is small, so that a slow check goes evenly.
const every = 4

const (
	// batchTime is how long inodes are read before the blocks of their directories are, and about how long that may take: blocks are
	// read faster in the order in which they are stored, but there can be no checkpoint before all blocks of a batch were read.
	batchTime = time.Second
	// firstBatch and leastBatch are blocks of the first batch, and of one on the slowest of disks.
	firstBatch, leastBatch = 4096, 256
	// tallyEvery is how many looks lie between two at which the counters are handed over.
	tallyEvery = 16
	// tellEvery is how often the facts are told.
	tellEvery = 500 * time.Millisecond
)

func (s *sweeper) newRunner(ctx context.Context, l *lane) (*runner, error) {
	w, err := s.matcher.Writer()
	if err != nil {
		return nil, fmt.Errorf("gather claims: %w", err)
	}
	t := s.targets[l.Target]
	r := &runner{sweeper: s, ctx: ctx, lane: l, most: firstBatch, t: t, w: w, note: s.report(l.Target), sums: t.fs.Sums().Metadata}
	if u, err := lustre.LittleRange(t.marks.content(t.fs, t.marks.seqSrv, lustre.RangeSize)); err == nil && u.Start >= lustre.SeqNormal {
		r.unused = u
	}
	return r, nil
}

// did counts work, and looks now and then whether to pause.
func (r *runner) did(records, bytes int64) error {
	r.work += records
	r.bytes += bytes
	if r.since++; r.since < every {
		return nil
	}
	return r.tell()
}

func (r *runner) tell() error {
	work, bytes := r.work, r.bytes
	r.work, r.bytes, r.since = 0, 0, 0
	r.ripe = true
	if r.env.Due() {
		r.pause.Store(true)
	}
	if r.looks++; r.looks%tallyEvery == 0 {
		r.tally()
	}
	err := r.env.Did(r.ctx, work, bytes)
	if r.outer.Err() != nil {
		r.pause.Store(true)
		return nil // the lane rests where it can be taken up again
	}
	return err
}

// tally adds what the lane counted to what its target has.
func (r *runner) tally() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Counts[r.lane.Target].add(r.counts)
	r.counts = counts{}
	if r.at > 0 {
		r.lane.At = r.at
	}
	if time.Since(r.shown) >= tellEvery {
		r.facts()
	}
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
		r.began = time.Now()
		err := r.t.fs.SweepInodes(r.ctx, ext4.SweepOptions{Start: ext4.Position{Group: r.lane.Group, Index: r.lane.Inode}, End: r.lane.End,
			Workers: 1, Report: r.note}, r.inode)
		if err != nil && !errors.Is(err, errPause) {
			return fmt.Errorf("%s: %w", r.t.name(), err)
		}
		begun, blocks := time.Now(), len(r.blocks)
		if err := r.finishBatch(); err != nil {
			return fmt.Errorf("%s: %w", r.t.name(), err)
		}
		r.suit(blocks, time.Since(begun))
		if err == nil {
			r.lane.Done = true
			return r.tell()
		}
		if r.resting() {
			return nil
		}
	}
}

// suit makes the next batch so large that its blocks take about batchTime, going by those of the last one.
func (r *runner) suit(blocks int, took time.Duration) {
	if blocks >= leastBatch {
		r.most = int(min(float64(blocks)*float64(batchTime)/float64(max(took, time.Millisecond)), 4*float64(r.most), maxBlocks))
		r.most = max(r.most, leastBatch)
	}
}

// inode takes one inode in.
func (r *runner) inode(in *ext4.Inode) error {
	if len(r.dirs) >= r.batch || len(r.blocks) >= r.most || r.resting() || r.since == 0 && len(r.dirs) > 0 && time.Since(r.began) >= batchTime {
		r.lane.Group, r.lane.Inode = in.Group, in.Index
		return errPause
	}
	r.counts.Inodes++
	r.at = in.Number
	dirs := len(r.dirs)
	if err := r.take(in); err != nil {
		return err
	}
	records := int64(1)
	if len(r.dirs) > dirs {
		records = 0 // a directory counts when its blocks are read: that is most of the work
	}
	return r.did(records, int64(r.t.fs.Super().InodeSize))
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
	if in.IsSymlink() {
		r.symlink(in)
	}
	own := r.t.marks.own(in.Number)
	x := &r.x
	*x = attrs{}
	if err := x.read(r.t.fs, in, r.note); err != nil {
		return err
	}
	f, known := x.lma.FID, x.known
	if known && !own && f.Seq >= r.unused.Start && f.Seq < r.unused.End {
		r.note(ext4.Problem{Kind: kindSequence, Inode: r.t.marks.seqSrv, Offset: -1,
			Text: fmt.Sprintf("inode %d, seq_srv: %v is left to be given out, and inode %d is %v", r.t.marks.seqSrv, r.unused, in.Number, f)})
	}
	if bits := x.lma.UnknownIncompat(); known && bits != 0 {
		r.note(ext4.Problem{Kind: kindFlags, Inode: in.Number, Offset: in.Offset, Text: fmt.Sprintf("inode %d: the LMA of %v has the flags 0x%x, which no server knows: it refuses the object", in.Number, f, bits)})
	}
	if ext4.DirentTypeOf(in.Mode) == 0 {
		r.note(ext4.Problem{Kind: ext4.KindInode, Inode: in.Number, Offset: in.Offset + ext4.InodeMode, Text: fmt.Sprintf("inode %d: the mode %#o is that of no type of file", in.Number, in.Mode)})
	}
	if known && !own && r.standsIn(r.lane.Target, x.lma, in.Mode, x.bits&(objLink|objCrashed) != 0) {
		r.counts.Remote++
		r.says = append(r.says[:0], byte(in.Mode>>12))
		return r.add(f, r.t.index, kAgent, uint64(in.Number), uint64(in.Links))
	}
	if !known {
		f = lustre.IGIF(in.Number, in.Generation)
		x.bits |= objNoLMA
	}
	if own {
		x.bits |= objHeld
	}
	if err := r.directory(in, f, x); err != nil {
		return err
	}
	if (own || in.Links == 0) && !known {
		return nil // nobody can say anything of it
	}
	r.obj = object{mdt: r.lane.Target, gen: in.Generation, mode: in.Mode, links: in.Links, compat: x.lma.Compat, incompat: x.lma.Incompat, bits: x.bits,
		lmv: x.lmv, hashes: x.hashes}
	if x.bits&objHeld != 0 {
		r.obj.lmv, r.obj.hashes, r.obj.bits = nil, nil, x.bits&^objLMV
	}
	if r.inIndex(f, &r.obj) {
		r.balance.wants(f, in.Number, in.Generation)
	}
	r.says = r.obj.says(r.says[:0])
	return r.add(f, r.t.index, kObject, uint64(in.Number), 0)
}

// symlink compares the length of a short symbolic link with its text: clients read so many bytes.
func (r *runner) symlink(in *ext4.Inode) {
	if in.Flags&(ext4.FlagExtents|ext4.FlagInlineData) != 0 || in.Size >= ext4.InodeBlockLen && in.Sectors > 0 {
		return
	}
	text, _, _ := bytes.Cut(in.BlockField(), []byte{0})
	if uint64(len(text)) != in.Size {
		r.note(ext4.Problem{Kind: ext4.KindInode, Inode: in.Number, Offset: in.Offset + ext4.InodeSizeLo,
			Text: fmt.Sprintf("inode %d: the symbolic link has %d bytes, its size is %d", in.Number, len(text), in.Size)})
	}
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
