package boltfile

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// pairs adds all plain keys and values below b to into, as far as they can be read.
func pairs(b *Bucket, into map[string]bool) {
	_ = b.Each(func(k, v []byte, sub *Bucket) error { // what is damaged is for Salvage to find
		if sub != nil {
			pairs(sub, into)
		} else {
			into[fmt.Sprintf("%q=%q", k, v)] = true
		}
		return nil
	})
}

// One page header is overwritten at a time, as in a torn write. Each and Salvage together still give everything.
func TestSalvageEverything(t *testing.T) {
	whole := raw(t, &bolt.Options{PageSize: 1024}, fill("a", 400, 40), fill("b", 5, 4000), drop("a", 7))
	f := openBytes(t, whole)
	want := map[string]bool{}
	pairs(f.Root(), want)
	c := f.newChecker(t.Context(), nil)
	if err := c.run(); err != nil {
		t.Fatal(err)
	}
	for page := range f.limit {
		if !c.readable.has(page) || parseHeader(whole[page*1024:]).id != page { // overflow pages have no header
			continue
		}
		for what, wreck := range map[string]func(head []byte){
			"zero":        func(head []byte) { clear(head) },
			"all ones":    func(head []byte) { copy(head, bytes.Repeat([]byte{0xff}, pageHeader)) },
			"no elements": func(head []byte) { head[10], head[11] = 0, 0 },
			"one less":    func(head []byte) { head[10]-- },
			"one more":    func(head []byte) { head[10]++ },
			"very many":   func(head []byte) { head[10], head[11] = 0xff, 0xff },
		} {
			data := bytes.Clone(whole)
			wreck(data[int(page)*1024:][:pageHeader])
			f := openBytes(t, data)
			got := map[string]bool{}
			pairs(f.Root(), got)
			found := 0
			if err := f.Salvage(t.Context(), func(e Element) error {
				if !e.Bucket {
					got[fmt.Sprintf("%q=%q", e.Key, e.Value)] = true
				} else if e.Sub != nil {
					pairs(e.Sub, got)
				}
				if e.Page == page {
					found++
					if !e.Repaired || e.Free {
						t.Errorf("page %d: %+v", page, e)
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			for pair := range want {
				if !got[pair] {
					t.Errorf("page %d with header %s: %.60s is lost, %d elements of the page found", page, what, pair, found)
					break
				}
			}
		}
	}
}

// Salvage gives what was deleted, and says that it is on free pages.
func TestSalvageDeleted(t *testing.T) {
	data := raw(t, nil, fill("a", 10, 20), func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("a")) })
	f := openBytes(t, data)
	if lines, err := flatten(t, f.Root()); len(lines) != 1 || err != nil {
		t.Fatal(lines, err)
	}
	seen := map[string]bool{}
	if err := f.Salvage(t.Context(), func(e Element) error {
		if !e.Free || e.Repaired {
			t.Errorf("%+v", e)
		}
		if e.Sub != nil {
			pairs(e.Sub, seen)
		}
		seen[string(e.Key)] = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !seen["a"] || !seen[`"key000001"="bbbbbbbbbbbbbbbbbbb"`] && !seen["key000001"] {
		t.Error(seen)
	}
}

// A File is used by many goroutines at once, with more pages than the cache holds.
func TestConcurrent(t *testing.T) {
	f := mustOpen(t, makeDB(t, nil, fill("a", 60000, 300)))
	want := map[string]bool{}
	pairs(f.Root(), want)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			if g == 0 {
				if r, err := f.Check(t.Context(), nil); err != nil || len(r.Problems) > 0 {
					t.Error(err, r)
				}
				return
			}
			b, _, err := f.Root().Bucket([]byte("a"))
			if err != nil {
				t.Error(err)
				return
			}
			for i := g; i < 60000; i += 600 {
				k := fmt.Appendf(nil, "key%06d", i)
				if v, ok, err := b.Get(k); err != nil || !ok || !want[fmt.Sprintf("%q=%q", k, v)] {
					t.Errorf("%s: %v %v", k, ok, err)
				}
			}
			got := map[string]bool{}
			pairs(b, got)
			if len(got) != len(want) {
				t.Errorf("%d pairs, want %d", len(got), len(want))
			}
		})
	}
	wg.Wait()
	if f.Size() < 8<<20 || len(f.cache.slots) != cacheBlocks {
		t.Errorf("%d bytes, %d blocks in the cache", f.Size(), len(f.cache.slots))
	}
}
