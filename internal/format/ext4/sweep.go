package ext4

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Position is a place in a sweep over the inode tables: everything before it was handed out.
type Position struct{ Group, Index uint32 }

// SweepOptions says what SweepInodes covers.
type SweepOptions struct {
	Start   Position // where to begin; the zero value is the beginning
	End     uint32   // group at which to stop; 0 is all groups
	Workers int      // goroutines, each with a group of its own; 0 and 1 keep everything in the calling goroutine

	// Everything hands out inodes that are free in the bitmap as well, in groups marked as never written too, unless both mode and
	// links are 0. Without it the bitmap decides, and where it is unusable mode and links do.
	Everything bool
	// Written leaves out, with Everything, what the groups say was never written: groups without a table, and the ends of tables.
	Written bool

	Report Report         // problems; may be called from several goroutines at once when Workers > 1
	Done   func(Position) // called now and then: all inodes before the position were handed out and fn has returned; never concurrently
}

// sweepRead is the most that is read at once, sweepGap the longest stretch of unused inodes that is read rather than skipped.
const (
	sweepRead = 2 << 20
	sweepGap  = 64 << 10
)

// SweepInodes reads all inode tables in storage order with large reads and hands out inodes that are in use. The Inode and its
// Raw are used again after fn returned. With several workers fn is called concurrently: Inode.Worker tells the callers apart, and
// order holds within a group only. Reserved inodes are handed out as well when they are in use. Memory is what one read takes, at most
// 2 MiB per worker, so that many short sweeps of a small file system cost little.
//
// Damaged tables are reported and skipped. The sweep ends early with fn's error, the context's, or one of reading the input that
// is not the end of a truncated one and not a bad sector (EIO): those are reported.
func (fs *FS) SweepInodes(ctx context.Context, o SweepOptions, fn func(*Inode) error) error {
	end := fs.groups
	if o.End != 0 && o.End < end {
		end = o.End
	}
	if o.Start.Group >= end {
		return nil
	}
	workers := min(max(o.Workers, 1), int(end-o.Start.Group))
	if workers == 1 {
		w := newSweeper(fs, 0, o, fn)
		for g := o.Start.Group; g < end; g++ {
			if err := w.group(ctx, g, o.Done); err != nil {
				return err
			}
		}
		return nil
	}
	return fs.sweepParallel(ctx, o, end, workers, fn)
}

