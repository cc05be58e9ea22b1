package devmapper

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// operations are what is done to each field.
var operations = []string{"zero", "one", "max", "random", "swap", "drop", "duplicate"}

// cell is one field of one record with one operation.
type cell struct {
	kind, field, op string
	at              string // which record
	file            string
	hurt            func(path string) error // errSame when there is nothing to change
}

func (c *cell) name() string { return c.kind + " " + c.field + " " + c.op }

// errSame says that an operation would leave everything as it is, or does not apply.
var errSame = errors.New("nothing to change")

// encoding gives the values of a type of field.
type encoding func(op string, old []byte) []byte

func asUvarint(op string, _ []byte) []byte {
	return binary.AppendUvarint(nil, map[string]uint64{"one": 1, "max": math.MaxUint64}[op])
}

func asVarint(op string, _ []byte) []byte {
	return binary.AppendVarint(nil, map[string]int64{"one": 1, "max": math.MaxInt64}[op])
}

func asText(op string, _ []byte) []byte {
	return []byte(map[string]string{"one": "1", "max": strings.Repeat("x", 5000)}[op])
}

func asTime(op string, _ []byte) []byte {
	b, _ := map[string]time.Time{"one": time.Unix(1, 0), "max": time.Unix(1<<40, 0)}[op].MarshalBinary()
	return b
}

func asBytes(op string, old []byte) []byte {
	switch op {
	case "one":
		return []byte{1}
	case "max":
		return bytes.Repeat([]byte{255}, len(old))
	}
	return make([]byte, len(old))
}

// place is a key in a bolt file.
type place struct {
	path []string
	key  string
}

func (p place) bucket(tx *bbolt.Tx) *bbolt.Bucket {
	b := tx.Bucket([]byte(p.path[0]))
	for _, name := range p.path[1:] {
		if b == nil {
			return nil
		}
		b = b.Bucket([]byte(name))
	}
	return b
}

func (p place) get(tx *bbolt.Tx) []byte {
	if b := p.bucket(tx); b != nil {
		return bytes.Clone(b.Get([]byte(p.key)))
	}
	return nil
}

// put sets a value; one that is the same is no change.
func (p place) put(tx *bbolt.Tx, v []byte) error {
	b := p.bucket(tx)
	if b == nil || bytes.Equal(b.Get([]byte(p.key)), v) {
		return errSame
	}
	return b.Put([]byte(p.key), v)
}

// boltCase changes a bolt file in one transaction.
func boltCase(fn func(tx *bbolt.Tx) error) func(string) error {
	return func(path string) error {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: strings.HasSuffix(path, metaName)})
		if err != nil {
			return err
		}
		return errors.Join(db.Update(fn), db.Close())
	}
}

// table is a bucket whose keys or buckets are records of one kind.
type table struct {
	kind, file string
	path       []string
	fields     []field
}

// field is a value of a record: the record's own when rel is empty, else a key below the record's bucket.
type field struct {
	name string
	rel  []string
	enc  encoding
	json string // a member of the JSON of the record's value
}

func (f *field) place(t *table, record string) place {
	if len(f.rel) == 0 {
		return place{t.path, record}
	}
	path := append(append([]string{}, t.path...), record)
	return place{append(path, f.rel[:len(f.rel)-1]...), f.rel[len(f.rel)-1]}
}

