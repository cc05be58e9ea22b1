package livepool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"fettle/internal/fault"
	"fettle/internal/format/thinmeta"
)

// Capture is the metadata of a pool as it was at one moment, to be read as long as one likes.
type Capture struct {
	// File looks at the metadata snapshot (it has no space maps), or at the metadata as a whole when Frozen is set.
	File *thinmeta.File
	// Frozen: the pool is read-only, and File is its metadata device itself. What was read counts only if Settled says so afterwards.
	Frozen bool
	Blocks int           // copied
	Held   time.Duration // how long taking, copying and releasing took

	pool  *Pool
	close func() error
}

// Capture copies the metadata. scratch is a directory for the copy: it has no name there, and as many bytes as the metadata in use, 200
// MiB for 50,000 devices. stateDir is that of WithSnapshot.
func (p *Pool) Capture(ctx context.Context, stateDir, scratch string) (*Capture, error) {
	tmp, err := os.CreateTemp(scratch, "thin-metadata-")
	if err != nil {
		return nil, &fault.Error{Op: "make a scratch file", Where: scratch, Err: err}
	}
	if err := os.Remove(tmp.Name()); err != nil {
		return nil, errors.Join(&fault.Error{Op: "make a scratch file", Where: tmp.Name(), Err: err}, tmp.Close())
	}
	c := &Capture{pool: p}
	out := &copied{f: tmp, bad: map[uint64]error{}}
	begin := time.Now()
	frozen := false
	err = p.withStill(ctx, stateDir, func(f *thinmeta.File, still bool) error {
		if frozen = still; frozen {
			return nil
		}
		return c.copy(ctx, f, out)
	})
	c.Held = time.Since(begin)
	if err != nil {
		return nil, errors.Join(err, tmp.Close())
	}
	if frozen {
		if err := tmp.Close(); err != nil {
			return nil, &fault.Error{Op: "close the scratch file", Where: scratch, Err: err}
		}
		return c, c.openFrozen()
	}
	c.close = tmp.Close
	if c.File, err = thinmeta.New(out, out.size, p.Name); err == nil {
		err = c.File.UseHeldRoot()
	}
	if err != nil {
		return nil, errors.Join(&fault.Error{Op: "read the copied metadata of pool", Where: p.Name, Err: err}, tmp.Close())
	}
	return c, nil
}

func (c *Capture) openFrozen() error {
	f, err := thinmeta.Open(c.pool.MetadataDevice)
	if err != nil {
		return &fault.Error{Op: "open the metadata device of pool", Where: c.pool.Name, Err: err}
	}
	c.File, c.Frozen, c.close = f, true, f.Close
	return nil
}

// Close lets go of the copy.
func (c *Capture) Close() error { return c.close() }

// Settled tells, with an error, when what was read of a frozen pool means nothing because the pool has changed meanwhile.
func (c *Capture) Settled(ctx context.Context) error {
	if !c.Frozen {
		return nil
	}
	return c.pool.stillFrozen(ctx, c.File)
}

// copied is a sparse file that stands in for the metadata device. What could not be read there cannot be read here.
type copied struct {
	f    *os.File
	size int64
	mu   sync.Mutex
	bad  map[uint64]error // by block
}

// ReadAt implements io.ReaderAt.
func (c *copied) ReadAt(b []byte, off int64) (int, error) {
	if len(c.bad) > 0 {
		for block := off / thinmeta.BlockSize; block*thinmeta.BlockSize < off+int64(len(b)); block++ {
			if err := c.bad[uint64(block)]; err != nil {
				return 0, err
			}
		}
	}
	return c.f.ReadAt(b, off)
}

// take copies one block. An error is of the scratch file.
func (c *copied) take(f *thinmeta.File, block uint64, buf []byte) (read bool, err error) {
	if err := f.ReadBlock(buf, block); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bad[block] = err
		return false, nil
	}
	if _, err := c.f.WriteAt(buf, int64(block)*thinmeta.BlockSize); err != nil {
		return false, &fault.Error{Op: "copy the metadata of the pool", Err: err, Hint: "TMPDIR or --state-dir names a place with more room"}
	}
	return true, nil
}