// sweepParallel shares the groups among workers.
func (fs *FS) sweepParallel(ctx context.Context, o SweepOptions, end uint32, workers int, fn func(*Inode) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Uint32
	next.Store(o.Start.Group)
	mark := watermark{next: o.Start.Group, finished: map[uint32]bool{}, done: o.Done}
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			w := newSweeper(fs, i, o, fn)
			for ctx.Err() == nil {
				g := next.Add(1) - 1
				if g >= end || g < o.Start.Group {
					return
				}
				if err := w.group(ctx, g, nil); err != nil {
					cancel(err)
					return
				}
				mark.finish(g)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// watermark tells up to which group everything is finished when groups finish in any order.
type watermark struct {
	mu       sync.Mutex
	next     uint32
	finished map[uint32]bool // at most one per worker
	done     func(Position)
}

func (m *watermark) finish(g uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.finished[g] = true
	moved := false
	for m.finished[m.next] {
		delete(m.finished, m.next)
		m.next++
		moved = true
	}
	if moved && m.done != nil {
		m.done(Position{Group: m.next})
	}
}

// sweeper is one worker of a sweep.
type sweeper struct {
	fs     *FS
	o      SweepOptions
	fn     func(*Inode) error
	most   uint32 // inodes of one read
	buf    []byte // of the last read; grows up to most inodes
	bitmap []byte
	in     Inode
}

func newSweeper(fs *FS, worker int, o SweepOptions, fn func(*Inode) error) *sweeper {
	w := &sweeper{fs: fs, o: o, fn: fn, most: min(sweepRead/fs.sb.InodeSize, fs.sb.InodesPerGroup), bitmap: make([]byte, fs.sb.BlockSize)}
	w.in.Worker = worker
	return w
}

// room gives n bytes of a buffer, or of a larger one when it is too small. It grows by doubling, up to most bytes; n is at most most.
func room(buf []byte, n, most int) []byte {
	if n > cap(buf) {
		buf = make([]byte, max(n, min(2*cap(buf), most)))
	}
	return buf[:n]
}

// plan says how many inodes of a group's table are to be looked at and whether the bitmap can be used to choose among them.
func (w *sweeper) plan(g uint32) (d GroupDesc, count uint32, useBitmap bool) {
	fs, s, report := w.fs, &w.fs.sb, w.o.Report
	raw, at, err := fs.descRaw(g)
	if err != nil {
		report.group(KindGroupDesc, g, 0, at, "%v", err)
		return d, 0, false
	}
	d = DecodeGroup(raw)
	d.Group, d.Offset = g, at
	count = s.InodesPerGroup
	if last := uint64(g)*uint64(s.InodesPerGroup) + uint64(count); last > uint64(fs.inodes) {
		count = uint32(max(0, int64(count)-int64(last-uint64(fs.inodes))))
	}
	trusted := true
	if s.usesUninit() && fs.sums.Group(g, raw) != d.Checksum {
		trusted = false
		report.group(KindChecksum, g, 0, at, "checksum of the descriptor is %#04x, should be %#04x; its flags are not used", d.Checksum, fs.sums.Group(g, raw))
	}
	if trusted && s.usesUninit() && d.Flags&GroupInodeUninit != 0 && d.FreeInodes != s.InodesPerGroup {
		trusted = false
		report.group(KindGroupDesc, g, 0, at, "the descriptor says that no inode was ever written, and that %d of %d are free; its flags are not used", d.FreeInodes, s.InodesPerGroup)
	}
	if (!w.o.Everything || w.o.Written) && s.usesUninit() && trusted {
		if d.Flags&GroupInodeUninit != 0 {
			return d, 0, false
		}
		if d.ItableUn > s.InodesPerGroup {
			report.group(KindGroupDesc, g, 0, at, "%d unused inodes of %d", d.ItableUn, s.InodesPerGroup)
		} else {
			count = min(count, s.InodesPerGroup-d.ItableUn)
		}
	}
	if trusted && s.usesUninit() && d.Flags&GroupInodeUninit != 0 {
		clear(w.bitmap)
		return d, count, true
	}
	if err := fs.bitmapBlock(d.InodeBitmap, w.bitmap, g, "inode"); err != nil { // the table fails as well if the device is gone
		report.group(KindBitmap, g, d.InodeBitmap, -1, "inodes are chosen by mode and links: %v", err)
		return d, count, false
	}
	if fs.sums.Metadata && trusted && fs.sums.bitmapMask(fs.sums.InodeBitmap(w.bitmap)) != d.InodeBitmapSum {
		report.group(KindChecksum, g, d.InodeBitmap, fs.offset(d.InodeBitmap), "the inode bitmap does not match its checksum; inodes are chosen by mode and links as well")
		return d, count, false
	}
	if !fs.sums.Metadata && !s.inodeBits(g, w.bitmap) {
		report.group(KindBitmap, g, d.InodeBitmap, fs.offset(d.InodeBitmap), "the inode bitmap, at block %d, lacks bits that are always set: it is damaged, or is no bitmap; inodes are chosen by mode and links as well", d.InodeBitmap)
		return d, count, false
	}
	if last := lastBit(w.bitmap, s.InodesPerGroup); last > count && !w.o.Everything {
		report.group(KindGroupDesc, g, 0, at, "inode %d of the group is in use, and the descriptor says that only %d ever were", last, count)
		count = last
	}
	return d, count, true
}

// inodeBits tells whether an inode bitmap has the bits that every one has: those behind the last inode of the group, and in the first group
// those of the reserved inodes.
func (s *Superblock) inodeBits(g uint32, bitmap []byte) bool {
	return firstClear(bitmap, uint64(s.InodesPerGroup), uint64(s.BlockSize)*8) < 0 && (g > 0 || firstClear(bitmap, 0, reserved) < 0)
}

// reserved is how many inodes of the first group belong to the file system itself.
const reserved = 10

// lastBit gives the number of the last set bit of the first n, from 1 on; 0 if there is none.
func lastBit(bitmap []byte, n uint32) uint32 {
	for i := n; i > 0; i-- {
		if bitmap[(i-1)/8]&(1<<((i-1)%8)) != 0 {
			return i
		}
		if i%8 == 0 && bitmap[(i-1)/8] == 0 {
			i -= 7
		}
	}
	return 0
}

// group hands out the inodes of one group.
func (w *sweeper) group(ctx context.Context, g uint32, done func(Position)) error {
	fs, s := w.fs, &w.fs.sb
	d, count, useBitmap := w.plan(g)
	start := uint32(0)
	if g == w.o.Start.Group {
		start = w.o.Start.Index
	}
	table := s.TableBlocks()
	if count > 0 && !fs.rangeOK(d.InodeTable, table) {
		w.o.Report.group(KindGroupDesc, g, d.InodeTable, d.Offset+GDInodeTableLo, "the inode table at block %d lies outside the file system", d.InodeTable)
		if fs.BlockOK(d.InodeTable) { // a truncated input: read what there is
			count = uint32(min(uint64(count), (fs.limit-d.InodeTable)*uint64(s.BlockSize/s.InodeSize)))
		} else {
			count = 0
		}
	}
	choose := useBitmap && !w.o.Everything
	for idx := start; idx < count; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		from, to := w.window(idx, count, choose)
		if from >= count {
			break
		}
		if err := w.read(d, from, to, useBitmap); err != nil {
			return err
		}
		if idx = to; done != nil {
			done(Position{Group: g, Index: idx})
		}
	}
	if done != nil {
		done(Position{Group: g + 1})
	}
	return nil
}

// window gives the next stretch [from, to) of inodes to read: from the next one in use, as long as gaps are short and one read
// holds it.
func (w *sweeper) window(idx, count uint32, choose bool) (from, to uint32) {
	size := w.fs.sb.InodeSize
	if !choose {
		return idx, min(idx+w.most, count)
	}
	for idx < count && w.bitmap[idx/8]&(1<<(idx%8)) == 0 {
		if idx%8 == 0 && w.bitmap[idx/8] == 0 {
			idx += 8
			continue
		}
		idx++
	}
	from, to = idx, idx+1
	gap := max(sweepGap/size, 1)
	for i := to; i < min(count, from+w.most) && i-to < gap; i++ {
		if w.bitmap[i/8]&(1<<(i%8)) != 0 {
			to = i + 1
		}
	}
	return from, to
}

// read reads inodes [from, to) of a table and hands out those in use. What a bad sector hides is tried block by block.
func (w *sweeper) read(d GroupDesc, from, to uint32, useBitmap bool) error {
	fs, size := w.fs, w.fs.sb.InodeSize
	w.buf = room(w.buf, int((to-from)*size), int(w.most*size))
	buf := w.buf
	at := fs.offset(d.InodeTable) + int64(from)*int64(size)
	err := fs.readAt(buf, at)
	if err == nil {
		return w.hand(d, from, to, buf, at, useBitmap)
	}
	if !skippable(err) {
		return fmt.Errorf("inode table of group %d: %w", d.Group, err)
	}
	per := max(fs.sb.BlockSize/size, 1)
	for i := from; i < to; {
		n := min(per-i%per, to-i)
		part, off := buf[:n*size], at+int64(i-from)*int64(size)
		switch err := fs.readAt(part, off); {
		case err == nil:
			if err := w.hand(d, i, i+n, part, off, useBitmap); err != nil {
				return err
			}
		case skippable(err):
			w.o.Report.group(KindRead, d.Group, 0, off, "inodes %d to %d cannot be read: %v", w.number(d.Group, i), w.number(d.Group, i+n-1), err)
		default:
			return fmt.Errorf("inode table of group %d: %w", d.Group, err)
		}
		i += n
	}
	return nil
}

// number gives the inode number of a place in a group's table.
func (w *sweeper) number(group, index uint32) uint32 { return group*w.fs.sb.InodesPerGroup + index + 1 }

// hand decodes the inodes of a buffer and calls fn for those in use.
func (w *sweeper) hand(d GroupDesc, from, to uint32, buf []byte, at int64, useBitmap bool) error {
	size := int(w.fs.sb.InodeSize)
	in := &w.in
	for i := from; i < to; i++ {
		raw := buf[:size:size]
		buf = buf[size:]
		used := useBitmap && w.bitmap[i/8]&(1<<(i%8)) != 0
		if !used {
			if useBitmap && !w.o.Everything {
				at += int64(size)
				continue
			}
			if le.Uint16(raw[InodeMode:]) == 0 && le.Uint16(raw[InodeLinks:]) == 0 {
				at += int64(size)
				continue
			}
		}
		in.Number, in.Group, in.Index, in.Offset = w.number(d.Group, i), d.Group, i, at
		in.decode(&w.fs.sb, raw)
		in.Allocated = used || !useBitmap && in.Links != 0
		if err := w.fn(in); err != nil {
			return err
		}
		at += int64(size)
	}
	return nil
}

// skippable says whether an error concerns one place only: a bad sector, or the end of a truncated input.
func skippable(err error) bool { return isEIO(err) || errors.Is(err, ErrPastEnd) }
