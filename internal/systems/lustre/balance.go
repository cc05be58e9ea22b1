package lustre

import (
	"cmp"
	"math/bits"
	"slices"

	"fettle/internal/format/lustre"
)

// balance compares the object index of a target with its inodes without a claim for each entry. Hashes of all entries that inodes ask for
// are added up, by buckets of FIDs, and those of all entries that there are subtracted. A bucket that comes to nothing agrees in every
// entry, with one chance in 2^64 that it does not: the claims would be those that its objects lead to expect, and fillIndex makes them up.
// Of the other buckets the index is read once more, for claims.
type balance [balanceBuckets]uint64

const balanceBuckets = 1 << balanceBits

const balanceBits = 10

// Odd constants with about half their bits set: digits of pi, e and the square root of 2.
const (
	mixA = 0x243f6a8885a308d3
	mixB = 0xb7e151628aed2a6b
	mixC = 0x6a09e667f3bcc909
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// bucketOf gives the bucket of a FID, and the FID's part of the hash of an entry.
func bucketOf(f lustre.FID) (bucket int, h uint64) {
	h = mix(f.Seq^mixA, (uint64(f.OID)<<32|uint64(f.Ver))^mixB)
	h = mix(h^mixC, mixB)
	return int(h >> (64 - balanceBits)), h
}

// entryHash is the hash of an entry, for sums: entries whose inodes were swapped must not add up to the same.
func entryHash(fid uint64, ino, gen uint32) uint64 {
	h := mix(fid^mixB, (uint64(ino)<<32|uint64(gen))^mixC)
	return mix(h^mixA, fid^mixC)
}

// wants takes in that an inode asks for an entry.
func (b *balance) wants(f lustre.FID, ino, gen uint32) {
	i, h := bucketOf(f)
	b[i] += entryHash(h, ino, gen)
}

// has takes in an entry.
func (b *balance) has(f lustre.FID, ino, gen uint32) {
	i, h := bucketOf(f)
	b[i] -= entryHash(h, ino, gen)
}

func (b *balance) add(o *balance) {
	for i := range b {
		b[i] += o[i]
	}
}

// disputed are the buckets of a target in which index and inodes do not agree, as bits. There are claims of the entries of these; nil stands
// for all.
type disputed []uint64

func (b *balance) disputed() (d disputed, some bool) {
	d = make(disputed, balanceBuckets/64)
	for i, sum := range b {
		if sum != 0 {
			d[i/64] |= 1 << (i % 64)
			some = true
		}
	}
	return d, some
}

// of tells whether there are claims of the entries of a FID.
func (d disputed) of(f lustre.FID) bool {
	if d == nil {
		return true
	}
	i, _ := bucketOf(f)
	return i/64 < len(d) && d[i/64]>>(i%64)&1 != 0
}

// inIndex tells whether the object index of its target has to have an object.
func (s *shape) inIndex(f lustre.FID, o *object) bool {
	return s.hasOI[o.mdt] && lustre.InOI(f, o.compat) && !o.has(objNoLMA)
}

// fillIndex adds the entries of object indexes of which there are no claims because they are as the objects want them. disputes are by place
// of the target.
func (a *about) fillIndex(s *shape, disputes []disputed) {
	for i := range a.objects {
		o := &a.objects[i]
		if s.inIndex(a.fid, o) && o.mdt < len(disputes) && !disputes[o.mdt].of(a.fid) {
			a.index = append(a.index, indexed{o.mdt, o.ino, o.gen})
		}
	}
	if len(a.index) > 1 {
		slices.SortFunc(a.index, func(x, y indexed) int { // the order of claims
			return cmp.Or(cmp.Compare(x.mdt, y.mdt), cmp.Compare(x.ino, y.ino), cmp.Compare(x.gen, y.gen))
		})
	}
}

// dispute compares indexes and inodes when all were read, and adds lanes that read again what they do not agree on.
func (s *sweeper) dispute() {
	if s.state.Disputed != nil {
		return
	}
	for i := range s.targets {
		d, some := s.state.Balance[i].disputed()
		if s.state.Disputed = append(s.state.Disputed, d); some {
			s.state.Lanes = append(s.state.Lanes, lane{Target: i, Index: true, Again: true})
		}
	}
}