// poolTables, storeTables and metaTables are the records of the three databases.
func boltTables(pool, ns string) []table {
	stamps := []field{{"createdat", []string{"createdat"}, asTime, ""}, {"updatedat", []string{"updatedat"}, asTime, ""}}
	snapshot := append([]field{{"id", []string{"id"}, asUvarint, ""}, {"kind", []string{"kind"}, asBytes, ""}, {"parent", []string{"parent"}, asText, ""},
		{"inodes", []string{"inodes"}, asVarint, ""}, {"size", []string{"size"}, asVarint, ""}, {"label fstype", []string{"labels", "containerd.io/snapshot/devmapper/fstype"}, asText, ""}}, stamps...)
	entry := append([]field{{"name", []string{"name"}, asText, ""}, {"parent", []string{"parent"}, asText, ""}, {"label ref", []string{"labels", "containerd.io/snapshot.ref"}, asText, ""}}, stamps...)
	box := append([]field{{"image", []string{"image"}, asText, ""}, {"snapshotter", []string{"snapshotter"}, asText, ""}, {"snapshotKey", []string{"snapshotKey"}, asText, ""},
		{"runtime name", []string{"runtime", "name"}, asText, ""}, {"spec", []string{"spec"}, asBytes, ""}, {"label", []string{"labels", "io.kubernetes.pod.name"}, asText, ""}}, stamps...)
	image := append([]field{{"digest", []string{"target", "digest"}, asText, ""}, {"mediatype", []string{"target", "mediatype"}, asText, ""}, {"size", []string{"target", "size"}, asVarint, ""}}, stamps...)
	blob := append([]field{{"size", []string{"size"}, asVarint, ""}, {"snapshot label", []string{"labels", "containerd.io/gc.ref.snapshot.devmapper"}, asText, ""}}, stamps...)
	var device []field
	for _, name := range []string{"device_id", "size", "name", "parent_name", "state", "error"} {
		device = append(device, field{name: name, json: name})
	}
	return []table{
		{"device record", pool, []string{"devices"}, append(device, field{"value", nil, asBytes, ""})},
		{"device id", pool, []string{"device_ids"}, []field{{"state", nil, asBytes, ""}}},
		{"snapshot", storeName, []string{"v1", "snapshots"}, snapshot},
		{"link", storeName, []string{"v1", "parents"}, []field{{"child key", nil, asText, ""}}},
		{"entry", metaName, []string{"v1", ns, "snapshots", "devmapper"}, entry},
		{"container", metaName, []string{"v1", ns, "containers"}, box},
		{"lease", metaName, []string{"v1", ns, "leases"}, stamps[:1]},
		{"image", metaName, []string{"v1", ns, "images"}, image},
		{"content", metaName, []string{"v1", ns, "content", "blob"}, blob},
		{"namespace", metaName, []string{"v1"}, nil},
		{"version", metaName, []string{"v1"}, []field{{"number", nil, asVarint, ""}}},
	}
}

// boltCells makes every cell of the records of the three databases; most records of each table at the most.
func boltCells(t testing.TB, dir, pool string, most int) []cell {
	var out []cell
	for _, tab := range boltTables(pool, "k8s.io") {
		viewBolt(t, dir, tab.file, func(tx *bbolt.Tx) {
			keys := tableKeys(tx, &tab)
			if len(keys) == 0 {
				t.Logf("the set has no %s", tab.kind)
			}
			for _, i := range spread(len(keys), most) {
				out = append(out, tab.keyCells(keys, i)...)
				for k := range tab.fields {
					out = append(out, tab.fieldCells(tx, &tab.fields[k], keys, i)...)
				}
			}
			out = append(out, childCells(tx, &tab, keys)...)
		})
	}
	for _, s := range []struct {
		kind, file string
		path       []string
	}{{"device_ids", pool, []string{"device_ids"}}, {"v1/snapshots", storeName, []string{"v1", "snapshots"}}, {"entries", metaName, []string{"v1", "k8s.io", "snapshots"}}} {
		out = append(out, sequenceCells(s.kind, s.file, s.path)...)
	}
	return out
}

