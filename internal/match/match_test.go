package match

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"fettle/internal/claim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tally is what a trivial map makes of claims: encoded claim to how often.
type tally map[string]int

func (t tally) add(c claim.Claim) {
	enc, err := c.AppendTo(nil)
	if err != nil {
		panic(err)
	}
	t[string(enc)]++
}

// numbered is a claim with a 20-byte subject derived from id.
func numbered(id, at uint64) claim.Claim {
	s := make([]byte, 20)
	binary.BigEndian.PutUint64(s, id)
	return claim.Claim{Subject: s, Kind: claim.Kind(at % 3), Witness: claim.Witness{Target: 1, At: at}, Says: s[:8]}
}

// collector checks groups as they come and tallies their claims.
type collector struct {
	mu       sync.Mutex
	seen     tally
	subjects map[string]bool
	huge     int
	order    []string // of subjects
}

func newCollector() *collector { return &collector{seen: tally{}, subjects: map[string]bool{}} }

func (k *collector) group(g Group) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.subjects[string(g.Subject)] {
		return fmt.Errorf("subject %v comes twice", g.Subject)
	}
	k.subjects[string(g.Subject)] = true
	k.order = append(k.order, string(g.Subject))
	if g.Huge != (g.Claims == nil) {
		return fmt.Errorf("subject %v: huge %v with %d claims in the slice", g.Subject, g.Huge, len(g.Claims))
	}
	if g.Huge {
		k.huge++
	} else if !slices.IsSortedFunc(g.Claims, func(a, b claim.Claim) int { return claim.CompareWithin(&a, &b) }) {
		return fmt.Errorf("subject %v: claims are not sorted", g.Subject)
	}
	n := int64(0)
	for c, err := range g.All() {
		if err != nil {
			return err
		}
		if string(c.Subject) != string(g.Subject) {
			return fmt.Errorf("a claim about %v is in the group of %v", c.Subject, g.Subject)
		}
		k.seen.add(c)
		n++
	}
	if n != g.Len || n == 0 {
		return fmt.Errorf("subject %v: %d claims, Len %d", g.Subject, n, g.Len)
	}
	return nil
}

// fataler is what tests and rapid properties have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newMatch(t fataler, o Options) (*Matcher, *Writer) {
	t.Helper()
	m, err := New(o)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return m, newWriter(t, m)
}

func newWriter(t fataler, m *Matcher) *Writer {
	t.Helper()
	w, err := m.Writer()
	if err != nil {
		t.Fatalf("Writer: %v", err)
	}
	return w
}

func mustAdd(t fataler, w *Writer, c claim.Claim) {
	t.Helper()
	if err := w.Add(c); err != nil {
		t.Fatalf("Add: %v", err)
	}
}

func collect(t fataler, m *Matcher, p Pass) *collector {
	t.Helper()
	k := newCollector()
	if err := m.Groups(context.Background(), p, k.group); err != nil {
		t.Fatalf("Groups: %v", err)
	}
	return k
}

func (k *collector) want(t fataler, want tally) {
	t.Helper()
	if maps.Equal(k.seen, want) {
		return
	}
	for c, n := range want {
		if k.seen[c] != n {
			t.Fatalf("claim %x came %d times, want %d (%d distinct of %d)", c, k.seen[c], n, len(k.seen), len(want))
		}
	}
	t.Fatalf("%d distinct claims came, want %d", len(k.seen), len(want))
}

func mustClose(t fataler, m *Matcher) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func wantEmpty(t fataler, dir string) {
	t.Helper()
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Fatalf("left in %s: %v, error %v", dir, names, err)
	}
}

