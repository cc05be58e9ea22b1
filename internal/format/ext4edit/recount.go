package ext4edit

import (
	"context"
	"fmt"
	"math/bits"

	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4quota"
)

// Recount is what bitmaps, counts and quota files say that the inodes do not.
type Recount struct {
	Blocks  []BlockRun    // marks of blocks, ascending: those that must be in use first, then those to give back
	Inodes  []uint32      // marked as in use, and hold nothing
	Deleted []uint32      // marked as free, with a time of deletion, and with links: what counts links takes them for used
	Groups  []GroupCount  // counts of groups
	Super   *FreeCount    // the superblock's counts; nil if they are right
	Quota   []QuotaCount  // usage by user, group and project, ascending
	Kept    string        // why nothing is given back, although there may be something; "" if nothing speaks against it
	Notes   []string      // what else could not be done
	Reads   RecountTotals // what was gone through
}

// RecountTotals says how much a recount looked at.
type RecountTotals struct{ Inodes, Blocks uint64 }

// BlockRun is a run of blocks whose marks differ from what files and metadata need.
type BlockRun struct {
	From, N uint64
	Used    bool // what the marks should be
}

// GroupCount is a group with wrong counts.
type GroupCount struct {
	Group      uint32
	Have, Want GroupCounts
}

// FreeCount is the superblock's counts.
type FreeCount struct {
	Blocks uint64
	Inodes uint32
}

// QuotaCount is an id with wrong usage. Has says whether the file has an entry for it.
type QuotaCount struct {
	Kind       ext4quota.Kind
	ID         uint32
	Has        bool
	Have, Want QuotaUsage
}

// These bound what one recount lists. What is more waits for the next one. An id without an entry costs a walk over the quota file.
const (
	maxRuns   = 1 << 16
	maxOwners = 1 << 20
	maxNewIDs = 1 << 8
)

// maxClaims bounds the work: all maps together may hold as many times the blocks of the file system. One of each is all that sound ones do.
const maxClaims = 4

// Recount goes through all inodes of the edited file system in storage order, once, and compares. Free ones that were in use before are
// read as well. did, if not nil, hears of every 4096th inode. Memory is one bit for each block and inode, and the users.
//
// A block is given back only if everything was sound: no map with a block that another one has, that is metadata or that lies outside,
// no inode or map that could not be read, no inode that has links and is marked as free or the other way round. What must be
// marked as in use is listed always. Counts follow from the bitmaps as they become; those of directories and quota from inodes, and
// only if everything was sound. The error is that of reading, the context's, or ErrDamaged where not even metadata is, or where maps
// claim all blocks many times over.
func (e *Edit) Recount(ctx context.Context, did func(inodes int64)) (*Recount, error) {
	meta, err := e.metadata()
	if err != nil {
		return nil, err
	}
	fs, err := ext4.New(e.over, e.Size(), e.view.Name())
	if err != nil {
		return nil, err
	}
	c := newCounter(e, fs, did)
	for _, s := range meta {
		for b := s.from; b < s.from+s.n; b++ {
			c.blocks.set(e.groupOf(b))
		}
	}
	if e.sb.Incompat&ext4.IncompatMMP != 0 && e.view.BlockOK(e.sb.MMPBlock) {
		c.blocks.set(e.groupOf(e.sb.MMPBlock))
	}
	if err := fs.SweepInodes(ctx, ext4.SweepOptions{Everything: true, Written: true, Report: c.report}, c.inode); err != nil {
		return nil, err
	}
	if err := c.compare(); err != nil {
		return nil, err
	}
	return c.out, c.quota()
}

// bitmaps is one bit for each block or inode, by group.
type bitmaps struct {
	data []byte
	per  int // bytes of a group
}

func newBitmaps(groups, per uint32) bitmaps {
	n := (int(per) + 7) / 8
	return bitmaps{make([]byte, n*int(groups)), n}
}

func (b bitmaps) group(g uint32) []byte     { return b.data[int(g)*b.per:][:b.per] }
func (b bitmaps) set(g uint32, bit int)     { setBit(b.group(g), bit) }
func (b bitmaps) is(g uint32, bit int) bool { return getBit(b.group(g), bit) }
func (b bitmaps) take(g uint32, bit int) (had bool) {
	had = b.is(g, bit)
	b.set(g, bit)
	return had
}

