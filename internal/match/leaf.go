package match

import (
	"bytes"
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"fettle/internal/claim"
)

// entrySize is the size of an entry in bytes.
const entrySize = 16

// entry refers to one encoded claim of a leaf.
type entry struct {
	key uint64 // hash of its subject at the leaf's level
	src uint32 // which of leaf.src
	off uint32 // offset there
}

// keyRange is the hashes at one level that the claims of a file or leaf have.
type keyRange struct {
	level  int
	lo, hi uint64 // both included
}

// leaf is a partition, or a part of one, that is sorted in memory.
type leaf struct {
	keyRange
	seed   uint64
	src    [][]byte
	refs   []entry // sorted by key after sort
	spare  []entry
	counts []uint32
}

// begin empties the leaf and makes room for refs of n claims.
func (l *leaf) begin(seed uint64, r keyRange, n, most int64) {
	if n > int64(cap(l.refs)) {
		most = max(n, most)
		l.refs, l.spare = make([]entry, 0, most), make([]entry, most)
		l.counts = make([]uint32, most/2+2)
	}
	l.seed, l.keyRange, l.refs, l.src = seed, r, l.refs[:0], l.src[:0]
}

// index adds references to the claims in l.src[src][from:to], which must be n.
func (l *leaf) index(src, from, to int, n uint32) error {
	b := l.src[src]
	first := len(l.refs)
	for from < to {
		s, size, err := claim.Peek(b[from:to])
		if err != nil {
			return fmt.Errorf("claim %d of the block: %w", len(l.refs)-first, err)
		}
		if len(l.refs)-first >= int(n) || len(l.refs) == cap(l.refs) {
			return fmt.Errorf("the block holds more claims than the %d it should", n)
		}
		var key uint64
		if l.level == 0 {
			key = Hash(l.seed, s)
		} else {
			key = keyAt(l.level, l.seed, s)
		}
		if key < l.lo || key > l.hi {
			return fmt.Errorf("claim %d of the block is about a subject of another partition", len(l.refs)-first)
		}
		l.refs = append(l.refs, entry{key, uint32(src), uint32(from)})
		from += size
	}
	if got := len(l.refs) - first; got != int(n) {
		return fmt.Errorf("the block holds %d claims, should be %d", got, n)
	}
	return nil
}

// sort orders refs by key. Hashes spread evenly over the range, so one pass into
// about n/2 buckets leaves next to nothing to sort within them.
func (l *leaf) sort() {
	n := len(l.refs)
	if n <= 32 {
		sortEntries(l.refs)
		return
	}
	width := bits.Len(uint(n)) - 2 // 2^width buckets, at most n/2
	shift := max(0, bits.Len64(l.hi-l.lo)-width)
	counts := l.counts[:1<<width+1]
	clear(counts)
	for i := range l.refs {
		counts[(l.refs[i].key-l.lo)>>shift+1]++
	}
	for i := 1; i < len(counts); i++ {
		counts[i] += counts[i-1]
	}
	out := l.spare[:n]
	for _, e := range l.refs {
		b := (e.key - l.lo) >> shift
		out[counts[b]] = e
		counts[b]++ // becomes the end of bucket b
	}
	start := uint32(0)
	for _, end := range counts[:1<<width] {
		if end-start > 1 {
			sortEntries(out[start:end])
		}
		start = end
	}
	l.spare, l.refs = l.refs[:cap(l.refs)], out
}

