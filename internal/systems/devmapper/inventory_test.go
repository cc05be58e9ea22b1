package devmapper

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
)

// madeUp are the layers of a small node: an image of two layers (snapshots 1, 2), container c on snapshot 3, and whatever change does to it.
func madeUp(change func(e *evidence)) *Inventory {
	snap := func(id uint64, k snapshotdb.Kind, key, parent string) snapshotdb.Snapshot {
		return snapshotdb.Snapshot{Key: key, ID: id, Kind: k, Parent: parent, FSType: "ext4"}
	}
	dev := func(id uint32, s snapshotdb.State, parent string) snapshotdb.Device {
		return snapshotdb.Device{Key: fmt.Sprintf("p-snap-%d", id), Name: fmt.Sprintf("p-snap-%d", id), ID: id, State: s, Parent: parent, Size: 1 << 30}
	}
	thin := func(id uint32, mapped, own uint64) thinmeta.Device {
		return thinmeta.Device{ID: id, HasDetails: true, HasMapping: true, Mapped: mapped, Exclusive: own, Highest: mapped,
			Details: thinmeta.Details{MappedBlocks: mapped, CreationTime: id}}
	}
	e := &evidence{poolName: "p", wholePool: true, wholeStore: true, wholeMeta: true,
		store: &snapshotdb.Metastore{Sequence: 3, Snapshots: []snapshotdb.Snapshot{snap(2, snapshotdb.KindCommitted, "n/2/l2", "n/1/l1"),
			snap(1, snapshotdb.KindCommitted, "n/1/l1", ""), snap(3, snapshotdb.KindActive, "n/3/c", "n/2/l2")},
			Links: []snapshotdb.Link{{Parent: 1, Child: 2, Key: "n/2/l2"}, {Parent: 2, Child: 3, Key: "n/3/c"}}},
		pool: &snapshotdb.Pool{Sequence: 3, Devices: []snapshotdb.Device{dev(1, snapshotdb.Deactivated, ""), dev(2, snapshotdb.Deactivated, "p-snap-1"), dev(3, snapshotdb.Activated, "p-snap-2")},
			IDs: []snapshotdb.DeviceID{{Key: "1", ID: 1, State: 1}, {Key: "2", ID: 2, State: 1}, {Key: "3", ID: 3, State: 1}}},
		meta: &snapshotdb.Meta{
			Entries: []snapshotdb.Entry{{Namespace: "n", Key: "l1", Name: "n/1/l1", Children: []string{"l2"}},
				{Namespace: "n", Key: "l2", Name: "n/2/l2", Parent: "l1", Children: []string{"c"}}, {Namespace: "n", Key: "c", Name: "n/3/c", Parent: "l2"}},
			Containers: []snapshotdb.Container{{Namespace: "n", ID: "web", Image: "img", SnapshotKey: "c"}},
			Images:     []snapshotdb.Image{{Namespace: "n", Name: "img", Digest: "index"}},
			Contents: []snapshotdb.Content{{Namespace: "n", Digest: "index", Blobs: []string{"manifest", "index"}}, {Namespace: "n", Digest: "manifest", Blobs: []string{"config"}},
				{Namespace: "n", Digest: "config", Snapshots: []string{"l2"}}}},
	}
	rep := &thinmeta.Report{Super: thinmeta.Superblock{DataBlockSize: 128}, Devices: []thinmeta.Device{thin(1, 10, 1), thin(2, 12, 0), thin(3, 15, 3)}, Complete: true,
		DataBlocks: 100, DataUsed: 16, DataAllocated: 16, MetadataBlocks: 50, MetadataAllocated: 9}
	e.thin = &thinView{report: rep, pool: &thinmeta.Dump{}, whole: true}
	if change != nil {
		change(e)
	}
	j := join(e)
	return newInventory(j, inOrder(judgeLayers(context.Background(), j)))
}

