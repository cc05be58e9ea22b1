package devmapper

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/bbolt"

	"fettle/internal/format/boltfile"
	"fettle/internal/store"
)

// Addresses of records in a bolt file. Every name is escaped as in a URL, so that slashes and bytes that are no text can be in it.
//
//	devices/NAME            a key: its value
//	v1/snapshots/#sequence  the sequence of a bucket, in decimal
//	v1/snapshots/KEY/       a whole bucket: a bucketDump in JSON
const sequenceMark = "#sequence"

// boltAddr makes an address of a key.
func boltAddr(path ...string) string {
	esc := make([]string, len(path))
	for i, p := range path {
		esc[i] = url.PathEscape(p)
	}
	return strings.Join(esc, "/")
}

// bucketAddr makes the address of a whole bucket.
func bucketAddr(path ...string) string { return boltAddr(path...) + "/" }

// sequenceAddr makes the address of a bucket's sequence.
func sequenceAddr(path ...string) string { return boltAddr(path...) + "/" + sequenceMark }

// boltPlace is an address taken apart.
type boltPlace struct {
	buckets  [][]byte
	key      []byte // nil for a sequence or a bucket
	sequence bool
}

func parseBoltAddr(addr string) (boltPlace, error) {
	parts := strings.Split(addr, "/")
	var p boltPlace
	last := parts[len(parts)-1]
	for _, s := range parts[:len(parts)-1] {
		name, err := url.PathUnescape(s)
		if err != nil || name == "" {
			return p, fmt.Errorf("bad record address %q", addr)
		}
		p.buckets = append(p.buckets, []byte(name))
	}
	switch {
	case len(p.buckets) == 0:
		return p, fmt.Errorf("record address %q names no bucket", addr)
	case last == "":
	case last == sequenceMark:
		p.sequence = true
	default:
		key, err := url.PathUnescape(last)
		if err != nil {
			return p, fmt.Errorf("bad record address %q", addr)
		}
		p.key = []byte(key)
	}
	return p, nil
}

// bucketDump is the content of a bucket. Keys, values and names are escaped as in addresses.
type bucketDump struct {
	Sequence uint64                 `json:"sequence,omitempty"`
	Keys     map[string]string      `json:"keys,omitempty"`
	Buckets  map[string]*bucketDump `json:"buckets,omitempty"`
}

func (d *bucketDump) bytes() store.Bytes {
	b, err := json.Marshal(d)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return b
}

// put sets a key of the dump.
func (d *bucketDump) put(key string, value []byte) {
	if d.Keys == nil {
		d.Keys = map[string]string{}
	}
	d.Keys[url.PathEscape(key)] = url.PathEscape(string(value))
}

// sub is a bucket within the dump, made if it is not there.
func (d *bucketDump) sub(name string) *bucketDump {
	if d.Buckets == nil {
		d.Buckets = map[string]*bucketDump{}
	}
	n := url.PathEscape(name)
	if d.Buckets[n] == nil {
		d.Buckets[n] = &bucketDump{}
	}
	return d.Buckets[n]
}

// maxNesting bounds how deep buckets are dumped; those of containerd have three levels below a record.
const maxNesting = 16

// readBoltRecord reads a record without bbolt, nil if it is not there.
func readBoltRecord(f *boltfile.File, addr string) (store.Bytes, error) {
	p, err := parseBoltAddr(addr)
	if err != nil {
		return nil, err
	}
	b := f.Root()
	for _, name := range p.buckets {
		sub, ok, err := b.Bucket(name)
		if err != nil || !ok {
			return nil, err
		}
		b = sub
	}
	switch {
	case p.sequence:
		return store.Bytes(strconv.FormatUint(b.Sequence(), 10)), nil
	case p.key != nil:
		v, ok, err := b.Get(p.key)
		if err != nil || !ok {
			return nil, err
		}
		return append(store.Bytes{}, v...), nil
	}
	d, err := dumpBucket(b, 0)
	if err != nil {
		return nil, err
	}
	return d.bytes(), nil
}

func dumpBucket(b *boltfile.Bucket, depth int) (*bucketDump, error) {
	if depth > maxNesting {
		return nil, errors.New("buckets are nested too deep")
	}
	d := &bucketDump{Sequence: b.Sequence()}
	err := b.Each(func(key, value []byte, sub *boltfile.Bucket) error {
		if sub == nil {
			d.put(string(key), value)
			return nil
		}
		in, err := dumpBucket(sub, depth+1)
		if err != nil {
			return err
		}
		d.sub(string(key))
		d.Buckets[url.PathEscape(string(key))] = in
		return nil
	})
	return d, err
}

