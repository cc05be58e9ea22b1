package flux

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"fettle/internal/format/treeobj"
)

// The index answers "is this blob in the store, is it good, and where is it" from memory: 16 bytes per row, no pointers.
//
// A row is known by 76 bits of its hash: 12 choose the shard, 64 are kept. Two blobs of one store that agree in them are
// not to be expected below 10^11 rows (birthday bound); whoever follows an index to a row compares the whole hash.

const (
	shardBits  = 12
	shardCount = 1 << shardBits
)

// status is what the sweep found out about the content of a row.
type status uint8

const (
	statusGood        status = iota // hashes to its name
	statusMismatch                  // decodable, other hash
	statusUndecodable               // LZ4, size, NULL, overflow pages
)

// entry is one row. Layout of where: page 32 bits | cell 16 bits | flags 16 bits.
type entry struct {
	fp    uint64
	where uint64
}

// Flags of an entry.
const (
	flagStatus    = 0x0003 // a status
	flagBlobKey   = 0x0004 // the key has storage class BLOB
	flagSHA256    = 0x0008 // the key has 32 bytes
	flagDirLike   = 0x0010 // content begins like a directory object
	flagSalvaged  = 0x0020 // from a page that no readable tree holds
	flagDuplicate = 0x0040 // another row has the same hash
	flagFirst     = 0x0f00 // eventCode of the first event, for content that begins like an eventlog
	flagLast      = 0xf000 // eventCode of the last event
)

func makeEntry(fp uint64, page uint32, cell int, flags uint16) entry {
	return entry{fp: fp, where: uint64(page)<<32 | uint64(uint16(cell))<<16 | uint64(flags)}
}

func (e entry) page() uint32          { return uint32(e.where >> 32) }
func (e entry) cell() int             { return int(uint16(e.where >> 16)) }
func (e entry) status() status        { return status(e.where & flagStatus) }
func (e entry) has(flag uint64) bool  { return e.where&flag != 0 }
func (e entry) firstEvent() eventCode { return eventCode(e.where & flagFirst >> 8) }
func (e entry) lastEvent() eventCode  { return eventCode(e.where & flagLast >> 12) }
func (e entry) usable() bool          { return e.status() == statusGood && !e.has(flagBlobKey) }
func (e entry) goodContent() bool     { return e.status() == statusGood }
func (e entry) alg() (a treeobj.Alg) {
	if e.has(flagSHA256) {
		return treeobj.SHA256
	}
	return treeobj.SHA1
}

// printOf splits a raw hash (at least 20 bytes) into its shard and the 64 bits that are kept.
func printOf(hash []byte) (shard int, fp uint64) {
	return int(hash[0])<<4 | int(hash[1])>>4, binary.BigEndian.Uint64(hash[2:10])
}

// index is filled by one goroutine (add), then sealed, then read by many.
type index struct {
	shards [shardCount][]entry
	start  []uint32 // of each shard in the global numbering, shardCount+1 entries; set by seal
	n      int
	twins  int // entries that share their hash with another; set by seal
}

func (x *index) add(shard int, e entry) {
	s := x.shards[shard]
	if len(s) == cap(s) {
		// Growing by an eighth keeps the slack of all shards together small; they are many and grow alike.
		bigger := make([]entry, len(s), len(s)+len(s)/8+8)
		copy(bigger, s)
		s = bigger
	}
	x.shards[shard] = append(s, e)
	x.n++
}

// seal sorts the shards, marks duplicates and numbers the entries. Of several rows for one hash the best one comes first:
// good before bad, TEXT before BLOB, from the tree before salvaged.
func (x *index) seal(workers int) {
	var wg sync.WaitGroup
	var twins atomic.Int64
	for w := range max(1, workers) {
		wg.Go(func() {
			for i := w; i < shardCount; i += max(1, workers) {
				twins.Add(int64(sealShard(x.shards[i])))
			}
		})
	}
	wg.Wait()
	x.twins = int(twins.Load())
	x.start = make([]uint32, shardCount+1)
	n := uint32(0)
	for i := range x.shards {
		x.start[i] = n
		n += uint32(len(x.shards[i]))
	}
	x.start[shardCount] = n
}

