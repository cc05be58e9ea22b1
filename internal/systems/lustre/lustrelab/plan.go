package lustrelab

import (
	"strconv"

	"fettle/internal/format/lustre"
)

// directory is one directory of the namespace. Number 0 is ROOT; the children of number i are i*fanout+1 to i*fanout+fanout.
type directory struct {
	fid    lustre.FID
	mdt    int32
	ino    uint32 // on its MDT; 0 until its parent is written
	files  int32
	stripe int32 // number of its layout, -1 for a plain directory
}

// layout is that of one striped directory.
type layout struct {
	lmv    lustre.LMV
	shards []shard
}

// shard is one part of a striped directory: a directory inode that holds names.
type shard struct {
	fid lustre.FID
	mdt int32
	ino uint32
}

// plan is the whole tree of directories, and where the FIDs of its files begin.
type plan struct {
	opt     Options
	dirs    []directory
	layouts []layout
	seqs    []sequence // of directories, then of files, by MDT
}

// sequence gives FIDs of one target.
type sequence struct {
	seq uint64
	oid uint32
}

const (
	seqWidth = 0x40000000 // sequences of one MDT
	oidWidth = 0x1fff0    // FIDs of one sequence
)

// seqBase is the first sequence of an MDT. The first one is for its own use, the second for shards.
func seqBase(mdt int) uint64 { return lustre.SeqNormal + uint64(mdt)*seqWidth }

func (s *sequence) next() lustre.FID {
	if s.oid >= oidWidth {
		s.seq, s.oid = s.seq+1, 0
	}
	s.oid++
	return lustre.FID{Seq: s.seq, OID: s.oid}
}

