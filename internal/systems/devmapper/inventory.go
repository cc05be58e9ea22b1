package devmapper

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
	"fettle/internal/store"
)

// What a Row is mainly about: the most telling of the layers that know of it.
const (
	RowSnapshot = "snapshot" // metadata.db has it
	RowRecord   = "record"   // a device record without a snapshot
	RowThin     = "thin"     // a thin device without a readable record
	RowEntry    = "entry"    // an entry of meta.db whose snapshot is not there
	RowMissing  = "missing"  // a snapshot that containers run on and no layer has
	RowID       = "id"       // a device id that is taken or faulty, without a record and a device
)

// Row is everything that the four layers say about one thing. A pointer is nil, and a text empty, when no layer says it.
type Row struct {
	What       string         `json:"row"`
	Device     string         `json:"device,omitempty"` // name of the device record
	DeviceID   *uint32        `json:"device_id,omitempty"`
	State      string         `json:"state,omitempty"`    // of the device record
	IDState    string         `json:"id_state,omitempty"` // "free", "taken", "faulty"
	SnapshotID *uint64        `json:"snapshot_id,omitempty"`
	Backend    string         `json:"backend_key,omitempty"` // key in metadata.db
	Namespace  string         `json:"namespace,omitempty"`
	Key        string         `json:"key,omitempty"`    // the user's key, in meta.db
	Kind       string         `json:"kind,omitempty"`   // "view", "active", "committed"
	Parent     string         `json:"parent,omitempty"` // key in metadata.db, else the user's key, else the name of a device
	Containers []ContainerUse `json:"containers,omitempty"`
	Images     []ImageUse     `json:"images,omitempty"` // at most maxImages
	Leases     []string       `json:"leases,omitempty"`
	Below      int            `json:"containers_below,omitempty"` // containers on snapshots that are made from this one
	Size       *uint64        `json:"size,omitempty"`             // bytes, of the device as the record says
	Mapped     *uint64        `json:"mapped_bytes,omitempty"`     // counted in the thin metadata
	Exclusive  *uint64        `json:"exclusive_bytes,omitempty"`  // of them, those that no other device maps
	PoolTime   *uint32        `json:"creation_time,omitempty"`    // of the thin device, in pool time
	Created    *time.Time     `json:"created,omitempty"`          // of the snapshot
	Open       *int           `json:"open,omitempty"`             // how often the device of a live pool is open
	InPool     *bool          `json:"in_pool,omitempty"`          // the thin device exists
	Leaked     bool           `json:"leaked,omitempty"`           // the thin device exists and nothing refers to it
	Trouble    []string       `json:"trouble,omitempty"`          // classes of findings about it; informative ones are left out
	Children   []int          `json:"-"`                          // rows made from this one
	Up         int            `json:"-"`                          // row that it is made from, -1 for none
	rec        *snapshotdb.Device
	snap       *snapshotdb.Snapshot
	thin       *thinmeta.Device
	entries    []int // of meta.Entries
	found      []int // of Inventory.found
}

// ContainerUse is a container that runs on a snapshot.
type ContainerUse struct {
	Namespace string `json:"namespace"`
	ID        string `json:"id"`
	Image     string `json:"image,omitempty"`
}

// ImageUse is an image that needs a snapshot.
type ImageUse struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Top       bool   `json:"top"` // it is the image's last layer; false: one of those below
}

// PoolFacts sums up the pool. Sizes are in bytes; a pointer is nil when nobody knows.
type PoolFacts struct {
	Name          string  `json:"pool,omitempty"`
	Live          bool    `json:"live"`
	Snapshots     int     `json:"snapshots"`
	Records       int     `json:"device_records"`
	ThinDevices   int     `json:"thin_devices"`
	BlockSize     *uint64 `json:"block_size,omitempty"`
	DataUsed      *uint64 `json:"data_used,omitempty"`
	DataTotal     *uint64 `json:"data_total,omitempty"`
	MetadataUsed  *uint64 `json:"metadata_used,omitempty"`
	MetadataTotal *uint64 `json:"metadata_total,omitempty"`
	TransactionID *uint64 `json:"transaction_id,omitempty"`
	Leaked        int     `json:"leaked_devices"`
	// Reclaimable is what the leaked devices map alone, each by itself: deleting all of them frees at least this.
	Reclaimable uint64 `json:"reclaimable_bytes"`
	Findings    int    `json:"findings"` // informative ones left out
}

// Inventory is the four layers joined into rows: those of snapshots by id, then the others by what they are and their id.
type Inventory struct {
	Rows  []Row
	Pool  PoolFacts
	Notes []string // sentences: what is missing or cannot be read
	Whole bool     // every layer that is there could be read to its end

	j     *joined
	found []judged
	index rowIndex
}

