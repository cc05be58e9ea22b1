package boltedit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// sealMeta writes a right checksum into a meta page after a test has changed it.
func sealMeta(page []byte) {
	h := fnv.New64a()
	h.Write(page[16:72])
	binary.LittleEndian.PutUint64(page[72:], h.Sum64())
}

func TestEdit(t *testing.T) {
	for _, o := range []bbolt.Options{{}, {NoFreelistSync: true}, {PageSize: 1024}, {PageSize: 16384}} {
		t.Run(fmt.Sprintf("%v %d", o.NoFreelistSync, o.PageSize), func(t *testing.T) {
			path := sample(t, o)
			was := read(t, path)
			dir := t.TempDir()
			r, err := Edit(t.Context(), path, dir, func(tx *bbolt.Tx) error {
				b := tx.Bucket([]byte("devices"))
				return errors.Join(b.Put([]byte("new"), make([]byte, 50000)), b.Delete([]byte("large")))
			})
			must(t, err)
			if !bytes.Equal(read(t, path), was) {
				t.Error("the original was written")
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if n := len(r.Pages); !r.Pages[n-1].Meta || !IsMeta(r.Pages[n-1].Number) {
				t.Errorf("the last page is %d", r.Pages[n-1].Number)
			}
			for i, p := range r.Pages[:len(r.Pages)-1] {
				if p.Meta || IsMeta(p.Number) || i > 0 && p.Number <= r.Pages[i-1].Number {
					t.Errorf("page %d at place %d", p.Number, i)
				}
			}
			checkParts(t, path, r, 0, 1, len(r.Pages)/2, len(r.Pages)-1, len(r.Pages))
		})
	}
}

// A file grows by the pages that are needed and not by bbolt's 16 MiB.
func TestEditGrowsLittle(t *testing.T) {
	path := sample(t, bbolt.Options{})
	r, err := Edit(t.Context(), path, t.TempDir(), func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("devices")).Put([]byte("new"), make([]byte, 1<<20))
	})
	must(t, err)
	if grown := r.NewSize - r.OldSize; grown <= 0 || grown > 1<<20+64<<10 {
		t.Errorf("the file grows by %d bytes", grown)
	}
}

func TestEditNothing(t *testing.T) {
	path := sample(t, bbolt.Options{})
	r, err := Edit(t.Context(), path, t.TempDir(), func(tx *bbolt.Tx) error { return nil })
	must(t, err)
	if len(r.Pages) != 0 || r.NewSize != r.OldSize {
		t.Errorf("%d pages, %d to %d bytes", len(r.Pages), r.OldSize, r.NewSize)
	}
}

