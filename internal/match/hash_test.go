package match

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"fettle/internal/claim"
)

// colliding is the i-th of many subjects with one level-0 hash under seed 0: its
// first half makes a factor of the hash zero.
func colliding(i uint64) claim.Subject {
	var s [16]byte
	binary.LittleEndian.PutUint64(s[:], mixB)
	binary.LittleEndian.PutUint64(s[8:], i)
	return s[:]
}

// TestCollisions: many subjects of one hash, as someone who knows the seed can make
// them, in memory and too many for it. The order is the same.
func TestCollisions(t *testing.T) {
	if Hash(0, colliding(1)) != Hash(0, colliding(2)) || Hash(5, colliding(1)) == Hash(5, colliding(2)) {
		t.Fatal("this test needs other subjects")
	}
	order := func(memory int64) []string {
		m, w := newMatch(t, Options{Dir: t.TempDir(), Memory: memory})
		defer mustClose(t, m)
		want := tally{}
		for i := range uint64(40000) {
			c := numbered(i, i)
			if i%4 != 0 {
				c.Subject = colliding(i % 5000)
			}
			mustAdd(t, w, c)
			want.add(c)
		}
		k := collect(t, m, Pass{Ordered: true})
		k.want(t, want)
		if split := m.Stats().Split > 0; split != (memory == MinMemory) {
			t.Errorf("memory %d: split %v", memory, split)
		}
		return k.order
	}
	if !slices.Equal(order(MinMemory), order(DefaultMemory)) {
		t.Error("the order depends on memory")
	}
}

// TestHopelessCollision: even if all hashes of many subjects were equal, that is an
// error and not an endless loop. No such subjects are known, so the last level is
// entered directly.
func TestHopelessCollision(t *testing.T) {
	m, w := newMatch(t, Options{Dir: t.TempDir(), Memory: MinMemory, Partitions: 1})
	defer mustClose(t, m)
	for i := range uint64(20000) {
		mustAdd(t, w, claim.Claim{Subject: colliding(i), Says: make([]byte, 20)})
	}
	checkpoint(t, m)
	k := newCollector()
	worker := &worker{run: &run{m: m, ctx: context.Background(), fn: k.group}, share: m.plan.shareOut(1)}
	f := m.parts[0].file
	if err := worker.collided(f, 0); err != nil || len(k.order) != 20000 {
		t.Errorf("%d subjects told apart at level 1, error %v", len(k.order), err)
	}
	if err := worker.collided(f, hashLevels-1); err == nil || !strings.Contains(err.Error(), "hint") {
		t.Errorf("past the last level: %v", err)
	}
}

// TestSameKeySort: subjects of equal key are told apart and come in one order.
func TestSameKeySort(t *testing.T) {
	var order []string
	for range 20 {
		l := leaf{seed: 3}
		ids := rand.Perm(40)
		for i, id := range ids {
			c := numbered(uint64(id/4), uint64(id))
			enc, err := c.AppendTo(nil)
			if err != nil {
				t.Fatal(err)
			}
			l.src = append(l.src, enc)
			l.refs = append(l.refs, entry{key: 5, src: uint32(i)})
		}
		l.sameKey(l.refs)
		var got []string
		for _, e := range l.refs {
			got = append(got, string(l.subject(e)))
		}
		if order == nil {
			order = got
		}
		if !slices.Equal(got, order) || len(slices.Compact(slices.Clone(got))) != 10 {
			t.Fatal("subjects of one key are mixed or in another order")
		}
	}
}

// TestHashIsStable pins the hash: marks and spill files of older versions rely on it.
func TestHashIsStable(t *testing.T) {
	for _, c := range []struct {
		seed uint64
		s    string
		want uint64
	}{
		{0, "", 0x1e745c709746bc4f}, {1, "", 0x4986b29779f9e67c}, {0, "a", 0x9dab167f27a06c6b}, {0, "abcd", 0xf60d116f4448043},
		{0, "abcdefgh", 0x3e67ed41163eb310}, {0, "0123456789abcdef0123", 0x4860a2b8f83c5f25},
	} {
		if got := Hash(c.seed, claim.Subject(c.s)); got != c.want {
			t.Errorf("Hash(%d, %q) = %#x", c.seed, c.s, got)
		}
	}
}

// TestHashSpreads: subjects that differ little fall evenly into partitions.
func TestHashSpreads(t *testing.T) {
	const n, parts = 1 << 16, 256
	for _, length := range []int{3, 4, 8, 12, 16, 17, 20, 33, 255} {
		for _, at := range []int{0, length / 2, length - 3} {
			var counts [parts]int
			s := make([]byte, length)
			for i := range n {
				at := max(0, min(at, length-3))
				s[at], s[at+1], s[at+2] = byte(i), byte(i>>8), byte(i>>16)
				counts[PartitionOf(0, parts, s)]++
			}
			for p, c := range counts { // expected 256, standard deviation 16
				if c < 256-112 || c > 256+112 {
					t.Errorf("length %d, bytes at %d: partition %d has %d of %d", length, at, p, c, n)
				}
			}
		}
	}
}