func sealShard(s []entry) (twins int) {
	slices.SortFunc(s, compareEntries)
	for j := 1; j < len(s); j++ {
		if s[j].fp == s[j-1].fp && s[j].alg() == s[j-1].alg() {
			s[j-1].where |= flagDuplicate
			s[j].where |= flagDuplicate
			twins++
		}
	}
	return twins
}

func compareEntries(a, b entry) int {
	switch {
	case a.fp < b.fp:
		return -1
	case a.fp > b.fp:
		return 1
	}
	rank := func(e entry) uint64 {
		return e.where&flagSHA256<<8 | e.where&flagStatus<<8 | e.where&(flagBlobKey|flagSalvaged)
	}
	if ra, rb := rank(a), rank(b); ra != rb {
		if ra < rb {
			return -1
		}
		return 1
	}
	switch {
	case a.where < b.where:
		return -1
	case a.where > b.where:
		return 1
	}
	return 0
}

// find returns the global number of the best row for ref, or -1. The index must be sealed.
func (x *index) find(hash []byte) int {
	if len(hash) < 20 {
		return -1 // the zero reference
	}
	shard, fp := printOf(hash)
	s := x.shards[shard]
	if len(s) == 0 {
		return -1
	}
	var want uint64
	if len(hash) == 32 {
		want = flagSHA256
	}
	// Hashes are uniform, so the guess is off by about sqrt(len): a few neighbours in the same cache lines. Where they are
	// not uniform (hostile keys), the search is binary.
	const reach = 48
	g, _ := bits.Mul64(fp, uint64(len(s)))
	i := int(g)
	if before(s[i], fp, want) {
		for end := min(i+reach, len(s)); i < end; i++ {
			if !before(s[i], fp, want) {
				return x.hit(shard, i, fp, want)
			}
		}
		if i == len(s) {
			return -1
		}
	} else {
		for end := max(i-reach, 0); i > end; i-- {
			if before(s[i-1], fp, want) {
				return x.hit(shard, i, fp, want)
			}
		}
		if i == 0 {
			return x.hit(shard, 0, fp, want)
		}
	}
	lo, hi := 0, len(s)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if before(s[mid], fp, want) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(s) {
		return -1
	}
	return x.hit(shard, lo, fp, want)
}

// hit tells whether entry i of a shard, the first one not before the key, is the key's.
func (x *index) hit(shard, i int, fp, want uint64) int {
	if e := x.shards[shard][i]; e.fp == fp && e.where&flagSHA256 == want {
		return int(x.start[shard]) + i
	}
	return -1
}

// before orders an entry against a print and hash length.
func before(e entry, fp, sha256 uint64) bool {
	return e.fp < fp || e.fp == fp && e.where&flagSHA256 < sha256
}

// at returns entry number i.
func (x *index) at(i int) entry {
	// The shard is found by the same guess: entries are spread evenly over the shards.
	sh := 0
	if x.n > 0 {
		sh = int(uint64(i) * shardCount / uint64(x.n))
	}
	for x.start[sh] > uint32(i) {
		sh--
	}
	for x.start[sh+1] <= uint32(i) {
		sh++
	}
	return x.shards[sh][uint32(i)-x.start[sh]]
}

// bitmap is a set of entry numbers.
type bitmap []uint64

func newBitmap(n int) bitmap    { return make(bitmap, (n+63)/64) }
func (b bitmap) has(i int) bool { return b[i>>6]&(1<<(i&63)) != 0 }
func (b bitmap) set(i int)      { b[i>>6] |= 1 << (i & 63) }

// count is how many bits are set.
func (b bitmap) count() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}
