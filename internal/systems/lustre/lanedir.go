package lustre

import (
	"cmp"
	"fmt"
	"slices"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// dirState is a directory of the batch.
type dirState struct {
	ino  uint32
	role role
	fid  lustre.FID
	sum  dirSum
	lmv  *lustre.LMV // sane, of a master or shard
	raw  []byte      // of a master
	seen []uint64    // of a master: bits of shard numbers with a name
	twin bool        // a number was met twice
	told bool        // it was counted as work

	dotted bool      // '.' was met
	tree   *hashTree // nil if there is none, or none that can be used
}

const (
	batchCost = 256     // bytes that a directory of a batch takes, its blocks included
	maxBlocks = 1 << 18 // directory blocks that are gathered before they are read
)

// directory puts an inode that is a directory into the batch and gathers its blocks.
func (r *runner) directory(in *ext4.Inode, f lustre.FID, x *attrs) error {
	if !in.IsDir() {
		return nil
	}
	what := r.t.marks.dirs[in.Number]
	if what == roleLocal || what == roleNone && x.bits&objHeld != 0 {
		return nil
	}
	d := dirState{ino: in.Number, role: what, fid: f}
	if x.bits&objLMV != 0 && what == roleNone {
		d.layout(x, &r.counts)
	}
	r.counts.Dirs++
	r.dirs = append(r.dirs, d)
	if in.IsInline() {
		return r.inline(in)
	}
	if r.sums {
		if _, err := r.t.fs.VerifyMap(in, r.note); err != nil {
			return err
		}
	}
	first, met := len(r.blocks), r.met
	err := r.t.fs.DirBlocks(in, func(b ext4.DirBlock) bool {
		if r.met++; r.met > 2*r.t.fs.Super().Blocks {
			r.note(ext4.Problem{Kind: ext4.KindBlockCycle, Inode: in.Number, Offset: -1, Text: "directories claim more blocks than the file system has"})
			return false
		}
		r.blocks = append(r.blocks, b)
		if len(r.blocks) < maxBlocks {
			return true
		}
		return r.readBlocks() == nil // an error of reading comes again, at the end of the batch
	}, r.note)
	if err == nil && in.Flags&ext4.FlagIndex != 0 && r.t.fs.Super().HasCompat(ext4.CompatDirIndex) && len(r.blocks)-first == int(r.met-met) {
		r.dirs[len(r.dirs)-1].tree = r.hashTree(in, r.blocks[first:])
	}
	return err
}

// layout takes the LMV of a striped directory in.
func (d *dirState) layout(x *attrs, c *counts) {
	v, err := lustre.DecodeLMV(x.lmv)
	if err != nil || v.Insane() != "" {
		return
	}
	d.lmv = &v
	if v.IsShard() {
		c.Shards++
		return
	}
	c.Masters++
	d.raw = slices.Clone(x.lmv)
	d.seen = make([]uint64, (v.Count+63)/64)
}

// inline reads a directory whose entries lie in its inode.
func (r *runner) inline(in *ext4.Inode) error {
	var failed error
	d := &r.dirs[len(r.dirs)-1]
	r.same.begin()
	err := r.t.fs.Dir(in, func(e ext4.Dirent) bool {
		failed = r.entry(d, e)
		return failed == nil
	}, r.noteEntry)
	if failed != nil {
		return failed
	}
	return err
}

// readBlocks reads the gathered blocks in storage order.
func (r *runner) readBlocks() error {
	slices.SortFunc(r.blocks, func(a, b ext4.DirBlock) int { return cmp.Compare(a.Physical, b.Physical) })
	at := 0
	err := r.t.fs.SweepDirBlocks(r.ctx, func() (ext4.DirBlock, bool) {
		if at == len(r.blocks) {
			return ext4.DirBlock{}, false
		}
		at++
		return r.blocks[at-1], true
	}, r.block, r.note)
	r.blocks = r.blocks[:0]
	return err
}

// block takes in the entries of one block.
func (r *runner) block(b ext4.DirBlock, buf []byte) error {
	r.counts.Blocks++
	r.same.begin()
	if r.sums {
		r.t.fs.VerifyDirBlock(b, buf, r.note)
	}
	if r.current >= len(r.dirs) || r.dirs[r.current].ino != b.Inode {
		i, found := slices.BinarySearchFunc(r.dirs, b.Inode, func(d dirState, ino uint32) int { return cmp.Compare(d.ino, ino) })
		if !found {
			return nil
		}
		r.current = i
	}
	d := &r.dirs[r.current]
	var failed error
	r.t.fs.Dirents(b, buf, func(e ext4.Dirent) bool {
		if d.tree != nil {
			r.hashed(d, e)
		}
		failed = r.entry(d, e)
		return failed == nil
	}, r.noteEntry)
	if failed != nil {
		return failed
	}
	return r.did(d.count(), int64(len(buf)))
}

// finishBatch reads the blocks of the batch and says what its directories hold.
func (r *runner) finishBatch() error {
	if err := r.readBlocks(); err != nil {
		return err
	}
	for i := range r.dirs {
		d := &r.dirs[i]
		if n := d.count(); n > 0 { // it has no blocks that could be read
			if err := r.did(n, 0); err != nil {
				return err
			}
		}
		if !d.dotted {
			r.note(ext4.Problem{Kind: kindNoDot, Inode: d.ino, Offset: -1, Text: fmt.Sprintf("inode %d: the directory has no '.'", d.ino)})
		}
		if d.role != roleNone {
			if !d.sum.has(dirUp) || d.sum.upIno != ext4.InoRoot {
				r.note(ext4.Problem{Kind: kindNoDot, Inode: d.ino, Offset: -1, Text: fmt.Sprintf("inode %d, a directory in the root of the target, has a '..' that leads to inode %d", d.ino, d.sum.upIno)})
			}
			continue
		}
		d.finish()
		r.says = d.sum.says(r.says[:0])
		if err := r.add(d.fid, r.t.index, kDir, uint64(d.ino), 0); err != nil {
			return err
		}
	}
	r.dirs, r.current = r.dirs[:0], 0
	return nil
}

// count is 1 the first time.
func (d *dirState) count() int64 {
	if d.told {
		return 0
	}
	d.told = true
	return 1
}

// finish says which shard of a master has no name, or several.
func (d *dirState) finish() {
	if d.seen == nil {
		return
	}
	d.sum.bits |= dirMaster
	d.sum.missing = d.lmv.Count
	for i := range d.lmv.Count {
		if d.seen[i/64]>>(i%64)&1 == 0 {
			d.sum.missing = i
			break
		}
	}
	if d.sum.missing < d.lmv.Count || d.twin {
		d.sum.bits |= dirBadShard
	}
}