// counter is a recount that is going on.
type counter struct {
	e       *Edit
	fs      *ext4.FS
	out     *Recount
	did     func(int64)
	blocks  bitmaps // that metadata or an inode has
	empty   bitmaps // inodes that are marked as in use and hold nothing
	dirs    []uint32
	deleted []uint32
	shared  map[uint64]uint32 // attribute blocks that several inodes have: how many more may come
	usage   [ext4quota.Kinds]map[uint32]QuotaUsage
	buf     []byte
}

func newCounter(e *Edit, fs *ext4.FS, did func(int64)) *counter {
	c := &counter{e: e, fs: fs, out: &Recount{}, did: did, blocks: newBitmaps(fs.Groups(), e.sb.BlocksPerGroup),
		empty: newBitmaps(fs.Groups(), e.sb.InodesPerGroup), dirs: make([]uint32, fs.Groups()), shared: map[uint64]uint32{}, buf: make([]byte, e.over.size)}
	for k := range ext4quota.Kind(ext4quota.Kinds) {
		if e.QuotaInode(k) != 0 {
			c.usage[k] = map[uint32]QuotaUsage{}
		}
	}
	return c
}

// keep notes the first reason to give nothing back.
func (c *counter) keep(format string, args ...any) {
	if c.out.Kept == "" {
		c.out.Kept = fmt.Sprintf(format, args...)
	}
}

func (c *counter) report(p ext4.Problem) { c.keep("%s", p.Text) }

// inode counts one inode that is marked as in use, or that is not and looks as if it were.
func (c *counter) inode(in *ext4.Inode) error {
	switch {
	case in.Allocated:
	case in.Links != 0 && in.Dtime() == 0:
		c.keep("inode %d has links and is marked as free", in.Number)
		return nil
	case in.Links != 0 && len(c.deleted) < maxRuns:
		c.deleted = append(c.deleted, in.Number)
		return nil
	default:
		return nil
	}
	if c.out.Reads.Inodes++; c.did != nil && c.out.Reads.Inodes%4096 == 0 {
		c.did(4096)
	}
	reserved := in.Number < c.e.sb.FirstIno && in.Number != ext4.InoRoot
	switch {
	case reserved:
		return c.reserved(in)
	case in.IsFree():
		c.empty.set(in.Group, int(in.Index))
		return nil
	case in.Links == 0:
		c.keep("inode %d has no links and is marked as in use", in.Number)
	case in.Mode&ext4.ModeTypeMask == 0:
		c.keep("inode %d has no type", in.Number)
	}
	c.fs.VerifyInode(in, c.report)
	if in.IsDir() {
		c.dirs[in.Group]++
	}
	n, err := c.claims(in, false)
	if err != nil {
		return err
	}
	extra, inodes, err := c.attributes(in)
	if err != nil {
		return err
	}
	if in.Number != c.e.sb.ProjectQuotaInum && in.Number != c.e.sb.OrphanFileInum && in.Flags&ext4.FlagEAInode == 0 {
		c.owns(in, 1+inodes, (n+extra)*uint64(c.e.over.size))
	}
	return nil
}

// reserved claims the blocks of an inode that nobody owns: the journal, quota files, and two whose blocks are metadata. Those have no type
// sometimes, and a map all the same.
func (c *counter) reserved(in *ext4.Inode) error {
	if in.Mode&ext4.ModeTypeMask == 0 && in.Flags&ext4.FlagInlineData == 0 {
		typed := *in
		typed.Mode |= ext4.ModeRegular
		in = &typed
	}
	if _, err := c.claims(in, in.Number == ext4.InoBad || in.Number == ext4.InoResize); err != nil {
		return err
	}
	_, _, err := c.attributes(in)
	return err
}