// chance is a number that depends on the seed, a purpose and a number only (splitmix64).
func (p *plan) chance(purpose, n uint64) uint64 {
	return mix(p.opt.Seed ^ mix(purpose) ^ n*0x9e3779b97f4a7c15)
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Purposes of chance.
const (
	forPlace = iota + 1
	forFiles
	forLink
	forTarget
	forKind
	forDeleted
)

// newPlan places all directories and shares the files among them.
func newPlan(o Options) *plan {
	p := &plan{opt: o, dirs: make([]directory, o.Dirs+1), seqs: make([]sequence, o.MDTs)}
	shards := make([]sequence, o.MDTs)
	for m := range o.MDTs {
		shards[m] = sequence{seqBase(m) + 1, 2}
		p.seqs[m] = sequence{seqBase(m) + 2, 0}
	}
	p.dirs[0] = directory{fid: lustre.FIDRoot, stripe: -1}
	every := 0
	if o.Striped > 0 {
		every = o.Dirs / o.Striped
	}
	for i := 1; i <= o.Dirs; i++ {
		d := &p.dirs[i]
		d.stripe = -1
		_, _, parentMDT := p.holder(p.parent(i), p.dirName(i))
		d.mdt = int32(parentMDT)
		if h := p.chance(forPlace, uint64(i)); o.MDTs > 1 && int(h%1000) < o.Remote {
			d.mdt = int32((parentMDT + 1 + int(h/1000)%(o.MDTs-1)) % o.MDTs)
		}
		d.fid = p.seqs[d.mdt].next()
		if every > 0 && i%every == 0 && len(p.layouts) < o.Striped {
			d.stripe = int32(len(p.layouts))
			p.layouts = append(p.layouts, p.newLayout(d, shards))
		}
	}
	for m := range o.MDTs {
		// The object index wants FIDs of files after those of directories.
		p.seqs[m] = sequence{p.seqs[m].seq + 1, 0}
	}
	p.shareFiles()
	return p
}

func (p *plan) newLayout(d *directory, seqs []sequence) layout {
	n := len(p.layouts)
	hash, _ := lustre.ParseHash(p.opt.Hashes[n%len(p.opt.Hashes)]) // checked with the options
	l := layout{lmv: lustre.LMV{Magic: lustre.LMVMaster, Count: uint32(p.opt.Shards), Index: uint32(d.mdt), HashType: hash}}
	if p.opt.Changing && p.opt.Shards > 1 {
		change(&l.lmv, p.opt.Striped-1-n)
	}
	for k := range p.opt.Shards {
		m := (int(d.mdt) + k) % p.opt.MDTs
		l.shards = append(l.shards, shard{fid: seqs[m].next(), mdt: int32(m)})
	}
	return l
}

// change makes the layouts of the last three directories such that are changing.
func change(v *lustre.LMV, fromLast int) {
	switch fromLast {
	case 0:
		v.HashType |= lustre.HashFlagMigration | lustre.HashFlagSplit
		v.MigrateHash, v.MigrateOffset = lustre.HashFNV, v.Count-1
	case 1:
		v.HashType |= lustre.HashFlagMigration | lustre.HashFlagMerge
		v.MigrateHash, v.MigrateOffset = lustre.HashCrush, v.Count-1
	case 2:
		v.HashType |= lustre.HashFlagMigration
		v.MigrateHash, v.MigrateOffset = lustre.HashAllChar, (v.Count+1)/2
	}
}

// shareFiles gives every directory a number of files, so that they add up.
func (p *plan) shareFiles() {
	weight := func(i int) uint64 { return 1 + p.chance(forFiles, uint64(i))%3 }
	total := uint64(0)
	for i := range p.dirs {
		total += weight(i)
	}
	sum, given := uint64(0), uint64(0)
	for i := range p.dirs {
		sum += weight(i)
		upTo := uint64(p.opt.Files) * sum / total
		p.dirs[i].files = int32(upTo - given)
		given = upTo
	}
	if len(p.dirs) > 1 {
		p.dirs[1].files += int32(p.opt.BigDir)
	}
}

func (p *plan) parent(i int) int { return (i - 1) / p.opt.Fanout }

// children are the numbers of the sub-directories of a directory: from first up to, not including, end.
func (p *plan) children(i int) (first, end int) {
	first = i*p.opt.Fanout + 1
	return min(first, len(p.dirs)), min(first+p.opt.Fanout, len(p.dirs))
}

// holder says which directory inode holds a name of directory i: the shard's number (-1 for a plain directory), FID and MDT.
func (p *plan) holder(i int, name string) (k int, fid lustre.FID, mdt int) {
	d := &p.dirs[i]
	if d.stripe < 0 {
		return -1, d.fid, int(d.mdt)
	}
	l := &p.layouts[d.stripe]
	allowed := l.lmv.Allowed(name)
	// While a layout is changing, half of the names have not moved yet.
	k = allowed[int(p.chance(forKind, lustre.FNV1a(name))%uint64(len(allowed)))]
	return k, l.shards[k].fid, int(l.shards[k].mdt)
}

// holderIno is the inode of what holder gives, once it has one.
func (p *plan) holderIno(i, k int) uint32 {
	if k < 0 {
		return p.dirs[i].ino
	}
	return p.layouts[p.dirs[i].stripe].shards[k].ino
}

func (p *plan) dirName(i int) string { return "d" + strconv.Itoa(i) }

// inodes is how many inodes each MDT needs at most, roughly: its directories and its share of files, agents and links.
func (p *plan) inodes() []int {
	out := make([]int, p.opt.MDTs)
	for i := range p.dirs {
		d := &p.dirs[i]
		links := int(d.files)*(p.opt.HardLinks+p.opt.Deleted)/500 + 8
		if d.stripe < 0 {
			out[d.mdt] += 2 + int(d.files) + links
			continue
		}
		shards := p.layouts[d.stripe].shards
		for _, s := range shards {
			out[s.mdt] += 3 + int(d.files)*2/len(shards) + links
		}
		out[d.mdt] += 1 + len(shards)
	}
	// Agents and hard links may be on any MDT, and every MDT has its local files.
	extra := len(p.dirs)*p.opt.Remote/500 + 800
	for m := range out {
		out[m] += extra + out[m]/50
	}
	return out
}