// rowIndex finds rows.
type rowIndex struct {
	bySnap   map[string]int // backend key
	byRecord map[string]int // device name
	byDev    map[uint32][]int
	bySnapID map[uint64][]int
	byEntry  map[nsKey]int
}

// ReadInventory reads and joins the layers of a store that System.Open opened. env.Scratch is a directory for copies of databases that
// are in use. Damage is no error: see Notes and Whole.
func ReadInventory(ctx context.Context, st store.Store, env store.BrowseEnv) (*Inventory, error) {
	o, ok := st.(*opened)
	if !ok {
		return nil, errors.New("this is not a store of the devmapper snapshotter")
	}
	return o.unit.inventory(ctx, env)
}

// inventory reads everything anew and leaves the files open.
func (u *unit) inventory(ctx context.Context, env store.BrowseEnv) (*Inventory, error) {
	u.forget()
	var total, done int64
	for _, t := range u.Targets() {
		total += t.Size
	}
	did := func(n int64) error {
		if done += n; env.Progress != nil {
			env.Progress(done, total)
		}
		return ctx.Err()
	}
	if err := u.readDatabases(ctx, env.Scratch, did); err != nil {
		return nil, err
	}
	var notes []string
	err := u.readThin(ctx, func(s string) { notes = append(notes, s) }, thinmeta.CheckOptions{Memory: env.Memory, Workers: env.Workers,
		Progress: func(blocks int64) error { return did(blocks * thinmeta.BlockSize) }})
	if err != nil {
		return nil, err
	}
	if err := u.judge(ctx); err != nil {
		return nil, err
	}
	inv := newInventory(join(u.ev), u.found)
	inv.Pool.Name = u.poolName
	inv.Notes = append(notes, u.layerNotes()...)
	inv.Whole = !slices.ContainsFunc(u.bolts, func(b *boltLayer) bool { return !b.whole() }) && (u.thin == nil || u.thin.whole && u.thin.report.Complete)
	if u.thin != nil && u.thin.xml && u.thin.whole {
		inv.Whole = !slices.ContainsFunc(u.bolts, func(b *boltLayer) bool { return !b.whole() })
	}
	return inv, nil
}

// newInventory makes the rows of joined evidence; found are the findings about it.
func newInventory(j *joined, found []judged) *Inventory {
	inv := &Inventory{j: j, found: found, index: rowIndex{bySnap: map[string]int{}, byRecord: map[string]int{}, byDev: map[uint32][]int{},
		bySnapID: map[uint64][]int{}, byEntry: map[nsKey]int{}}}
	inv.snapshotRows()
	inv.recordRows()
	inv.thinRows()
	inv.entryRows()
	inv.idRows()
	inv.link()
	inv.users()
	inv.troubles()
	inv.totals()
	return inv
}

// add makes a row and files it under everything that it is known by.
func (inv *Inventory) add(r Row) {
	i := len(inv.Rows)
	r.Up = -1
	ix := &inv.index
	if r.snap != nil {
		s := r.snap
		r.Backend, r.Parent, ix.bySnap[s.Key] = s.Key, s.Parent, i
		if s.Kind != 0 {
			r.Kind = s.Kind.String()
		}
		if s.ID != 0 || s.Err == nil {
			r.SnapshotID = &s.ID
		}
		if !s.Created.IsZero() {
			r.Created = &s.Created
		}
	}
	if d := r.rec; d != nil {
		r.Device, ix.byRecord[d.Key] = d.Key, i
		if id, ok := d.SnapshotID(); ok && r.SnapshotID == nil {
			r.SnapshotID = &id
		}
		if d.Err == nil {
			r.DeviceID, r.State, r.Size = &d.ID, d.State.String(), &d.Size
			if r.Parent == "" && r.snap == nil {
				r.Parent = d.Parent
			}
		}
	}
	if r.SnapshotID != nil {
		ix.bySnapID[*r.SnapshotID] = append(ix.bySnapID[*r.SnapshotID], i)
	}
	inv.addThin(&r, i)
	inv.addEntries(&r, i)
	inv.Rows = append(inv.Rows, r)
}

// addThin fills in what the pool and device_ids say.
func (inv *Inventory) addThin(r *Row, i int) {
	j := inv.j
	if r.thin != nil {
		r.DeviceID = &r.thin.ID
	}
	if r.DeviceID == nil {
		return
	}
	id := *r.DeviceID
	inv.index.byDev[id] = append(inv.index.byDev[id], i)
	if s, known := j.idState(id); known {
		r.IDState = idStateName(s)
	}
	if n, ok := j.open[id]; ok {
		r.Open = &n
	}
	if j.thin == nil {
		return
	}
	r.thin = j.device(id)
	there := r.thin != nil
	if there || j.thin.whole {
		r.InPool = &there
	}
	if !there {
		return
	}
	if r.thin.HasDetails {
		r.PoolTime = &r.thin.Details.CreationTime
	}
	if b := inv.blockBytes(); b != 0 {
		m, x := r.thin.Mapped*b, r.thin.Exclusive*b
		r.Mapped, r.Exclusive = &m, &x
	}
}