// text is a row in one line, for comparison.
func (r *Row) text() string {
	s := r.What
	if r.SnapshotID != nil {
		s += fmt.Sprintf(" snap %d", *r.SnapshotID)
	}
	if r.DeviceID != nil {
		s += fmt.Sprintf(" dev %d", *r.DeviceID)
	}
	for _, t := range []string{r.State, r.IDState, r.Key} {
		if t != "" {
			s += " " + t
		}
	}
	if r.Mapped != nil {
		s += fmt.Sprintf(" %d/%d", *r.Mapped/65536, *r.Exclusive/65536)
	}
	for _, c := range r.Containers {
		s += " container " + c.ID
	}
	for _, u := range r.Images {
		s += fmt.Sprintf(" image %s %t", u.Name, u.Top)
	}
	for _, l := range r.Leases {
		s += " lease " + l
	}
	if r.Below > 0 {
		s += fmt.Sprintf(" below %d", r.Below)
	}
	if r.Leaked {
		s += " leaked"
	}
	for _, t := range r.Trouble {
		s += " !" + strings.TrimPrefix(t, "devmapper/")
	}
	return s
}

func TestInventory(t *testing.T) {
	healthy := []string{
		"snapshot snap 1 dev 1 Deactivated taken l1 10/1 image img false below 1",
		"snapshot snap 2 dev 2 Deactivated taken l2 12/0 image img true below 1",
		"snapshot snap 3 dev 3 Activated taken c 15/3 container web",
	}
	for _, c := range []struct {
		name   string
		change func(e *evidence)
		want   []string // nil: as in healthy; a text replaces the row with the same beginning, others are added
		leaked uint64   // blocks
	}{
		{name: "healthy"},
		{name: "lease", change: func(e *evidence) {
			e.meta.Leases = []snapshotdb.Lease{{Namespace: "n", ID: "pull", Snapshots: []string{"c", "gone"}}}
		}, want: []string{healthy[0], healthy[1], healthy[2] + " lease pull"}},
		{name: "leaked device", change: func(e *evidence) {
			e.pool.Sequence = 4
			e.pool.IDs = append(e.pool.IDs, snapshotdb.DeviceID{Key: "4", ID: 4, State: 2})
			e.thin.report.Devices = append(e.thin.report.Devices, thinmeta.Device{ID: 4, HasDetails: true, HasMapping: true, Mapped: 5, Exclusive: 2})
		}, want: append(slices.Clone(healthy), "thin dev 4 faulty 5/2 leaked !leaked-thin-device"), leaked: 2},
		{name: "stranger", change: func(e *evidence) {
			e.thin.report.Devices = append(e.thin.report.Devices, thinmeta.Device{ID: 9, HasDetails: true, HasMapping: true, Mapped: 5, Exclusive: 5})
		}, want: append(slices.Clone(healthy), "thin dev 9 5/5 !pool-device-unknown")},
		{name: "lost id", change: func(e *evidence) {
			e.pool.Sequence = 4
			e.pool.IDs = append(e.pool.IDs, snapshotdb.DeviceID{Key: "4", ID: 4, State: 1})
		}, want: append(slices.Clone(healthy), "id dev 4 taken !id-taken-orphan")},
		{name: "record that blocks", change: func(e *evidence) {
			e.pool.Sequence = 4
			e.pool.Devices = append(e.pool.Devices, snapshotdb.Device{Key: "p-snap-4", Name: "p-snap-4", ID: 4, State: snapshotdb.Activated, Size: 1 << 30})
			e.pool.IDs = append(e.pool.IDs, snapshotdb.DeviceID{Key: "4", ID: 4, State: 1})
			e.thin.report.Devices = append(e.thin.report.Devices, thinmeta.Device{ID: 4, HasDetails: true, HasMapping: true, Mapped: 7, Exclusive: 7})
		}, want: append(slices.Clone(healthy), "record snap 4 dev 4 Activated taken 7/7 leaked !device-without-snapshot-blocks-next-id"), leaked: 7},
		{name: "entry without snapshot", change: func(e *evidence) {
			e.meta.Entries = append(e.meta.Entries, snapshotdb.Entry{Namespace: "n", Key: "x", Name: "n/9/x"})
		}, want: append(slices.Clone(healthy), "entry x !metadb-dangling-backend")},
		{name: "container without snapshot", change: func(e *evidence) {
			e.meta.Containers = append(e.meta.Containers, snapshotdb.Container{Namespace: "n", ID: "a", SnapshotKey: "gone"}, snapshotdb.Container{Namespace: "n", ID: "b", SnapshotKey: "gone"},
				snapshotdb.Container{Namespace: "n", ID: "none"})
		}, want: append(slices.Clone(healthy), "missing gone container a container b !container-snapshot-missing")},
		{name: "only records", change: func(e *evidence) { e.store, e.meta, e.thin = nil, nil, nil }, want: []string{
			"record snap 1 dev 1 Deactivated taken", "record snap 2 dev 2 Deactivated taken", "record snap 3 dev 3 Activated taken"}},
		{name: "only thin devices", change: func(e *evidence) { e.store, e.meta, e.pool = nil, nil, nil }, want: []string{"thin dev 1 10/1", "thin dev 2 12/0", "thin dev 3 15/3"}},
		{name: "nothing", change: func(e *evidence) { e.store, e.meta, e.pool, e.thin = nil, nil, nil, nil }, want: []string{}},
	} {
		inv := madeUp(c.change)
		want := c.want
		if want == nil {
			want = healthy
		}
		got := []string{}
		for i := range inv.Rows {
			got = append(got, inv.Rows[i].text())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if inv.Pool.Reclaimable != c.leaked*65536 {
			t.Errorf("%s: %d bytes can be had back, want %d blocks", c.name, inv.Pool.Reclaimable, c.leaked)
		}
		seen := 0
		if err := inv.Forest(func(int, int) error { seen++; return nil }); err != nil || seen != len(inv.Rows) {
			t.Errorf("%s: the forest has %d rows of %d (%v)", c.name, seen, len(inv.Rows), err)
		}
	}
}

func TestFind(t *testing.T) {
	inv := madeUp(func(e *evidence) { e.pool.Devices[0].ID, e.pool.Devices[2].ID = 3, 1 })
	for name, want := range map[string][]int{"p-snap-3": {2}, "dev 3": {0}, "dev3": {0}, "dev_id 3": {0}, "device 1": {2}, "snap 3": {2}, "3": {2, 0}, "2": {1}, "n/2/l2": {1},
		"l2": {1}, "n/l2": {1}, "web": {2}, "n/web": {2}, "img": {1}, "n/img": {1}, "": nil, "dev": nil, "dev x": nil, "99999999999999999999": nil, "4294967299": nil} {
		if got := inv.Find(name); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

func TestChainAndClaims(t *testing.T) {
	inv := madeUp(nil)
	if got := inv.Chain(2); !slices.Equal(got, []int{2, 1, 0}) {
		t.Errorf("chain %v", got)
	}
	var all []string
	for _, c := range inv.Claims(2) {
		all = append(all, c.Witness+": "+c.Says)
	}
	want := []string{"meta.db n/c: backend snapshot n/3/c, parent l2", "meta.db container n/web: runs on it, image img", "metadata.db n/3/c: snapshot 3, active, parent n/2/l2",
		"pool database record p-snap-3: device id 3, state Activated, size 1073741824, parent p-snap-2", "pool database device_ids: id 3 is taken",
		"thin pool: device 3 exists, 15 blocks mapped, 3 of them by no other device, created at pool time 3"}
	if !slices.Equal(all, want) {
		t.Errorf("claims\n%s", strings.Join(all, "\n"))
	}
}

// Whatever parents, labels and ids say, the inventory ends, every row is visited once, and counts stay bounded.
func TestInventoryOfNonsense(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SampledFrom([]string{"", "a", "b", "c", "n/1/a", "n/2/b", "p-snap-1", "p-snap-2", "p-snap-18446744073709551615"})
		small := rapid.Uint32Range(0, 4)
		e := &evidence{poolName: "p", wholePool: rapid.Bool().Draw(t, "whole"), wholeStore: true, wholeMeta: true,
			store: &snapshotdb.Metastore{}, pool: &snapshotdb.Pool{}, meta: &snapshotdb.Meta{}}
		seen := map[string]bool{}
		for range rapid.IntRange(0, 8).Draw(t, "snapshots") {
			k := key.Draw(t, "key")
			if !seen[k] {
				seen[k] = true
				e.store.Snapshots = append(e.store.Snapshots, snapshotdb.Snapshot{Key: k, ID: uint64(small.Draw(t, "id")), Kind: snapshotdb.KindActive, Parent: key.Draw(t, "parent")})
			}
		}
		for range rapid.IntRange(0, 8).Draw(t, "devices") {
			k := key.Draw(t, "name")
			if !seen["d"+k] {
				seen["d"+k] = true
				e.pool.Devices = append(e.pool.Devices, snapshotdb.Device{Key: k, ID: small.Draw(t, "dev"), State: snapshotdb.State(small.Draw(t, "state")), Parent: key.Draw(t, "dparent")})
			}
		}
		for range rapid.IntRange(0, 8).Draw(t, "entries") {
			e.meta.Entries = append(e.meta.Entries, snapshotdb.Entry{Namespace: "n", Key: key.Draw(t, "ekey"), Name: key.Draw(t, "ename"), Parent: key.Draw(t, "eparent")})
			e.meta.Containers = append(e.meta.Containers, snapshotdb.Container{Namespace: "n", ID: key.Draw(t, "cid"), SnapshotKey: key.Draw(t, "ckey")})
			e.meta.Images = append(e.meta.Images, snapshotdb.Image{Namespace: "n", Name: key.Draw(t, "iname"), Digest: key.Draw(t, "digest")})
			e.meta.Contents = append(e.meta.Contents, snapshotdb.Content{Namespace: "n", Digest: key.Draw(t, "blob"), Blobs: []string{key.Draw(t, "to")}, Snapshots: []string{key.Draw(t, "snap")}})
		}
		rep := &thinmeta.Report{Complete: true}
		for id := range uint32(5) {
			if rapid.Bool().Draw(t, "there") {
				rep.Devices = append(rep.Devices, thinmeta.Device{ID: id, HasDetails: rapid.Bool().Draw(t, "details")})
			}
		}
		e.thin = &thinView{report: rep, pool: &thinmeta.Dump{}, whole: true}
		j := join(e)
		inv := newInventory(j, judgeLayers(context.Background(), j))
		visited := map[int]bool{}
		if err := inv.Forest(func(i, depth int) error { visited[i] = true; return nil }); err != nil || len(visited) != len(inv.Rows) {
			t.Fatalf("%d of %d rows visited (%v)", len(visited), len(inv.Rows), err)
		}
		for i := range inv.Rows {
			if c := inv.Chain(i); len(c) > len(inv.Rows) {
				t.Fatalf("a chain of %d rows", len(c))
			}
			if len(inv.Claims(i)) < 2 {
				t.Fatalf("row %d: %v", i, inv.Claims(i))
			}
		}
	})
}

// An image of very many layers, and very many images of one layer, take time in proportion and not more.
func TestImagesAreBounded(t *testing.T) {
	inv := madeUp(func(e *evidence) {
		for i := range 5000 {
			e.store.Snapshots = append(e.store.Snapshots, snapshotdb.Snapshot{Key: fmt.Sprint("k", i), ID: uint64(10 + i), Kind: snapshotdb.KindCommitted, Parent: fmt.Sprint("k", i-1)})
			e.meta.Entries = append(e.meta.Entries, snapshotdb.Entry{Namespace: "n", Key: fmt.Sprint("u", i), Name: fmt.Sprint("k", i)})
			e.meta.Images = append(e.meta.Images, snapshotdb.Image{Namespace: "n", Name: fmt.Sprint("i", i), Digest: "top"})
		}
		e.meta.Contents = append(e.meta.Contents, snapshotdb.Content{Namespace: "n", Digest: "top", Snapshots: []string{"u4999"}, Blobs: []string{"top", "index"}})
	})
	k := inv.index.bySnap["k0"]
	if n := len(inv.Rows[k].Images); n != maxImages {
		t.Errorf("%d images, want %d", n, maxImages)
	}
	if n := len(inv.Chain(inv.index.bySnap["k4999"])); n != 5000 {
		t.Errorf("chain of %d", n)
	}
}
