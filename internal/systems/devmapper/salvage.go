package devmapper

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/bbolt"

	"fettle/internal/format/boltfile"
	"fettle/internal/format/snapshotdb"
)

// salvager fills a new bolt file from a damaged one.
type salvager struct {
	u    *unit // with the evidence of all layers, the damaged one as far as it can be read
	f    *boltfile.File
	path string
	r    *recovered
}

// fill is what the new file is filled by, each part in a transaction of its own.
func (s *salvager) fill(ctx context.Context) []func(*bbolt.Tx) error {
	parts := []func(*bbolt.Tx) error{s.copyTree(ctx)}
	switch s.path {
	case s.u.layout.pool:
		parts = append(parts, s.poolRecords(ctx))
	case s.u.layout.store:
		parts = append(parts, s.storeRecords(ctx))
	case s.u.layout.meta:
		parts = append(parts, s.metaRecords(ctx))
	}
	return parts
}

// copyTree copies every key that the tree leads to.
func (s *salvager) copyTree(ctx context.Context) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		root := s.root(ctx)
		if root == nil {
			return nil
		}
		err := root.Each(func(key, value []byte, sub *boltfile.Bucket) error {
			if sub == nil {
				return nil // bolt has no keys at the top
			}
			b, err := tx.CreateBucketIfNotExists(key)
			if err != nil {
				return err
			}
			return s.copyBucket(ctx, b, sub, 0)
		})
		if isDamage(err) {
			return nil
		}
		return err
	}
}

func (s *salvager) copyBucket(ctx context.Context, to *bbolt.Bucket, from *boltfile.Bucket, depth int) error {
	if depth > maxNesting {
		return nil
	}
	if n := from.Sequence(); n != 0 {
		if err := to.SetSequence(n); err != nil {
			return err
		}
	}
	to.FillPercent = 0.9
	err := from.Each(func(key, value []byte, sub *boltfile.Bucket) error {
		if len(key) == 0 || len(key) > bbolt.MaxKeySize {
			return nil
		}
		s.r.read++
		if s.r.read&0xfff == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if sub == nil {
			if name := fieldName(from, key); name != "" {
				s.r.salvaged = append(s.r.salvaged, fmt.Sprintf("field %s of %s, whose name was damaged", name, pathText(from)))
				key = []byte(name)
			}
			if to.Bucket(key) != nil || s.path == s.u.layout.pool && pathText(from) == snapshotdb.BucketDevices && snapshotdb.DecodeDevice(key, value, false).Err != nil {
				return nil
			}
			return to.Put(key, bytes.Clone(value)) // bbolt keeps the slice until the commit
		}
		if s.path == s.u.layout.pool {
			return nil // its buckets hold values only: the flag of an element is damaged
		}
		if !s.sound(from, key, sub) {
			return nil // what is left of a record is in the way of the one that the other layers prove
		}
		b, err := to.CreateBucketIfNotExists(key)
		if err != nil {
			return nil // a key of that name was there already: the damaged file has both
		}
		return s.copyBucket(ctx, b, sub, depth+1)
	})
	if isDamage(err) {
		return nil
	}
	return err
}

// sound tells whether a record that is a bucket is whole. Other buckets are copied as far as they can be read.
func (s *salvager) sound(in *boltfile.Bucket, key []byte, sub *boltfile.Bucket) bool {
	path := in.Path()
	switch {
	case s.path == s.u.layout.store && len(path) == 2 && string(path[1]) == "snapshots":
		d := snapshotdb.DecodeSnapshot(key, sub)
		return d.Err == nil
	case s.path == s.u.layout.meta && len(path) == 4 && string(path[2]) == "snapshots":
		d := snapshotdb.DecodeEntry(string(path[1]), key, sub)
		return d.Err == nil
	}
	return true
}

// fields are the names of keys in the records of containerd's databases (core/metadata/buckets.go, core/snapshots/storage/bolt.go).
var fields = []string{"id", "kind", "parent", "createdat", "updatedat", "inodes", "size", "name", "image", "snapshotKey", "snapshotter", "spec",
	"sandboxid", "digest", "mediatype", "expireat", "options", "version"}