func (inv *Inventory) blockBytes() uint64 { return uint64(inv.j.thin.report.Super.DataBlockSize) * 512 }

// addEntries fills in what meta.db calls the snapshot.
func (inv *Inventory) addEntries(r *Row, i int) {
	if r.snap != nil {
		r.entries = inv.j.entriesByName[r.snap.Key]
	}
	for _, k := range r.entries {
		e := &inv.j.meta.Entries[k]
		if inv.index.byEntry[nsKey{e.Namespace, e.Key}] = i; r.Key != "" {
			continue
		}
		r.Namespace, r.Key = e.Namespace, e.Key
		if r.snap == nil {
			r.Backend, r.Parent = e.Name, e.Parent
			if !e.Created.IsZero() {
				r.Created = &e.Created
			}
		}
	}
}

func (inv *Inventory) snapshotRows() {
	j := inv.j
	if j.store == nil {
		return
	}
	order := make([]int, len(j.store.Snapshots))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(j.store.Snapshots[a].ID, j.store.Snapshots[b].ID) })
	for _, i := range order {
		s := &j.store.Snapshots[i]
		r := Row{What: RowSnapshot, snap: s}
		if all := j.snapByID[s.ID]; len(all) > 0 && all[0] == i { // the first of several with one id has the record
			r.rec = j.record(s.ID)
		}
		inv.add(r)
	}
}

func (inv *Inventory) recordRows() {
	j := inv.j
	if j.pool == nil {
		return
	}
	var left []int
	for i := range j.pool.Devices {
		if _, ok := inv.index.byRecord[j.pool.Devices[i].Key]; !ok {
			left = append(left, i)
		}
	}
	number := func(i int) uint64 { n, _ := j.pool.Devices[i].SnapshotID(); return n }
	slices.SortStableFunc(left, func(a, b int) int { return cmp.Compare(number(a), number(b)) })
	for _, i := range left {
		inv.add(Row{What: RowRecord, rec: &j.pool.Devices[i]})
	}
}

func (inv *Inventory) thinRows() {
	if inv.j.thin == nil {
		return
	}
	for i := range inv.j.thin.report.Devices {
		if t := &inv.j.thin.report.Devices[i]; len(inv.index.byDev[t.ID]) == 0 {
			inv.add(Row{What: RowThin, thin: t})
		}
	}
}

func (inv *Inventory) entryRows() {
	if inv.j.meta == nil {
		return
	}
	for i := range inv.j.meta.Entries {
		e := &inv.j.meta.Entries[i]
		if _, ok := inv.index.byEntry[nsKey{e.Namespace, e.Key}]; !ok {
			inv.add(Row{What: RowEntry, entries: []int{i}})
		}
	}
	for i := range inv.j.meta.Containers {
		c := &inv.j.meta.Containers[i]
		at := nsKey{c.Namespace, c.SnapshotKey}
		if _, ok := inv.index.byEntry[at]; !ok && c.SnapshotKey != "" {
			inv.index.byEntry[at] = len(inv.Rows)
			inv.add(Row{What: RowMissing, Namespace: c.Namespace, Key: c.SnapshotKey})
		}
	}
}

func (inv *Inventory) idRows() {
	j := inv.j
	if j.pool == nil {
		return
	}
	var left []int
	for i := range j.pool.IDs {
		if id := &j.pool.IDs[i]; id.Err == nil && id.State != snapshotdb.IDFree && len(inv.index.byDev[id.ID]) == 0 {
			left = append(left, i)
		}
	}
	slices.SortFunc(left, func(a, b int) int { return cmp.Compare(j.pool.IDs[a].ID, j.pool.IDs[b].ID) })
	for _, i := range left {
		id := j.pool.IDs[i].ID
		inv.add(Row{What: RowID, DeviceID: &id})
	}
}

// link finds out which row is made from which: by keys of metadata.db, else of meta.db, else by names of devices.
func (inv *Inventory) link() {
	for i := range inv.Rows {
		r := &inv.Rows[i]
		up, ok := -1, false
		switch {
		case r.Parent == "":
		case r.snap != nil:
			up, ok = inv.index.bySnap[r.Parent]
		case len(r.entries) > 0:
			up, ok = inv.index.byEntry[nsKey{r.Namespace, r.Parent}]
		default:
			up, ok = inv.index.byRecord[r.Parent]
		}
		if ok && up != i {
			r.Up = up
			inv.Rows[up].Children = append(inv.Rows[up].Children, i)
		}
	}
}