func TestEditFails(t *testing.T) {
	mine := errors.New("mine")
	path := sample(t, bbolt.Options{})
	for name, fn := range map[string]func(*bbolt.Tx) error{
		"error":     func(*bbolt.Tx) error { return mine },
		"panic":     func(*bbolt.Tx) error { panic("mine") },
		"nil":       func(tx *bbolt.Tx) error { return tx.Bucket([]byte("none")).Put(nil, nil) },
		"committed": func(tx *bbolt.Tx) error { return tx.Commit() },
		"gone":      func(tx *bbolt.Tx) error { return tx.Rollback() },
	} {
		dir := t.TempDir()
		_, err := Edit(t.Context(), path, dir, fn)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if name == "error" && !errors.Is(err, mine) {
			t.Errorf("the cause is lost: %v", err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Edit(ctx, path, t.TempDir(), addKey); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := Edit(t.Context(), t.TempDir(), t.TempDir(), addKey); err == nil {
		t.Error("a directory was edited")
	}
}

// Each damage is one that bbolt would follow: a crash of the process, or a write over pages in use.
func TestEditRefusesDamage(t *testing.T) {
	le := binary.LittleEndian
	base := read(t, sample(t, bbolt.Options{}))
	unsynced := read(t, sample(t, bbolt.Options{NoFreelistSync: true}))
	size := os.Getpagesize()
	now, err := readMetas(bytes.NewReader(base))
	must(t, err)
	cur := now.current
	at := func(b []byte, n uint64) []byte { return b[int(n)*size:] }
	for name, damage := range map[string]func(b []byte) []byte{
		"empty":    func([]byte) []byte { return nil },
		"one page": func(b []byte) []byte { return b[:size] },
		"cut":      func(b []byte) []byte { return b[:int(cur.high-1)*size] },
		"no meta":  func(b []byte) []byte { clear(b[:2*size]); return b },
		"root number": func(b []byte) []byte {
			m := at(b, uint64(cur.slot))
			le.PutUint64(m[32:], 1<<40)
			sealMeta(m)
			return b
		},
		"many pages": func(b []byte) []byte {
			m := at(b, uint64(cur.slot))
			le.PutUint64(m[56:], 1<<60)
			sealMeta(m)
			return b
		},
		"freelist where": func(b []byte) []byte {
			m := at(b, uint64(cur.slot))
			le.PutUint64(m[48:], 1<<50)
			sealMeta(m)
			return b
		},
		"txid": func(b []byte) []byte {
			m := at(b, uint64(cur.slot))
			le.PutUint64(m[64:], 1<<64-1)
			sealMeta(m)
			return b
		},
		"wrong slot": func(b []byte) []byte {
			m := at(b, uint64(cur.slot))
			le.PutUint64(m[64:], cur.txid+1)
			sealMeta(m)
			return b
		},
		"root id":       func(b []byte) []byte { le.PutUint64(at(b, cur.root), 9999); return b },
		"root overflow": func(b []byte) []byte { le.PutUint32(at(b, cur.root)[12:], 1<<31); return b },
		"root flags":    func(b []byte) []byte { le.PutUint16(at(b, cur.root)[8:], 4); return b },
		"root count":    func(b []byte) []byte { le.PutUint16(at(b, cur.root)[10:], 60000); return b },
		"key place":     func(b []byte) []byte { le.PutUint32(at(b, cur.root)[16+4:], 1<<30); return b },
		"value size":    func(b []byte) []byte { le.PutUint32(at(b, cur.root)[16+12:], 1<<30); return b },
		"bucket size":   func(b []byte) []byte { le.PutUint32(at(b, cur.root)[16+12:], 3); return b },
		"empty key":     func(b []byte) []byte { le.PutUint32(at(b, cur.root)[16+8:], 0); return b },
		"cycle": func(b []byte) []byte {
			r := at(b, cur.root)
			le.PutUint64(r[16+le.Uint32(r[20:])+le.Uint32(r[24:]):], cur.root)
			return b
		},
		"freelist flags": func(b []byte) []byte { le.PutUint16(at(b, cur.freelist)[8:], 2); return b },
		"freelist count": func(b []byte) []byte {
			f := at(b, cur.freelist)
			le.PutUint16(f[10:], 0xFFFF)
			le.PutUint64(f[16:], 1<<60)
			return b
		},
		"free in use": func(b []byte) []byte { le.PutUint64(at(b, cur.freelist)[16:], cur.root); return b },
		"free twice":  func(b []byte) []byte { f := at(b, cur.freelist); copy(f[16:24], f[24:32]); return b },
		"free meta":   func(b []byte) []byte { le.PutUint64(at(b, cur.freelist)[16:], 1); return b },
	} {
		path := filepath.Join(t.TempDir(), "bad.db")
		must(t, os.WriteFile(path, damage(bytes.Clone(base)), 0o600))
		_, err := Edit(t.Context(), path, t.TempDir(), addKey)
		if err == nil || strings.Contains(err.Error(), "panic") {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	// Without a list of free pages bbolt walks the tree in a goroutine of its own, whose panic nobody can stop.
	m, err := readMetas(bytes.NewReader(unsynced))
	must(t, err)
	le.PutUint16(at(unsynced, m.current.root)[8:], 77)
	path := filepath.Join(t.TempDir(), "bad.db")
	must(t, os.WriteFile(path, unsynced, 0o600))
	if _, err := Edit(t.Context(), path, t.TempDir(), addKey); err == nil {
		t.Error("no error without a free list")
	}
}

// One damaged meta page is what a crash leaves; the other one counts.
func TestEditOneMeta(t *testing.T) {
	for slot := range 2 {
		path := sample(t, bbolt.Options{})
		b := read(t, path)
		clear(b[slot*os.Getpagesize():][16:100])
		must(t, os.WriteFile(path, b, 0o600))
		r, err := Edit(t.Context(), path, t.TempDir(), addKey)
		if err != nil {
			// The older transaction's pages may have been used again; then it has to be refused.
			t.Logf("meta page %d: %v", slot, err)
			continue
		}
		checkParts(t, path, r, 0, len(r.Pages)-1, len(r.Pages))
	}
}

// A backup made by bbolt has the newest meta page in either place, and the other one says the same.
func TestEditBackup(t *testing.T) {
	for extra := range 2 {
		path := sample(t, bbolt.Options{})
		for range extra {
			commit(t, path, bbolt.Options{}, addKey)
		}
		backup := filepath.Join(t.TempDir(), "backup.db")
		commit(t, path, bbolt.Options{}, func(tx *bbolt.Tx) error { return nil })
		db, err := bbolt.Open(path, 0o600, nil)
		must(t, err)
		must(t, db.View(func(tx *bbolt.Tx) error { return tx.CopyFile(backup, 0o600) }))
		must(t, db.Close())
		r, err := Edit(t.Context(), backup, t.TempDir(), addKey)
		must(t, err)
		checkParts(t, backup, r, 0, len(r.Pages)-1, len(r.Pages))
	}
}

// Any bytes changed anywhere: an error or a result, never the end of the process.
func TestEditGarbage(t *testing.T) {
	bases := [][]byte{read(t, sample(t, bbolt.Options{})), read(t, sample(t, bbolt.Options{NoFreelistSync: true})), bytes.Repeat([]byte("garbage "), 4096)}
	dir := t.TempDir()
	path := filepath.Join(dir, "bad.db")
	rapid.Check(t, func(t *rapid.T) {
		b := bytes.Clone(bases[rapid.IntRange(0, len(bases)-1).Draw(t, "base")])
		page := os.Getpagesize()
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			// Headers and the first elements of pages are where damage hurts.
			at := rapid.IntRange(0, len(b)/page-1).Draw(t, "page")*page + rapid.OneOf(rapid.IntRange(0, 64), rapid.IntRange(0, page-9)).Draw(t, "at")
			binary.LittleEndian.PutUint64(b[at:], rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 100)).Draw(t, "value"))
		}
		if rapid.Bool().Draw(t, "seal") {
			sealMeta(b)
			sealMeta(b[page:])
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Edit(context.Background(), path, dir, func(tx *bbolt.Tx) error {
			return errors.Join(addKey(tx), tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
				if b == nil {
					return nil // a tree that was not the root's may hold plain keys
				}
				return b.Put([]byte("k2"), []byte("v"))
			}))
		})
		if err != nil && strings.Contains(err.Error(), "panic") {
			t.Fatalf("bbolt was let at a damaged file: %v", err)
		}
	})
}

// Whatever a transaction does to whatever database: cut off anywhere it shows the old or the new content, and it can be
// taken back.
func TestEditProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "boltedit-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "a.db")
		o := bbolt.Options{NoFreelistSync: rapid.Bool().Draw(t, "noFreelist"), PageSize: rapid.SampledFrom([]int{1024, 4096}).Draw(t, "size")}
		for range rapid.IntRange(1, 5).Draw(t, "transactions") {
			commit(t, path, o, changes(t))
		}
		b := append(read(t, path), make([]byte, rapid.SampledFrom([]int{0, 0, 1, 1000, 5000}).Draw(t, "tail"))...)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		fn := changes(t)
		r, err := Edit(context.Background(), path, dir, fn)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Pages) > 0 {
			checkParts(t, path, r, rapid.IntRange(0, len(r.Pages)).Draw(t, "cut"), len(r.Pages)-1, len(r.Pages))
			anyOrder(t, b, r, o.NoFreelistSync)
		}
		for _, p := range r.Pages {
			b = put(b, p.After, int64(p.Number)*int64(r.PageSize), r.PageSize)
		}
		commit(t, path, o, fn)
		if content(t, b, o.NoFreelistSync) != content(t, read(t, path), o.NoFreelistSync) {
			t.Fatal("the result is not what the transaction does")
		}
	})
}