// TestAgainstMap compares with a map on random claims, shapes of input and options.
func TestAgainstMap(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "random"), 0))
		m, w := newMatch(t, Options{
			Dir: filepath.Join(dir, "spill"), Memory: MinMemory, Seed: rapid.Uint64().Draw(t, "seed"), Writers: 2,
			Partitions: rapid.SampledFrom([]int{0, 1, 2, 16, 64}).Draw(t, "partitions"),
		})
		n := rapid.SampledFrom([]int{0, 1, 100, 5000, 30000}).Draw(t, "claims")
		subjects := 1 + rapid.SampledFrom([]int{0, 1, 50, 5000, 1 << 30}).Draw(t, "subjects")
		length := rapid.SampledFrom([]int{0, 1, 8, 20, 255}).Draw(t, "subject length")
		says := rapid.SampledFrom([]int{0, 8, 100, 3000}).Draw(t, "payload")
		if says == 3000 {
			n /= 30
		}
		hot := rapid.SampledFrom([]int{0, 30, 99}).Draw(t, "percent hot")
		want := tally{}
		for range n {
			id := uint64(rnd.IntN(subjects))
			if rnd.IntN(100) < hot {
				id = 0
			}
			var s [claim.MaxSubject]byte
			binary.LittleEndian.PutUint64(s[:], id)
			c := claim.Claim{Subject: s[:length], Kind: claim.Kind(rnd.IntN(256)), Says: make([]byte, rnd.IntN(says+1))}
			c.Witness = claim.Witness{Target: uint32(rnd.IntN(3)), At: rnd.Uint64() >> rnd.IntN(64), Sub: uint64(rnd.IntN(4))}
			mustAdd(t, w, c)
			want.add(c)
		}
		collect(t, m, Pass{Workers: 3, Ordered: rapid.Bool().Draw(t, "ordered")}).want(t, want)
		if s := m.Stats(); s.Claims != int64(n) {
			t.Fatalf("stats %+v, want %d claims", s, n)
		}
		mustClose(t, m)
		wantEmpty(t, dir)
	})
}

func TestSmallInputStaysInMemory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spill")
	m, w := newMatch(t, Options{Dir: dir})
	want := tally{}
	for i := range uint64(10000) {
		c := numbered(i/2, i)
		mustAdd(t, w, c)
		want.add(c)
	}
	collect(t, m, Pass{}).want(t, want)
	collect(t, m, Pass{}).want(t, want) // again
	if _, err := os.Stat(dir); !os.IsNotExist(err) || m.Stats().Spilled != 0 {
		t.Errorf("the disk was touched: %v, %+v", err, m.Stats())
	}
	mustClose(t, m)
}

// TestOrder: the order of subjects depends on the seed alone.
func TestOrder(t *testing.T) {
	ids := rand.Perm(60000)
	order := func(o Options, p Pass) []string {
		o.Dir = t.TempDir()
		m, w := newMatch(t, o)
		defer mustClose(t, m)
		for _, i := range ids {
			id := uint64(i / 2)
			if i%3 == 0 {
				id = 7 // a hot key
			}
			mustAdd(t, w, numbered(id, uint64(i)))
		}
		slices.Reverse(ids)
		p.Ordered = true
		return collect(t, m, p).order
	}
	want := order(Options{}, Pass{Workers: 1})
	for name, got := range map[string][]string{
		"again":         order(Options{}, Pass{Workers: 4}),
		"spilled":       order(Options{Memory: MinMemory}, Pass{Workers: 4}),
		"one partition": order(Options{Memory: MinMemory, Partitions: 1}, Pass{}),
		"many":          order(Options{Memory: 2 << 20, Partitions: 64}, Pass{Workers: 2}),
	} {
		if !slices.Equal(got, want) {
			t.Errorf("%s: another order", name)
		}
	}
	if slices.Equal(order(Options{Seed: 1}, Pass{}), want) {
		t.Error("another seed gives the same order")
	}
}

// TestOrderedCallsOneByOne also checks that PartitionDone is in turn.
func TestOrderedCallsOneByOne(t *testing.T) {
	m, w := newMatch(t, Options{Dir: t.TempDir(), Partitions: 32})
	defer mustClose(t, m)
	for i := range uint64(5000) {
		mustAdd(t, w, numbered(i, i))
	}
	at := 0 // no lock: the race detector watches
	err := m.Groups(context.Background(), Pass{Workers: 8, Ordered: true, PartitionDone: func(i int) error {
		if i != at {
			return fmt.Errorf("partition %d done, want %d", i, at)
		}
		at++
		return nil
	}}, func(g Group) error {
		if g.Partition != at || PartitionOf(0, 32, g.Subject) != at {
			return fmt.Errorf("group of partition %d, expected %d", g.Partition, at)
		}
		return nil
	})
	if err != nil || at != 32 {
		t.Errorf("%d partitions done, error %v", at, err)
	}
}