func sortEntries(s []entry) {
	if len(s) > 32 {
		slices.SortFunc(s, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
		return
	}
	for i := 1; i < len(s); i++ {
		for j := i; j > 0 && s[j].key < s[j-1].key; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
}

// encoded is the claim e refers to, followed by whatever comes after it.
func (l *leaf) encoded(e entry) []byte { return l.src[e.src][e.off:] }

// subject of e. index has peeked at every claim before, so there is no error.
func (l *leaf) subject(e entry) claim.Subject {
	s, _, _ := claim.Peek(l.encoded(e))
	return s
}

// sameKey sorts entries of equal key by the further hashes of their subjects and
// then by the subjects, unless they are all about one.
func (l *leaf) sameKey(run []entry) {
	first := l.subject(run[0])
	if !slices.ContainsFunc(run[1:], func(e entry) bool { return !bytes.Equal(l.subject(e), first) }) {
		return
	}
	slices.SortFunc(run, func(a, b entry) int {
		s, t := l.subject(a), l.subject(b)
		if bytes.Equal(s, t) {
			return 0
		}
		for level := l.level + 1; level < hashLevels; level++ {
			if d := cmp.Compare(keyAt(level, l.seed, s), keyAt(level, l.seed, t)); d != 0 {
				return d
			}
		}
		return bytes.Compare(s, t)
	})
}

// memory passes on the groups of a partition that was never spilled.
func (w *worker) memory(p *partition, r keyRange) error {
	w.leaf.begin(w.m.opts.Seed, r, p.claims, w.entries)
	for i, b := range p.blocks {
		w.leaf.src = append(w.leaf.src, b.buf)
		if err := w.leaf.index(i, blockHeader, len(b.buf), b.claims); err != nil {
			return fmt.Errorf("partition %d in memory: %w", w.part, err)
		}
	}
	return w.emitLeaf()
}

// loaded passes on the groups of a file that fits.
func (w *worker) loaded(f *spillFile, r keyRange) error {
	if f.size > int64(len(w.arena)) {
		w.arena = make([]byte, max(f.size, w.arenaLen))
	}
	data := w.arena[:f.size]
	if err := f.readAt(data, 0); err != nil {
		return err
	}
	w.leaf.begin(w.m.opts.Seed, r, f.claims, w.entries)
	w.leaf.src = append(w.leaf.src, data)
	for pos := 0; pos < len(data); {
		payload, n, need, err := f.parse(data[pos:], int64(pos))
		if err == nil && need > 0 {
			err = f.corrupt(int64(pos), "a block of %d bytes does not fit before the end of the file at %d", need, f.size)
		}
		if err != nil {
			return err
		}
		from := pos + blockHeader
		if err := w.leaf.index(0, from, from+len(payload), n); err != nil {
			return f.corrupt(int64(pos), "%v", err)
		}
		pos = from + len(payload)
	}
	if err := f.checkTotal(int64(len(w.leaf.refs))); err != nil {
		return err
	}
	return w.emitLeaf()
}

// emitLeaf sorts the leaf and passes on its groups.
func (w *worker) emitLeaf() error {
	l := &w.leaf
	l.sort()
	ahead := 0 // entries of rest that were touched
	for rest := l.refs; len(rest) > 0; {
		if ahead <= 0 {
			ahead = min(touchAhead, len(rest))
			w.touched += l.touch(rest[:ahead])
		}
		n := 1
		for n < len(rest) && rest[n].key == rest[0].key {
			n++
		}
		if n > 1 {
			l.sameKey(rest[:n])
		}
		if err := w.emitRun(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
		ahead -= n
	}
	return nil
}

// touchAhead is how many claims are brought into the cache at once. Sorted
// references point all over the leaf; loading one claim after the other would wait
// for memory each time, while these loads do not depend on each other and overlap.
// With leaves much larger than the cache this halves the time for grouping.
const touchAhead = 64

// touch reads the first and the 32nd byte of each claim, and returns something so
// that it is not optimised away.
func (l *leaf) touch(refs []entry) (sum byte) {
	for _, e := range refs {
		b := l.src[e.src]
		sum += b[e.off] + b[min(int(e.off)+32, len(b)-1)]
	}
	return sum
}

// emitRun passes on the groups of a run of equal keys.
func (w *worker) emitRun(run []entry) error {
	for len(run) > 0 {
		n, size := 0, 0
		w.decoded = w.decoded[:0]
		var subject claim.Subject
		for ; n < len(run); n++ {
			enc := w.leaf.encoded(run[n])
			c, rest, err := claim.Decode(enc)
			if err != nil {
				return fmt.Errorf("partition %d: %w", w.part, err)
			}
			if n == 0 {
				subject = c.Subject
			} else if !bytes.Equal(c.Subject, subject) {
				break
			}
			size += len(enc) - len(rest)
			if !w.tooLarge(int64(n+1), int64(size)) {
				w.keep(c)
			}
		}
		g := Group{Subject: subject, Len: int64(n)}
		if w.tooLarge(int64(n), int64(size)) {
			g.Huge, g.source = true, w.hugeRun(run[:n])
		} else {
			if n > 1 {
				sortClaims(w.decoded)
			}
			g.Claims = w.decoded
		}
		if err := w.emit(g); err != nil {
			return err
		}
		run = run[n:]
	}
	return nil
}

func (w *worker) tooLarge(n, size int64) bool {
	return n > 1 && decodedWeight(n, size) > w.m.plan.huge
}

// keep appends to w.decoded, whose capacity is either small or all it may get.
func (w *worker) keep(c claim.Claim) {
	if len(w.decoded) == cap(w.decoded) {
		n := 32
		if len(w.decoded) > 0 {
			n = int(w.m.plan.huge/decodedSize) + 1
		}
		w.decoded = append(make([]claim.Claim, 0, n), w.decoded...)
	}
	w.decoded = append(w.decoded, c)
}

func sortClaims(s []claim.Claim) {
	if len(s) > 16 {
		slices.SortFunc(s, func(a, b claim.Claim) int { return claim.CompareWithin(&a, &b) })
		return
	}
	for i := 1; i < len(s); i++ {
		for j := i; j > 0 && claim.CompareWithin(&s[j], &s[j-1]) < 0; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
}

// hugeRun is the source of a Huge group in memory.
func (w *worker) hugeRun(run []entry) *hugeSource {
	return &hugeSource{ctx: w.ctx, walk: func(fn func([]byte) error) error {
		for _, e := range run {
			if err := fn(w.leaf.encoded(e)); err != nil {
				return err
			}
		}
		return nil
	}}
}