// claims takes the blocks of an inode's map. over says that they may be metadata.
func (c *counter) claims(in *ext4.Inode, over bool) (n uint64, err error) {
	claim := func(b uint64) bool {
		n++
		if c.blocks.take(c.e.groupOf(b)) && !over {
			c.keep("block %d of inode %d belongs to something else as well", b, in.Number)
		}
		return true
	}
	err = in.Blocks(c.fs, func(x ext4.Extent) bool {
		for i := range uint64(x.Length) {
			claim(x.Physical + i)
		}
		return true
	}, c.report)
	if err == nil {
		err = in.MapBlocks(c.fs, claim, nil)
	}
	if err == nil && c.e.sums.Metadata {
		_, err = c.fs.VerifyMap(in, c.report)
	}
	if c.out.Reads.Blocks += n; err == nil && c.out.Reads.Blocks > maxClaims*c.e.over.limit {
		err = damaged("the maps of the inodes up to %d hold %d blocks, and the file system has %d", in.Number, c.out.Reads.Blocks, c.e.over.limit)
	}
	return n, err
}

// attributes claims the attribute block of an inode, and adds what values in inodes of their own count for its owner.
func (c *counter) attributes(in *ext4.Inode) (blocks, inodes uint64, err error) {
	apart := func(ino, size uint32) error {
		inodes++
		holder, err := c.fs.Inode(ino)
		if err != nil {
			c.keep("the inode %d of an attribute of inode %d cannot be read: %v", ino, in.Number, err)
			return nil
		}
		// An old form of Lustre's keeps the owner in the inode itself and counts its blocks elsewhere.
		if le.Uint32(holder.Raw[ext4.InodeMtime:]) != in.Number || holder.Generation != in.Generation {
			blocks += (uint64(size) + uint64(c.e.over.size) - 1) / uint64(c.e.over.size)
		}
		return nil
	}
	in.InodeXattrs(func(x ext4.Xattr) bool {
		if x.ValueInode != 0 {
			err = apart(x.ValueInode, x.ValueSize)
		}
		return err == nil
	}, c.report)
	if err != nil || in.FileACL == 0 {
		return blocks, inodes, err
	}
	ok, err := c.fs.XattrBlock(in, c.buf, c.report)
	if err != nil || !ok {
		return blocks, inodes, err
	}
	c.fs.VerifyXattrBlock(in, c.buf, c.report)
	blocks++
	c.shareBlock(in)
	list, err := attrParse(c.buf, ext4.XattrBlockHeader)
	if err != nil {
		c.keep("attribute block %d: %v", in.FileACL, err)
		return blocks, inodes, nil
	}
	for _, x := range list {
		if x.inum != 0 {
			if err := apart(x.inum, x.size); err != nil {
				return blocks, inodes, err
			}
		}
	}
	return blocks, inodes, nil
}

// shareBlock claims an attribute block, which as many inodes may have as it says.
func (c *counter) shareBlock(in *ext4.Inode) {
	if !c.blocks.take(c.e.groupOf(in.FileACL)) {
		c.out.Reads.Blocks++
		if n := le.Uint32(c.buf[ext4.XattrHdrRefcount:]); n > 1 {
			c.shared[in.FileACL] = n - 1
		}
		return
	}
	left := c.shared[in.FileACL]
	if left == 0 {
		c.keep("attribute block %d of inode %d belongs to something else as well", in.FileACL, in.Number)
		return
	}
	c.shared[in.FileACL] = left - 1
}

// owns adds to the usage of an inode's owners.
func (c *counter) owns(in *ext4.Inode, inodes, bytes uint64) {
	for k, id := range [ext4quota.Kinds]uint32{in.UID, in.GID, in.ProjID} {
		m := c.usage[k]
		if m == nil {
			continue
		}
		u, ok := m[id]
		if !ok && len(m) == maxOwners {
			c.out.Notes = append(c.out.Notes, fmt.Sprintf("more than %d ids in the %s quota: they are not counted", maxOwners, ext4quota.Kind(k)))
			c.usage[k] = nil
			continue
		}
		m[id] = QuotaUsage{Inodes: u.Inodes + inodes, Bytes: u.Bytes + bytes}
	}
}

// zeros counts the free ones among the first n bits.
func zeros(b []byte, n int) (free uint32) {
	for i := 0; i < n/8; i++ {
		free += uint32(8 - bits.OnesCount8(b[i]))
	}
	for i := n &^ 7; i < n; i++ {
		if !getBit(b, i) {
			free++
		}
	}
	return free
}