// fieldName is the field that a key with unprintable bytes must have been: the only one that differs from it in one or two bytes and is missing
// from the bucket. "" if the key is no such key.
func fieldName(b *boltfile.Bucket, key []byte) string {
	if len(key) < 4 || bytes.IndexFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) < 0 {
		return ""
	}
	fit := ""
	for _, f := range fields {
		if len(f) != len(key) {
			continue
		}
		diff := 0
		for i := range key {
			if key[i] != f[i] {
				diff++
			}
		}
		if diff > 2 {
			continue
		}
		// The key is out of order, so a look-up may fail: the bucket is walked.
		there := false
		_ = b.Each(func(k, _ []byte, _ *boltfile.Bucket) error { there = there || string(k) == f; return nil })
		if there || fit != "" {
			return ""
		}
		fit = f
	}
	return fit
}

// pathText is the path of a bucket for people.
func pathText(b *boltfile.Bucket) string {
	var parts []string
	for _, p := range b.Path() {
		parts = append(parts, string(p))
	}
	return strings.Join(parts, "/")
}

// root is the current root bucket, or the best one that can be found when both meta pages are gone; nil if there is none.
func (s *salvager) root(ctx context.Context) *boltfile.Bucket {
	if _, ok := s.f.Current(); ok {
		return s.f.Root()
	}
	return s.bestRoot(ctx)
}

// topBuckets are the names of the buckets at the top of the three databases.
var topBuckets = [][]byte{[]byte("v1"), []byte(snapshotdb.BucketDevices), []byte(snapshotdb.BucketDeviceIDs)}

// maxRoots bounds how many root pages are compared.
const maxRoots = 64

// bestRoot looks for pages that hold the top buckets. Older versions of the page may still be there; the one whose buckets have given out the
// most ids is the newest, and among equals the one with the most keys that can be read.
func (s *salvager) bestRoot(ctx context.Context) *boltfile.Bucket {
	var best *boltfile.Bucket
	var top rootScore
	tried := 0
	pages := uint64(s.f.Size()) / uint64(max(s.f.PageSize(), 1))
	for n := uint64(2); n < pages && tried < maxRoots && ctx.Err() == nil; n++ {
		b := s.f.RootAt(n, 0)
		if !hasTop(b) {
			continue
		}
		tried++
		if sc := scoreRoot(b, 0); best == nil || top.less(sc) {
			best, top = s.f.RootAt(n, 0), sc
		}
	}
	return best
}

func hasTop(b *boltfile.Bucket) bool {
	for _, name := range topBuckets {
		if _, ok, err := b.Bucket(name); ok && err == nil {
			return true
		}
	}
	return false
}

// rootScore compares candidates for the root.
type rootScore struct {
	given uint64 // sum of the sequences
	keys  int
}

func (a rootScore) less(b rootScore) bool {
	return a.given < b.given || a.given == b.given && a.keys < b.keys
}

func scoreRoot(b *boltfile.Bucket, depth int) rootScore {
	sc := rootScore{given: b.Sequence()}
	if depth > 4 {
		return sc
	}
	_ = b.Each(func(_, _ []byte, sub *boltfile.Bucket) error {
		sc.keys++
		if sub != nil {
			in := scoreRoot(sub, depth+1)
			sc.given += in.given
			sc.keys += in.keys
		}
		return nil
	}) // damage only lowers the score
	return sc
}

// poolRecords adds device records from lost pages, one for each snapshot without a record, when all versions of it that are found agree on
// the device id and the pool has that device. States on such pages may be old: the state is the one that the snapshot proves.
func (s *salvager) poolRecords(ctx context.Context) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		devices, err := tx.CreateBucketIfNotExists([]byte(snapshotdb.BucketDevices))
		if err != nil {
			return err
		}
		ids, err := tx.CreateBucketIfNotExists([]byte(snapshotdb.BucketDeviceIDs))
		if err != nil {
			return err
		}
		found := map[string]*snapshotdb.Device{}
		clash := map[string]bool{}
		j := join(s.u.ev)
		err = s.f.Salvage(ctx, func(e boltfile.Element) error {
			if e.Bucket || !bytes.Contains(e.Key, []byte("-snap-")) {
				return nil
			}
			d := snapshotdb.DecodeDevice(e.Key, e.Value, false)
			if d.Err != nil || d.Name != d.Key || devices.Get(e.Key) != nil || j.thin != nil && !j.inPool(d.ID) {
				return nil
			}
			if old := found[d.Key]; old != nil && old.ID != d.ID {
				clash[d.Key] = true
			}
			found[d.Key] = &d
			return nil
		})
		if err != nil && !isDamage(err) {
			return err
		}
		for _, key := range slices.Sorted(maps.Keys(found)) {
			d := found[key]
			id, ok := d.SnapshotID()
			if !ok || clash[key] || j.store == nil || j.snapshot(id) == nil || len(j.recordsByDev[d.ID]) > 0 {
				continue
			}
			d.State, d.Error = goodState(j.snapshot(id)), ""
			if err := devices.Put([]byte(key), snapshotdb.EncodeDevice(d)); err != nil {
				return err
			}
			if err := ids.Put([]byte(strconv.FormatUint(uint64(d.ID), 10)), []byte{snapshotdb.IDTaken}); err != nil {
				return err
			}
			s.r.salvaged = append(s.r.salvaged, key)
		}
		return s.fillIDs(ids, devices, j)
	}
}