func viewBolt(t testing.TB, dir, file string, fn func(*bbolt.Tx)) {
	db, err := bbolt.Open(dir+"/"+file, 0o600, &bbolt.Options{NoSync: true, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *bbolt.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

// tableKeys are the keys of the records: buckets where the fields are below, values otherwise.
func tableKeys(tx *bbolt.Tx, tab *table) []string {
	var keys []string
	values := len(tab.fields) > 0 && len(tab.fields[len(tab.fields)-1].rel) == 0
	b := place{path: tab.path}.bucket(tx)
	if b == nil {
		return nil
	}
	b.ForEach(func(k, v []byte) error {
		if (v != nil) == values {
			keys = append(keys, string(k))
		}
		return nil
	})
	return keys
}

// spread picks at most n of count, evenly, the first and the last among them.
func spread(count, n int) []int {
	var out []int
	n = min(count, n)
	for i := range n {
		out = append(out, i*(count-1)/max(n-1, 1))
	}
	return out
}

// keyCells are the operations on the key of a record, with everything below it.
func (tab *table) keyCells(keys []string, i int) []cell {
	key, next := keys[i], keys[(i+1)%len(keys)]
	renames := map[string]string{"zero": strings.Repeat("\x00", len(key)), "one": "1", "max": strings.Repeat("x", 1000), "random": noise(len(key), uint64(i)), "drop": "", "swap": next, "duplicate": key + "0"}
	var out []cell
	for _, op := range operations {
		to := renames[op]
		out = append(out, cell{tab.kind, "key", op, fmt.Sprintf("%q", key), tab.file, boltCase(func(tx *bbolt.Tx) error {
			b := place{path: tab.path}.bucket(tx)
			if op == "swap" && to == key || len(b.Get([]byte(to))) > 0 && op == "one" {
				return errSame
			}
			return rekey(b, key, to, op)
		})})
	}
	return out
}

// rekey gives a record another key, exchanges it with that of another, copies or drops it.
func rekey(b *bbolt.Bucket, key, to, op string) error {
	a := dumpKey(b, key)
	other := dumpKey(b, to)
	if op != "duplicate" {
		if err := a.remove(b, key); err != nil {
			return err
		}
	}
	if op == "swap" {
		if err := errors.Join(other.remove(b, to), other.restore(b, key)); err != nil {
			return err
		}
	}
	if op == "drop" {
		return nil
	}
	return a.restore(b, to)
}

// content is a value or a bucket.
type content struct {
	value []byte
	sub   *bucketDump
}

func dumpKey(b *bbolt.Bucket, key string) content {
	if sub := b.Bucket([]byte(key)); sub != nil {
		d, err := dumpTx(sub, 0)
		if err != nil {
			panic(err)
		}
		return content{sub: d}
	}
	if key == "" {
		return content{}
	}
	return content{value: bytes.Clone(b.Get([]byte(key)))}
}

func (c content) remove(b *bbolt.Bucket, key string) error {
	if c.sub != nil {
		return b.DeleteBucket([]byte(key))
	}
	return b.Delete([]byte(key))
}

func (c content) restore(b *bbolt.Bucket, key string) error {
	if c.sub == nil {
		return b.Put([]byte(key), c.value)
	}
	sub, err := b.CreateBucket([]byte(key))
	if err != nil {
		return err
	}
	return fillBucket(sub, c.sub)
}

func noise(n int, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 99))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(256))
	}
	return string(b)
}

// fieldCells are the operations on one value of a record.
func (tab *table) fieldCells(tx *bbolt.Tx, f *field, keys []string, i int) []cell {
	at := f.place(tab, keys[i])
	old := at.get(tx)
	if old == nil {
		return nil // a base has no parent, an active snapshot no size
	}
	// The neighbour is the next record that has the field.
	var near place
	for k := 1; k < len(keys); k++ {
		if p := f.place(tab, keys[(i+k)%len(keys)]); p.get(tx) != nil {
			near = p
			break
		}
	}
	var out []cell
	for _, op := range operations {
		c := cell{tab.kind, f.name, op, fmt.Sprintf("%q", keys[i]), tab.file, nil}
		switch {
		case f.json != "":
			c.hurt = boltCase(func(tx *bbolt.Tx) error { return hurtJSON(tx, f.json, op, at, near) })
		default:
			c.hurt = boltCase(func(tx *bbolt.Tx) error { return hurtValue(tx, f, op, at, near) })
		}
		out = append(out, c)
	}
	return out
}

