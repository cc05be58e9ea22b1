package ext4

import (
	"context"
	"fmt"
)

// dirRead is the most that SweepDirBlocks reads at once, dirGap the longest stretch between two blocks that is read rather than
// skipped; both in bytes.
const (
	dirRead = 1 << 20
	dirGap  = 64 << 10
)

// SweepDirBlocks reads directory blocks in the order in which next gives them and hands each to fn with its content. When they come
// sorted by Physical, neighbours are read together, so that the directories of a whole file system are read in storage order.
// The content is valid until fn returns. Blocks that cannot be read are reported and left out, as with Dir. The sweep ends early with
// fn's error, the context's, or one of reading. Memory is what one read takes, at most 1 MiB;
// several sweeps may run at once.
func (fs *FS) SweepDirBlocks(ctx context.Context, next func() (DirBlock, bool), fn func(DirBlock, []byte) error, report Report) error {
	bs := uint64(fs.sb.BlockSize)
	w := dirSweeper{fs: fs, fn: fn, report: report, most: max(dirRead, bs)}
	for {
		b, ok := next()
		if !ok {
			break
		}
		if !w.fits(b) {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
		if !fs.BlockOK(b.Physical) {
			report.inode(KindBlockRange, b.Inode, b.Physical, -1, "directory block %d is at %d, outside the file system", b.Logical, b.Physical)
			continue
		}
		w.list = append(w.list, b)
	}
	return w.flush(ctx)
}

// dirSweeper gathers blocks that are read together.
type dirSweeper struct {
	fs     *FS
	fn     func(DirBlock, []byte) error
	report Report
	most   uint64     // bytes of one read
	buf    []byte     // of the last read; grows up to most
	list   []DirBlock // ascending by Physical, all within one read
}

// fits says whether a block can be read together with those gathered.
func (w *dirSweeper) fits(b DirBlock) bool {
	if len(w.list) == 0 {
		return true
	}
	bs := uint64(w.fs.sb.BlockSize)
	first, last := w.list[0].Physical, w.list[len(w.list)-1].Physical
	return uint64(len(w.list)) < w.most/bs && b.Physical >= last && b.Physical-last <= dirGap/bs+1 && (b.Physical-first+1)*bs <= w.most
}

// flush reads what was gathered and hands it out.
func (w *dirSweeper) flush(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(w.list) == 0 {
		return nil
	}
	defer func() { w.list = w.list[:0] }()
	bs := uint64(w.fs.sb.BlockSize)
	first := w.list[0].Physical
	w.buf = room(w.buf, int((w.list[len(w.list)-1].Physical-first+1)*bs), int(w.most))
	buf := w.buf
	whole := w.fs.readAt(buf, w.fs.offset(first))
	if whole != nil && !skippable(whole) {
		return fmt.Errorf("directory blocks: %w", whole)
	}
	for _, b := range w.list {
		part := buf[(b.Physical-first)*bs:][:bs:bs]
		if whole != nil { // one of them is bad: each by itself
			ok, err := w.fs.readFor(b.Inode, b.Physical, part, "the directory", w.report)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
		}
		if err := w.fn(b, part); err != nil {
			return err
		}
	}
	return nil
}