// fillIDs writes what device_ids must say, where it cannot be read: ids of records are taken, those of other devices of the pool faulty. The
// sequence is above all of them.
func (s *salvager) fillIDs(ids, devices *bbolt.Bucket, j *joined) error {
	top := ids.Sequence()
	put := func(id uint32, state byte) error {
		top = max(top, uint64(id))
		key := []byte(strconv.FormatUint(uint64(id), 10))
		if ids.Get(key) != nil {
			return nil
		}
		return ids.Put(key, []byte{state})
	}
	err := devices.ForEach(func(k, v []byte) error {
		if d := snapshotdb.DecodeDevice(k, v, false); d.Err == nil {
			return put(d.ID, snapshotdb.IDTaken)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if j.thin != nil {
		for i := range j.thin.report.Devices {
			if t := &j.thin.report.Devices[i]; t.ID <= sequenceLimit {
				if err := put(t.ID, snapshotdb.IDFaulty); err != nil {
					return err
				}
			}
		}
	}
	return ids.SetSequence(top)
}

// storeRecords adds snapshots from lost pages that containerd refers to.
func (s *salvager) storeRecords(ctx context.Context) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		snaps := txBucket(tx, [][]byte{[]byte("v1"), []byte("snapshots")}, true)
		if txBucket(tx, [][]byte{[]byte("v1"), []byte("parents")}, true) == nil || snaps == nil {
			return nil
		}
		j := join(s.u.ev)
		err := s.f.Salvage(ctx, func(e boltfile.Element) error {
			if !e.Bucket || e.Sub == nil || len(j.entriesByName[string(e.Key)]) == 0 || snaps.Bucket(e.Key) != nil {
				return nil
			}
			d := snapshotdb.DecodeSnapshot(e.Key, e.Sub)
			if d.Err != nil || j.pool != nil && j.record(d.ID) == nil {
				return nil
			}
			b, err := snaps.CreateBucket(e.Key)
			if err != nil {
				return err
			}
			s.r.salvaged = append(s.r.salvaged, string(e.Key))
			if snaps.Sequence() < d.ID {
				if err := snaps.SetSequence(d.ID); err != nil {
					return err
				}
			}
			return s.copyBucket(ctx, b, e.Sub, 2)
		})
		if isDamage(err) {
			return nil
		}
		return err
	}
}

// metaRecords adds entries for snapshots from lost pages when metadata.db has the snapshot. What else was on such pages cannot be put in
// its place, because the page does not say to which bucket it belongs.
func (s *salvager) metaRecords(ctx context.Context) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		j := join(s.u.ev)
		err := s.f.Salvage(ctx, func(e boltfile.Element) error {
			if !e.Bucket || e.Sub == nil || e.Free {
				return nil
			}
			d := snapshotdb.DecodeEntry("", e.Key, e.Sub)
			if d.Err != nil || j.snapshotNamed(d.Name) == nil || userKey(d.Name) != d.Key || len(j.entriesByName[d.Name]) > 0 {
				return nil
			}
			ns := d.Name[:bytes.IndexByte([]byte(d.Name), '/')]
			parent := txBucket(tx, [][]byte{[]byte("v1"), []byte(ns), []byte("snapshots"), []byte(s.u.opts.snapshotter)}, true)
			if parent == nil || parent.Bucket(e.Key) != nil {
				return nil
			}
			b, err := parent.CreateBucket(e.Key)
			if err != nil {
				return err
			}
			s.r.salvaged = append(s.r.salvaged, ns+"/"+d.Key)
			return s.copyBucket(ctx, b, e.Sub, 4)
		})
		if isDamage(err) {
			return nil
		}
		return err
	}
}