func TestHotKey(t *testing.T) {
	dir := t.TempDir()
	m, w := newMatch(t, Options{Dir: dir, Memory: MinMemory})
	want := tally{}
	for i := range uint64(200000) {
		id := uint64(1)
		if i%100 == 0 {
			id = i
		}
		c := numbered(id, i)
		mustAdd(t, w, c)
		want.add(c)
	}
	k := collect(t, m, Pass{Workers: 2})
	k.want(t, want)
	if k.huge != 1 || m.Stats().Split == 0 {
		t.Errorf("%d huge groups, %+v", k.huge, m.Stats())
	}
	t.Run("nested and partial iteration", func(t *testing.T) {
		err := m.Groups(context.Background(), Pass{}, func(g Group) error {
			if !g.Huge {
				return nil
			}
			outer := 0
			for range g.All() {
				inner := 0
				for c, err := range g.All() {
					if err != nil || string(c.Subject) != string(g.Subject) {
						return fmt.Errorf("inner: %v, %v", c, err)
					}
					if inner++; inner == 5000 {
						break
					}
				}
				if outer++; outer == 10 {
					break
				}
			}
			if outer != 10 {
				return fmt.Errorf("%d rounds", outer)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	mustClose(t, m)
	wantEmpty(t, dir)
}

// TestHugeInMemory: a group may be Huge without any spilling.
func TestHugeInMemory(t *testing.T) {
	m, w := newMatch(t, Options{Dir: t.TempDir()})
	defer mustClose(t, m)
	want := tally{}
	for i := range uint64(50000) {
		c := numbered(i%2, i)
		mustAdd(t, w, c)
		want.add(c)
	}
	k := collect(t, m, Pass{})
	k.want(t, want)
	if k.huge != 2 || m.Stats().Spilled != 0 {
		t.Errorf("%d huge, %+v", k.huge, m.Stats())
	}
}

func TestConcurrentWriters(t *testing.T) {
	m, err := New(Options{Dir: t.TempDir(), Memory: 2 << 20, Writers: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, m)
	var wg sync.WaitGroup
	want := tally{}
	for k := range uint64(8) {
		w := newWriter(t, m)
		for i := range uint64(10000) {
			want.add(numbered(i, k))
		}
		wg.Go(func() {
			for i := range uint64(10000) {
				if err := w.Add(numbered(i, k)); err != nil {
					t.Error(err)
				}
				if i%1000 == 0 {
					m.Stats()
				}
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	k := collect(t, m, Pass{Workers: 4})
	k.want(t, want)
	if m.Stats().Spilled == 0 {
		t.Error("nothing was spilled")
	}
}

func TestLargeClaims(t *testing.T) {
	dir := t.TempDir()
	m, w := newMatch(t, Options{Dir: dir, Memory: MinMemory, Partitions: 2})
	want := tally{}
	for i := range uint64(100) {
		c := numbered(i/3, i)
		c.Says = make([]byte, claim.MaxSays-int(i))
		mustAdd(t, w, c)
		want.add(c)
	}
	collect(t, m, Pass{}).want(t, want)
	mustClose(t, m)
	wantEmpty(t, dir)
}

func TestRefusals(t *testing.T) {
	for name, o := range map[string]Options{
		"negative memory": {Memory: -1},
		"partitions 3":    {Partitions: 3},
		"partitions 8192": {Partitions: 8192},
		"negative":        {Partitions: -4},
		"too little":      {Memory: MinMemory, Writers: 1000},
	} {
		if m, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
			mustClose(t, m)
		}
	}
	m, w := newMatch(t, Options{Writers: 1})
	if _, err := m.Writer(); err == nil {
		t.Error("a second writer of one")
	}
	if err := w.Add(claim.Claim{Subject: make([]byte, 300)}); err == nil {
		t.Error("a subject that is too long")
	}
	collect(t, m, Pass{}).want(t, tally{}) // that error was not final
	mustClose(t, m)
	mustClose(t, m)
	if _, err := m.Writer(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := w.Add(numbered(1, 1)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := m.Groups(context.Background(), Pass{}, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := m.Checkpoint(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestStops(t *testing.T) {
	m, w := newMatch(t, Options{Dir: t.TempDir(), Memory: MinMemory})
	defer mustClose(t, m)
	for i := range uint64(100000) {
		mustAdd(t, w, numbered(i%5*i, i))
	}
	bad := errors.New("bad")
	for _, ordered := range []bool{false, true} {
		p := Pass{Workers: 4, Ordered: ordered}
		if err := m.Groups(context.Background(), p, func(g Group) error { return bad }); !errors.Is(err, bad) {
			t.Errorf("error of the callback: %v", err)
		}
		q := p
		q.PartitionDone = func(int) error { return bad }
		if err := m.Groups(context.Background(), q, func(g Group) error { return nil }); !errors.Is(err, bad) {
			t.Errorf("error of PartitionDone: %v", err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var mu sync.Mutex
		n := 0
		err := m.Groups(ctx, p, func(g Group) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; n == 100 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || n > 5000 {
			t.Errorf("cancelled: %v after %d groups", err, n)
		}
	}
}