func hurtValue(tx *bbolt.Tx, f *field, op string, at, near place) error {
	old := at.get(tx)
	switch op {
	case "zero", "one", "max":
		return at.put(tx, f.enc(op, old))
	case "random":
		return at.put(tx, []byte(noise(max(len(old), 1), uint64(len(old)))))
	case "drop":
		return at.bucket(tx).Delete([]byte(at.key))
	}
	if near.path == nil {
		return errSame
	}
	other := near.get(tx)
	if err := at.put(tx, other); err != nil || op == "duplicate" {
		return err
	}
	return near.put(tx, old)
}

// hurtJSON changes one member of the JSON of a record.
func hurtJSON(tx *bbolt.Tx, member, op string, at, near place) error {
	var v, other map[string]json.RawMessage
	if err := json.Unmarshal(at.get(tx), &v); err != nil {
		return err
	}
	text := v[member][0] == '"'
	pick := func(word, number string) json.RawMessage {
		if text {
			return json.RawMessage(word)
		}
		return json.RawMessage(number)
	}
	switch op {
	case "zero":
		v[member] = pick(`""`, "0")
	case "one":
		v[member] = pick(`"1"`, "1")
	case "max":
		v[member] = pick(`"`+strings.Repeat("x", 5000)+`"`, map[string]string{"device_id": "4294967295", "state": "9223372036854775807", "size": "18446744073709551615"}[member])
	case "random":
		v[member] = pick(`"\u001b[31m\n\u0000"`, map[string]string{"device_id": "7341", "state": "-77", "size": "987654321"}[member])
	case "drop":
		delete(v, member)
	default:
		if near.path == nil {
			return errSame
		}
		if err := json.Unmarshal(near.get(tx), &other); err != nil {
			return err
		}
		mine := v[member]
		v[member] = other[member]
		if op == "swap" {
			other[member] = mine
			if err := putJSON(tx, near, other); err != nil {
				return err
			}
		}
	}
	return putJSON(tx, at, v)
}

// putJSON writes a record; one that says the same is no change.
func putJSON(tx *bbolt.Tx, at place, v map[string]json.RawMessage) error {
	var old map[string]json.RawMessage
	if err := json.Unmarshal(at.get(tx), &old); err != nil {
		return err
	}
	a, _ := json.Marshal(old)
	b, err := json.Marshal(v)
	if err != nil || bytes.Equal(a, b) {
		return errors.Join(err, errSame)
	}
	return at.put(tx, b)
}

// childCells are the operations on the keys of buckets within records: child links of entries, references of leases, labels of content.
func childCells(tx *bbolt.Tx, tab *table, keys []string) []cell {
	rel := map[string][]string{"entry": {"children"}, "lease": {"snapshots", "devmapper"}, "content": {"labels"}, "snapshot": {"labels"}}[tab.kind]
	if rel == nil {
		return nil
	}
	for _, k := range keys {
		sub := table{tab.kind + " " + rel[0], tab.file, append(append(append([]string{}, tab.path...), k), rel...), nil}
		b := place{path: sub.path}.bucket(tx)
		if b == nil {
			continue
		}
		var in []string
		b.ForEach(func(k, _ []byte) error { in = append(in, string(k)); return nil })
		if len(in) > 0 {
			return sub.keyCells(in, 0)
		}
	}
	return nil
}

// sequenceCells are the operations on the sequence of a bucket.
func sequenceCells(kind, file string, path []string) []cell {
	var out []cell
	for op, n := range map[string]uint64{"zero": 0, "one": 1, "max": math.MaxUint64, "random": 123456789012, "swap": 77, "drop": 0, "duplicate": 1 << 24} {
		out = append(out, cell{"sequence", kind, op, "", file, boltCase(func(tx *bbolt.Tx) error {
			b := place{path: path}.bucket(tx)
			if b.Sequence() == n {
				return errSame
			}
			return b.SetSequence(n)
		})})
	}
	return out
}
