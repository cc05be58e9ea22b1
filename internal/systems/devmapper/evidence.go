package devmapper

import (
	"context"

	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
)

// evidence is what the four witnesses say, before anybody judges it.
type evidence struct {
	poolName string // as configured, or as the file of device records is called

	pool  *snapshotdb.Pool      // nil: not there or past reading
	store *snapshotdb.Metastore // likewise
	meta  *snapshotdb.Meta      // likewise
	thin  *thinView             // likewise

	// extraPools are further pool databases in the same directory, by file name.
	extraPools []string
	// foreign is what device names begin with when that is not the pool's name, "" if all is well.
	foreign string
	// open says how often devices of a live pool are open, and names under which name, by device id; inactive ones are not in them.
	open  map[uint32]int
	names map[uint32]string
	live  bool // the pool is active on this machine
	// fixed says why the thin metadata cannot be exchanged for a new file, "" if it can.
	fixed string
	// whole tells of which bolt layers every record could be read. What a damaged layer lacks proves nothing.
	wholePool, wholeStore, wholeMeta bool
}

// thinView is what the pool itself says.
type thinView struct {
	report *thinmeta.Report
	pool   thinmeta.Pool // answers which devices share blocks
	xml    bool          // known from XML: no reference counts
	whole  bool          // every device of the pool is known
	broken error         // the XML could not be read to its end
	close  func() error  // nil when there is nothing to close
}

// shares tells whether two devices have a block in common; sure is false when the trees could not be read.
func (t *thinView) shares(ctx context.Context, a, b uint32) (shared, sure bool) {
	shared, sure, err := t.pool.Shares(ctx, a, b)
	return shared, sure && err == nil
}

// joined is the evidence brought together by what it is about. Slices are indexes into the layers' own records.
type joined struct {
	*evidence

	// By snapshot id.
	snapByID   map[uint64][]int // of store.Snapshots
	recordByID map[uint64]int   // of pool.Devices, by the id in the name
	// By backend key.
	snapByKey      map[string]int
	entriesByName  map[string][]int // of meta.Entries
	entryByKey     map[nsKey]int
	childrenByKey  map[nsKey][]int // entries that name this key as their parent
	containersByNS map[nsKey][]int // containers by snapshot key
	// By device id.
	recordsByDev map[uint32][]int
	idByDev      map[uint32]int // of pool.IDs
	thinByDev    map[uint32]int // of thin.report.Devices
}

// nsKey is a user's key in a namespace.
type nsKey struct{ ns, key string }

// join builds the indexes. Its size is that of the layers.
func join(e *evidence) *joined {
	j := &joined{evidence: e, snapByID: map[uint64][]int{}, recordByID: map[uint64]int{}, snapByKey: map[string]int{},
		entriesByName: map[string][]int{}, entryByKey: map[nsKey]int{}, childrenByKey: map[nsKey][]int{}, containersByNS: map[nsKey][]int{},
		recordsByDev: map[uint32][]int{}, idByDev: map[uint32]int{}, thinByDev: map[uint32]int{}}
	if e.pool != nil {
		for i := range e.pool.Devices {
			d := &e.pool.Devices[i]
			if id, ok := d.SnapshotID(); ok {
				j.recordByID[id] = i
			}
			if d.Err == nil {
				j.recordsByDev[d.ID] = append(j.recordsByDev[d.ID], i)
			}
		}
		for i := range e.pool.IDs {
			if e.pool.IDs[i].Err == nil {
				j.idByDev[e.pool.IDs[i].ID] = i
			}
		}
	}
	if e.store != nil {
		for i := range e.store.Snapshots {
			s := &e.store.Snapshots[i]
			j.snapByKey[s.Key] = i
			if s.Err == nil || s.ID != 0 {
				j.snapByID[s.ID] = append(j.snapByID[s.ID], i)
			}
		}
	}
	j.joinMeta()
	if e.thin != nil {
		for i := range e.thin.report.Devices {
			j.thinByDev[e.thin.report.Devices[i].ID] = i
		}
	}
	return j
}

func (j *joined) joinMeta() {
	if j.meta == nil {
		return
	}
	for i := range j.meta.Entries {
		e := &j.meta.Entries[i]
		j.entryByKey[nsKey{e.Namespace, e.Key}] = i
		if e.Name != "" {
			j.entriesByName[e.Name] = append(j.entriesByName[e.Name], i)
		}
		if e.Parent != "" {
			k := nsKey{e.Namespace, e.Parent}
			j.childrenByKey[k] = append(j.childrenByKey[k], i)
		}
	}
	for i := range j.meta.Containers {
		c := &j.meta.Containers[i]
		k := nsKey{c.Namespace, c.SnapshotKey}
		j.containersByNS[k] = append(j.containersByNS[k], i)
	}
}

// snapshot is the one snapshot with that id, nil if there is none or several.
func (j *joined) snapshot(id uint64) *snapshotdb.Snapshot {
	if s := j.snapByID[id]; len(s) == 1 {
		return &j.store.Snapshots[s[0]]
	}
	return nil
}

// record is the device record of the snapshot with that id.
func (j *joined) record(id uint64) *snapshotdb.Device {
	if i, ok := j.recordByID[id]; ok {
		return &j.pool.Devices[i]
	}
	return nil
}

// device is the pool's device with that id.
func (j *joined) device(id uint32) *thinmeta.Device {
	if i, ok := j.thinByDev[id]; ok {
		return &j.thin.report.Devices[i]
	}
	return nil
}

// inPool tells whether the thin device exists so that it can be activated.
func (j *joined) inPool(id uint32) bool {
	d := j.device(id)
	return d != nil && d.HasDetails
}

// idState is what device_ids says of an id.
func (j *joined) idState(id uint32) (state byte, known bool) {
	if i, ok := j.idByDev[id]; ok {
		return j.pool.IDs[i].State, true
	}
	return 0, false
}

// parentOf is the parent of a snapshot, nil if it has none or it is not there.
func (j *joined) parentOf(s *snapshotdb.Snapshot) *snapshotdb.Snapshot {
	if s.Parent == "" {
		return nil
	}
	if i, ok := j.snapByKey[s.Parent]; ok {
		return &j.store.Snapshots[i]
	}
	return nil
}

// referenced tells whether meta.db has an entry for the snapshot. Without meta.db nothing can be said, and it counts as referenced.
func (j *joined) referenced(s *snapshotdb.Snapshot) bool {
	return j.meta == nil || !j.wholeMeta || len(j.entriesByName[s.Key]) > 0
}

// snapshotNamed is the snapshot with a backend key, nil if there is none.
func (j *joined) snapshotNamed(backend string) *snapshotdb.Snapshot {
	if j.store == nil {
		return nil
	}
	if i, ok := j.snapByKey[backend]; ok {
		return &j.store.Snapshots[i]
	}
	return nil
}
