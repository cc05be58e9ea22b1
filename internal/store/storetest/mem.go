package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"

	"fettle/internal/finding"
	"fettle/internal/store"
)

// MemSystem is a toy system whose stores live in memory and are found by a path that is only a name.
//
// A unit is a set of records kept in pages of a Disk: "obj/NAME" holds a checksum, a colon and data; "ref/NAME" holds the
// name of an object; "count" holds the number of objects, those in "lost+found/" included.
type MemSystem struct {
	mu     sync.Mutex
	stores map[string][]*MemUnit
}

// NewMemSystem makes a system without stores.
func NewMemSystem() *MemSystem { return &MemSystem{stores: map[string][]*MemUnit{}} }

// Put makes units the store at path.
func (m *MemSystem) Put(path string, units ...*MemUnit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stores[path] = units
}

// Get gives the units of the store at path.
func (m *MemSystem) Get(path string) []*MemUnit {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stores[path]
}

// Name implements store.System.
func (*MemSystem) Name() string { return "mem" }

// Title implements store.System.
func (*MemSystem) Title() string { return "toy store in memory" }

// Shred is an action that cannot be undone.
const Shred finding.Action = "shred"

var memClasses = finding.Classes{
	{ID: "mem/dangling-ref", Title: "reference to an object that is gone", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "A ref names an object that does not exist.",
		Actions: []finding.ActionDoc{
			{Action: finding.Unlink, Does: "removes the ref", Loses: "the ref"},
			{Action: finding.Restore, Does: "makes an empty object"}}},
	{ID: "mem/corrupt-object", Title: "object that does not match its checksum", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "The data of an object is not what was written.",
		Actions: []finding.ActionDoc{
			{Action: finding.Quarantine, Does: "moves the object to lost+found and removes refs to it", Loses: "the refs"},
			{Action: finding.Discard, Does: "removes the object and refs to it", Loses: "the object"},
			{Action: Shred, Does: "removes the object for good", Loses: "the object", Irreversible: true}}},
	{ID: "mem/miscount", Title: "wrong number of objects", Severity: finding.Warning, Shape: finding.Miscount,
		Explain: "The count is not the number of objects.",
		Actions: []finding.ActionDoc{{Action: finding.Rewrite, Does: "writes the right number"}}},
}

// Classes implements store.System.
func (*MemSystem) Classes() finding.Classes { return memClasses }

// Recognize implements store.System.
func (m *MemSystem) Recognize(path string) (bool, error) { return m.Get(path) != nil, nil }

// Open implements store.System.
func (m *MemSystem) Open(_ context.Context, loc store.Location, _ store.Options) (store.Store, error) {
	units := m.Get(loc.Paths[0])
	if units == nil {
		return nil, fmt.Errorf("no toy store at %q", loc.Paths[0])
	}
	return memStore(units), nil
}

type memStore []*MemUnit

func (s memStore) Units() []store.Unit {
	out := make([]store.Unit, len(s))
	for i, u := range s {
		out[i] = u
	}
	return out
}

func (memStore) Close() error { return nil }

// MemUnit is one unit of a toy store.
type MemUnit struct {
	Name  string
	Disk  *Disk
	User  string // who has it open; see InUse
	pages uint32
}

// target is the only target of a unit.
const target = "disk"

// NewMemUnit makes a unit of pages pages that hold the records.
func NewMemUnit(name string, p *Power, pages int, records map[string]string) *MemUnit {
	u := &MemUnit{Name: name, pages: uint32(pages)}
	content := map[string]map[string]string{}
	for k, v := range records {
		a := u.page(k)
		if content[a] == nil {
			content[a] = map[string]string{}
		}
		content[a][k] = v
	}
	raw := map[string][]byte{}
	for a, recs := range content {
		raw[a] = encodePage(recs)
	}
	u.Disk = NewDisk(p, raw)
	return u
}

// Clone is an independent unit with the same content.
func (u *MemUnit) Clone(p *Power) *MemUnit {
	return &MemUnit{Name: u.Name, Disk: u.Disk.Clone(p), User: u.User, pages: u.pages}
}

// Object gives the content of a sound object record.
func Object(data string) string {
	return fmt.Sprintf("%08x:%s", crc32.ChecksumIEEE([]byte(data)), data)
}

func (u *MemUnit) page(key string) string {
	h := fnv.New32a()
	h.Write([]byte(key))
	return fmt.Sprintf("page/%d", h.Sum32()%u.pages)
}

// encodePage gives the bytes of a page, nil for one without records.
func encodePage(recs map[string]string) []byte {
	if len(recs) == 0 {
		return nil
	}
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(recs)) {
		line, _ := json.Marshal([2]string{k, recs[k]})
		b.Write(line)
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

func decodePage(addr string, raw []byte) (map[string]string, error) {
	recs := map[string]string{}
	for _, line := range strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n") {
		if line == "" {
			continue
		}
		var kv [2]string
		if err := json.Unmarshal([]byte(line), &kv); err != nil {
			return nil, fmt.Errorf("%s: %w", addr, err)
		}
		recs[kv[0]] = kv[1]
	}
	return recs, nil
}

// Records reads all records of the unit.
func (u *MemUnit) Records() (map[string]string, error) {
	all := map[string]string{}
	for _, a := range u.Disk.Pages() {
		raw, err := u.Disk.Read(a)
		if err != nil {
			return nil, err
		}
		recs, err := decodePage(a, raw)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, recs)
	}
	return all, nil
}

// ID implements store.Unit.
func (u *MemUnit) ID() string { return u.Name }

// Targets implements store.Unit.
func (u *MemUnit) Targets() []store.Target {
	var size int64
	for _, b := range u.Disk.Snapshot() {
		size += int64(len(b))
	}
	return []store.Target{{Name: target, Path: "mem:" + u.Name, Size: size}}
}

// Fingerprint implements store.Unit.
func (u *MemUnit) Fingerprint(context.Context) (string, error) {
	return fmt.Sprintf("%016x", SnapshotSum(u.Disk.Snapshot())), u.Disk.Power.alive()
}

// SnapshotSum is a hash of what Disk.Snapshot gave.
func SnapshotSum(pages map[string]store.Bytes) uint64 {
	h := fnv.New64a()
	for _, a := range slices.Sorted(maps.Keys(pages)) {
		fmt.Fprintf(h, "%q %q\n", a, []byte(pages[a]))
	}
	return h.Sum64()
}

// InUse implements store.Unit.
func (u *MemUnit) InUse(context.Context) (string, error) { return u.User, nil }