// anyOrder writes some of the data pages, as a disk may that lost its power before the sync.
func anyOrder(t *rapid.T, was []byte, r *Result, no bool) {
	file := bytes.Clone(was)
	for _, p := range r.Pages[:len(r.Pages)-1] {
		if rapid.Bool().Draw(t, "written") {
			file = put(file, p.After, int64(p.Number)*int64(r.PageSize), r.PageSize)
		}
	}
	if content(t, file, no) != content(t, was, no) {
		t.Fatal("some data pages written: bbolt sees something else")
	}
}

// changes draws what a transaction does.
func changes(t *rapid.T) func(*bbolt.Tx) error {
	type op struct {
		kind, bucket, inner, key, size int
	}
	ops := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) op {
		return op{rapid.IntRange(0, 9).Draw(t, "kind"), rapid.IntRange(0, 3).Draw(t, "bucket"), rapid.IntRange(0, 4).Draw(t, "inner"),
			rapid.IntRange(0, 40).Draw(t, "key"), rapid.SampledFrom([]int{0, 5, 60, 400, 9000}).Draw(t, "size")}
	}), 1, 40).Draw(t, "ops")
	return func(tx *bbolt.Tx) error {
		for _, o := range ops {
			name := fmt.Appendf(nil, "bucket-%d", o.bucket)
			if o.kind == 0 {
				if err := tx.DeleteBucket(name); err != nil && !errors.Is(err, bbolt.ErrBucketNotFound) {
					return err
				}
				continue
			}
			b, err := tx.CreateBucketIfNotExists(name)
			if err != nil {
				return err
			}
			if o.inner > 0 {
				if b, err = b.CreateBucketIfNotExists(fmt.Appendf(nil, "inner-%d", o.inner)); err != nil {
					return err
				}
			}
			key := fmt.Appendf(nil, "key-%d", o.key)
			switch o.kind {
			case 1:
				_, err = b.NextSequence()
			case 2, 3:
				err = b.Delete(key)
			default:
				err = b.Put(key, bytes.Repeat([]byte{byte(o.kind)}, o.size))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}