// trees that are copied. A damaged block may be met in several.
const (
	inDetails = 1 << iota
	inTop     // the mapping tree's first level, whose values are roots of the second
	inBottom
)

// readers is how many blocks are read at once: latency counts while the snapshot is held.
const readers = 16

// copy copies everything that the metadata snapshot reaches: superblock, snapshot, and both trees level by level.
func (c *Capture) copy(ctx context.Context, f *thinmeta.File, out *copied) error {
	out.size = f.Size()
	if err := out.f.Truncate(out.size); err != nil {
		return &fault.Error{Op: "make a scratch file", Where: out.f.Name(), Err: err}
	}
	s, _ := f.Super()
	w := &copier{ctx: ctx, f: f, out: out, seen: make([]uint8, f.Blocks())}
	for _, block := range []uint64{0, s.HeldRoot} {
		w.add(block, 0, new([]uint64))
		if _, err := out.take(f, block, blockBuffer()); err != nil {
			return err
		}
	}
	for _, t := range []struct {
		root uint64
		in   uint8
	}{{s.DetailsRoot, inDetails}, {s.MappingRoot, inTop}} {
		if err := w.tree(t.root, t.in); err != nil {
			return err
		}
	}
	slices.Sort(w.roots)
	err := w.levels(slices.Compact(w.roots), inBottom)
	c.Blocks = w.count
	return err
}

// copier goes through the trees. Each block is entered once for each tree, so that it ends whatever the blocks say.
type copier struct {
	ctx   context.Context
	f     *thinmeta.File
	out   *copied
	seen  []uint8 // by block: trees in which it was met
	roots []uint64
	count int
}

// add puts a block on a list unless it was met in that tree or does not exist.
func (w *copier) add(block uint64, in uint8, list *[]uint64) {
	if block >= uint64(len(w.seen)) || in != 0 && w.seen[block]&in != 0 {
		return
	}
	if w.seen[block] == 0 {
		w.count++
	}
	w.seen[block] |= in
	*list = append(*list, block)
}

func (w *copier) tree(root uint64, in uint8) error {
	var first []uint64
	w.add(root, in, &first)
	return w.levels(first, in)
}

// levels copies blocks and what is below them, each level in the order of the device.
func (w *copier) levels(level []uint64, in uint8) error {
	for len(level) > 0 {
		slices.Sort(level)
		next, err := w.level(level, in)
		if err != nil {
			return err
		}
		level = level[:0:0]
		for _, block := range next {
			w.add(block, in, &level)
		}
	}
	return nil
}

// level copies the blocks of one level and gives the children. Roots of devices go to w.roots.
func (w *copier) level(level []uint64, in uint8) ([]uint64, error) {
	var wg sync.WaitGroup
	n := min(readers, (len(level)+63)/64)
	kids, roots, errs := make([][]uint64, n), make([][]uint64, n), make([]error, n)
	for i := range n {
		wg.Go(func() {
			buf := blockBuffer()
			for at := i; at < len(level) && errs[i] == nil; at += n {
				if errs[i] = w.ctx.Err(); errs[i] != nil {
					return
				}
				ok, err := w.out.take(w.f, level[at], buf)
				if errs[i] = err; !ok {
					continue
				}
				nd, internal, ok := asNode(buf)
				switch {
				case !ok:
				case internal:
					kids[i] = nd.appendValues(kids[i])
				case in == inTop && nd.size == 8:
					roots[i] = nd.appendValues(roots[i])
				}
			}
		})
	}
	wg.Wait()
	for _, r := range roots {
		for _, block := range r {
			w.add(block, inBottom, &w.roots)
		}
	}
	return slices.Concat(kids...), errors.Join(errs...)
}

func (nd node) appendValues(to []uint64) []uint64 {
	for i := range nd.n {
		to = append(to, nd.val(i))
	}
	return to
}

// String says what a capture is, for messages.
func (c *Capture) String() string {
	if c.Frozen {
		return "metadata of the read-only pool " + c.pool.Name
	}
	return fmt.Sprintf("metadata snapshot of pool %s, %d blocks", c.pool.Name, c.Blocks)
}