// txRecord reads a record in a transaction, in the same form.
func txRecord(tx *bbolt.Tx, p boltPlace) (store.Bytes, error) {
	b := txBucket(tx, p.buckets, false)
	switch {
	case b == nil:
		return nil, nil
	case p.sequence:
		return store.Bytes(strconv.FormatUint(b.Sequence(), 10)), nil
	case p.key != nil:
		v := b.Get(p.key)
		if v == nil {
			return nil, nil
		}
		return append(store.Bytes{}, v...), nil
	}
	d, err := dumpTx(b, 0)
	if err != nil {
		return nil, err
	}
	return d.bytes(), nil
}

func dumpTx(b *bbolt.Bucket, depth int) (*bucketDump, error) {
	if depth > maxNesting {
		return nil, errors.New("buckets are nested too deep")
	}
	d := &bucketDump{Sequence: b.Sequence()}
	err := b.ForEach(func(k, v []byte) error {
		if v != nil {
			d.put(string(k), v)
			return nil
		}
		in, err := dumpTx(b.Bucket(k), depth+1)
		if err != nil {
			return err
		}
		d.sub(string(k))
		d.Buckets[url.PathEscape(string(k))] = in
		return nil
	})
	return d, err
}

// txBucket walks to a bucket; with create it makes those that are missing.
func txBucket(tx *bbolt.Tx, path [][]byte, create bool) *bbolt.Bucket {
	b := tx.Bucket(path[0])
	if b == nil && create {
		b, _ = tx.CreateBucket(path[0])
	}
	for _, name := range path[1:] {
		if b == nil {
			return nil
		}
		next := b.Bucket(name)
		if next == nil && create {
			next, _ = b.CreateBucket(name)
		}
		b = next
	}
	return b
}

// txWrite makes a record so. A bucket is made anew as a whole.
func txWrite(tx *bbolt.Tx, p boltPlace, after store.Bytes) error {
	if p.key == nil && !p.sequence {
		return txWriteBucket(tx, p.buckets, after)
	}
	b := txBucket(tx, p.buckets, after != nil)
	switch {
	case b == nil && after == nil:
		return nil
	case b == nil:
		return fmt.Errorf("a key stands where the bucket %s should be", p.buckets[len(p.buckets)-1])
	case p.sequence:
		n, err := strconv.ParseUint(string(after), 10, 64)
		if err != nil {
			return fmt.Errorf("sequence %q: %w", after, err)
		}
		return b.SetSequence(n)
	case after == nil:
		return b.Delete(p.key)
	}
	return b.Put(p.key, after)
}

func txWriteBucket(tx *bbolt.Tx, path [][]byte, after store.Bytes) error {
	name := path[len(path)-1]
	if len(path) < 2 {
		return errors.New("a top bucket is not replaced")
	}
	parent := txBucket(tx, path[:len(path)-1], after != nil)
	if parent == nil {
		return nil
	}
	if parent.Bucket(name) != nil {
		if err := parent.DeleteBucket(name); err != nil {
			return err
		}
	}
	if after == nil {
		return nil
	}
	var d bucketDump
	if err := json.Unmarshal(after, &d); err != nil {
		return fmt.Errorf("content of bucket %q: %w", name, err)
	}
	b, err := parent.CreateBucket(name)
	if err != nil {
		return err
	}
	return fillBucket(b, &d)
}

func fillBucket(b *bbolt.Bucket, d *bucketDump) error {
	if d.Sequence != 0 {
		if err := b.SetSequence(d.Sequence); err != nil {
			return err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(d.Keys)) {
		v := d.Keys[k]
		key, err1 := url.PathUnescape(k)
		val, err2 := url.PathUnescape(v)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if err := b.Put([]byte(key), []byte(val)); err != nil {
			return err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(d.Buckets)) {
		in := d.Buckets[k]
		name, err := url.PathUnescape(k)
		if err != nil {
			return err
		}
		sub, err := b.CreateBucketIfNotExists([]byte(name))
		if err != nil {
			return err
		}
		if err := fillBucket(sub, in); err != nil {
			return err
		}
	}
	return nil
}

// isDamage tells whether an error only says that parts of a file cannot be read.
func isDamage(err error) bool { return errors.Is(err, boltfile.ErrDamaged) }
