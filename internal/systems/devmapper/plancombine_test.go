package devmapper

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"fettle/internal/finding"
	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
	"fettle/internal/lab"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
	"fettle/internal/systems/devmapper/dmlab"
)

// node makes a healthy set.
func node(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, dir: filepath.Join(t.TempDir(), "set"), run: t.TempDir()}
	if _, err := dmlab.Make(t.Context(), b.dir, dmlab.Options{Seed: 3, Images: 2, Layers: 4, Containers: 6}); err != nil {
		t.Fatal(err)
	}
	return b
}

const poolFile = "containerd-pool.db"

// in changes a database of the set.
func (b *bench) in(file string, fn func(*bbolt.Tx) error) {
	b.t.Helper()
	db, err := bbolt.Open(filepath.Join(b.dir, file), 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: file == metaName})
	if err == nil {
		err = db.Update(fn)
	}
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// entriesOf is the bucket of containerd's entries in a namespace, made if it is not there.
func entriesOf(tx *bbolt.Tx, ns string) *bbolt.Bucket {
	return txBucket(tx, [][]byte{[]byte("v1"), []byte(ns), []byte("snapshots"), []byte("devmapper")}, true)
}

// layers are a chain of snapshots of the set, the base first: the longest that leads to one without children.
func (b *bench) layers() []snapshotdb.Entry {
	b.t.Helper()
	u := openSet(b.t, b.dir)
	if err := u.analyse(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	j := join(u.ev)
	var best []snapshotdb.Entry
	for i := range j.meta.Entries {
		chain := []snapshotdb.Entry{j.meta.Entries[i]}
		for e := chain[0]; e.Parent != ""; chain = append(chain, e) {
			e = j.meta.Entries[j.entryByKey[nsKey{e.Namespace, e.Parent}]]
		}
		if len(chain) > len(best) {
			best = chain
		}
	}
	slices.Reverse(best)
	return best
}

func mustBeClean(t testing.TB, left []string) {
	t.Helper()
	if len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

func (b *bench) outcomes() string {
	b.t.Helper()
	out, err := json.Marshal(b.plan.Units[0].Outcomes)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(out)
}

// TestTwoNamespaces has the same lost key in two namespaces, as two that pulled one image have: two findings, confirmed and repaired one by one.
func TestTwoNamespaces(t *testing.T) {
	b := node(t)
	b.in(metaName, func(tx *bbolt.Tx) error {
		for _, ns := range []string{"k8s.io", "moby"} {
			e, err := entriesOf(tx, ns).CreateBucket([]byte("sha256:lost"))
			if err == nil {
				err = e.Put([]byte("name"), []byte(ns+"/900/sha256:lost"))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	mustBeClean(t, b.repaired(DanglingBackend+"=unlink"))
}

// TestConfirmTellsNamespacesApart confirms a finding of one namespace when only that of the other is left.
func TestConfirmTellsNamespacesApart(t *testing.T) {
	b := node(t)
	b.in(metaName, func(tx *bbolt.Tx) error {
		e, err := entriesOf(tx, "k8s.io").CreateBucket([]byte("sha256:lost"))
		if err != nil {
			return err
		}
		return e.Put([]byte("name"), []byte("k8s.io/900/sha256:lost"))
	})
	u := openSet(t, b.dir)
	fs := storetest.Check(t, u, Classes...)
	if len(fs) != 1 {
		t.Fatalf("found %v", fs)
	}
	other := fs[0]
	other.Detail = json.RawMessage(`{"namespace":"moby","key":"sha256:lost"}`)
	for f, want := range map[*finding.Finding]bool{&fs[0]: true, &other: false} {
		if still, err := u.Confirm(t.Context(), f); still != want || err != nil {
			t.Errorf("%s: %v, %v", f.Detail, still, err)
		}
	}
}

// TestOneRecordSeveralFindings discards a record that other findings want to mend.
func TestOneRecordSeveralFindings(t *testing.T) {
	b := node(t)
	b.in(poolFile, func(tx *bbolt.Tx) error {
		ids := tx.Bucket([]byte("device_ids"))
		id, err := ids.NextSequence()
		if err != nil {
			return err
		}
		d := snapshotdb.Device{ID: uint32(id), Size: 1 << 30, Name: "another", State: snapshotdb.Activated}
		return tx.Bucket([]byte("devices")).Put([]byte("containerd-pool-snap-0"), snapshotdb.EncodeDevice(&d))
	})
	classes := []string{}
	for _, f := range b.check() {
		classes = append(classes, f.Class)
	}
	for _, c := range []string{NoSnapshot, NameMismatch, IDStateWrong} {
		if !slices.Contains(classes, c) {
			t.Fatalf("no %s in %q", c, classes)
		}
	}
	mustBeClean(t, b.repaired(NoSnapshot+"=discard"))
	if o := b.outcomes(); !strings.Contains(o, "is free") || strings.Contains(o, "is taken") {
		t.Errorf("the id of a removed record: %s", o)
	}
	b.undo()
}

// TestUnlinkParentAndChild unlinks two lost entries of which one is made from the other, and keeps one whose child is not lost.
func TestUnlinkParentAndChild(t *testing.T) {
	b := node(t)
	b.in(metaName, func(tx *bbolt.Tx) error {
		for _, k := range []string{"a", "b"} {
			e, err := entriesOf(tx, "k8s.io").CreateBucket([]byte(k))
			if err != nil {
				return err
			}
			if err := e.Put([]byte("name"), []byte("k8s.io/90"+k+"/"+k)); err != nil {
				return err
			}
		}
		a, z := entriesOf(tx, "k8s.io").Bucket([]byte("a")), entriesOf(tx, "k8s.io").Bucket([]byte("b"))
		if _, err := a.CreateBucket([]byte("children")); err != nil {
			return err
		}
		return errorsOf(z.Put([]byte("parent"), []byte("a")), a.Bucket([]byte("children")).Put([]byte("b"), nil))
	})
	mustBeClean(t, b.repaired(DanglingBackend+"=unlink"))
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestUnlinkKeepsParents does not take an entry away from under one that is whole.
func TestUnlinkKeepsParents(t *testing.T) {
	b := node(t)
	base := b.layers()[0]
	b.in(storeName, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("v1")).Bucket([]byte("snapshots")).DeleteBucket([]byte(base.Name))
	})
	u := openSet(t, b.dir)
	fs := storetest.Check(t, u, Classes...)
	i := slices.IndexFunc(fs, func(f finding.Finding) bool { return f.Class == DanglingBackend })
	if i < 0 {
		t.Fatal("the lost snapshot was not found")
	}
	prop, err := u.Plan(t.Context(), t.TempDir(), []store.Decision{{Finding: fs[i], Action: finding.Unlink}})
	if err != nil {
		t.Fatal(err)
	}
	if o := prop.Outcomes[0].Result; !strings.HasPrefix(o, "left") || len(prop.Steps) > 0 || prop.Loss.Dropped > 0 {
		t.Errorf("%s, %d steps, %+v", o, len(prop.Steps), prop.Loss)
	}
}

// TestIDsBucketGone makes the bucket device_ids again so that containerd does not begin at 1.
func TestIDsBucketGone(t *testing.T) {
	b := node(t)
	b.in(poolFile, func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("device_ids")) })
	mustBeClean(t, b.repaired())
}

// TestEntriesOfSeveralLayersGone writes the entries of two layers again, of which one is made from the other.
func TestEntriesOfSeveralLayersGone(t *testing.T) {
	b := node(t)
	chain := b.layers()
	if len(chain) < 4 {
		t.Fatalf("a chain of %d", len(chain))
	}
	b.in(metaName, func(tx *bbolt.Tx) error {
		es := entriesOf(tx, chain[0].Namespace)
		return errorsOf(es.DeleteBucket([]byte(chain[1].Key)), es.DeleteBucket([]byte(chain[2].Key)))
	})
	mustBeClean(t, b.repaired(MetaParentMissing+"=recreate", ChildStale+"=rewrite"))
}

// TestEntryOfTheParentThatWasMeant has another snapshot with the key of a lost parent: the child's record tells which one it was made from.
func TestEntryOfTheParentThatWasMeant(t *testing.T) {
	b := node(t)
	chain := b.layers()
	b.in(metaName, func(tx *bbolt.Tx) error {
		es := entriesOf(tx, chain[0].Namespace)
		return errorsOf(es.DeleteBucket([]byte(chain[1].Key)), es.DeleteBucket([]byte(chain[2].Key)))
	})
	b.in(storeName, func(tx *bbolt.Tx) error { // left over from an earlier pull
		es := tx.Bucket([]byte("v1")).Bucket([]byte("snapshots"))
		id, err := es.NextSequence()
		if err != nil {
			return err
		}
		s, err := es.CreateBucket([]byte(chain[1].Namespace + "/9999/" + chain[1].Key))
		if err != nil {
			return err
		}
		return fillBucket(s, snapshotDump(id, snapshotdb.KindCommitted, "", chain[1].Created, "ext4", 0))
	})
	mustBeClean(t, b.repaired(MetaParentMissing+"=recreate", ChildStale+"=rewrite", NoDevice+"=discard"))
}

// TestLostParentComesWithItsChild asks for one lost snapshot, whose parent is lost as well.
func TestLostParentComesWithItsChild(t *testing.T) {
	b := node(t)
	chain := b.layers()
	top := chain[len(chain)-1]
	b.in(storeName, func(tx *bbolt.Tx) error {
		es := tx.Bucket([]byte("v1")).Bucket([]byte("snapshots"))
		return errorsOf(es.DeleteBucket([]byte(chain[len(chain)-2].Name)), es.DeleteBucket([]byte(top.Name)))
	})
	seq := 0
	for _, f := range b.check() {
		if f.Class == DanglingBackend && f.Subject == top.Key {
			seq = f.Seq
		}
	}
	for _, l := range b.repaired(fmt.Sprintf("%d=recreate", seq), "ignore") {
		if strings.HasPrefix(l, "parent-missing "+top.Name) || strings.HasPrefix(l, "metadb-dangling-backend") && strings.Contains(l, top.Key) {
			t.Errorf("left %q", l)
		}
	}
	if o := b.outcomes(); strings.Contains(o, "left") {
		t.Errorf("outcomes %s", o)
	}
}

// TestAmbiguousEntryIsNotGuessed has two snapshots that nobody refers to with the user's key of a lost entry.
func TestAmbiguousEntryIsNotGuessed(t *testing.T) {
	g := newJudge(t.Context(), join(&evidence{store: &snapshotdb.Metastore{Snapshots: []snapshotdb.Snapshot{
		{Key: "k8s.io/12/layer", ID: 1, Kind: snapshotdb.KindCommitted}, {Key: "k8s.io/9/layer", ID: 2, Kind: snapshotdb.KindCommitted},
		{Key: "a.io/5/layer", ID: 3, Kind: snapshotdb.KindCommitted}}, Sequence: 3}, meta: &snapshotdb.Meta{}, wholeMeta: true, wholeStore: true}))
	g.snapshots()
	if s := g.forgottenEntry("k8s.io", "layer"); s != nil {
		t.Errorf("took %s", s.Key)
	}
	if s := g.forgottenEntry("a.io", "layer"); s == nil || s.Key != "a.io/5/layer" {
		t.Errorf("took %v", s)
	}
}

// TestBelowARemovedBucket lets nothing be set in a bucket that is removed: that would make it anew, with nothing else in it.
func TestBelowARemovedBucket(t *testing.T) {
	b := node(t)
	e := newEdits()
	defer e.close()
	if err := e.open(filepath.Join(b.dir, storeName)); err != nil {
		t.Fatal(err)
	}
	name := b.layers()[0].Name
	if err := e.set(storeName, bucketAddr("v1", "snapshots", name), nil, ""); err != nil {
		t.Fatal(err)
	}
	kind := boltAddr("v1", "snapshots", name, "kind")
	if now, err := e.now(storeName, kind); now != nil || err != nil {
		t.Errorf("the kind is %x, %v", now, err)
	}
	if err := e.set(storeName, kind, store.Bytes{2}, ""); err == nil {
		t.Error("the kind was set")
	}
	if err := e.set(storeName, kind, nil, ""); err != nil || len(e.changes()) != 1 {
		t.Errorf("%v, %d changes", err, len(e.changes()))
	}
}

// TestLiveDeletions looks at the plan for a live pool: an id that the database never knew is unknown again afterwards, and only what is about
// deleted devices has to be allowed by name.
func TestLiveDeletions(t *testing.T) {
	b := node(t)
	b.in(poolFile, func(tx *bbolt.Tx) error { // a device whose record and id are gone
		d := snapshotdb.DecodeDevice(firstOf(tx.Bucket([]byte("devices"))))
		return errorsOf(tx.Bucket([]byte("devices")).Delete([]byte(d.Key)), tx.Bucket([]byte("device_ids")).Delete(fmt.Append(nil, d.ID)))
	})
	u := openSet(t, b.dir)
	fs := storetest.Check(t, u, Classes...)
	i := slices.IndexFunc(fs, func(f finding.Finding) bool { return f.Class == UnknownInPool })
	if i < 0 {
		t.Fatal("no device that the database does not know")
	}
	p, err := u.newPlanner(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	p.live = true
	if _, err := p.decideOne(&store.Decision{Finding: fs[i], Action: finding.Discard}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.deleting, []int{fs[i].Seq}) || len(p.deletes()) != 1 {
		t.Errorf("deletes %v for %v", p.deletes(), p.deleting)
	}
	if cs := p.after.changes(); len(cs) != 1 || cs[0].After != nil || string(cs[0].Before) != "\x02" {
		t.Errorf("afterwards %v", cs)
	}
}

func firstOf(b *bbolt.Bucket) (key, value []byte, bucket bool) {
	k, v := b.Cursor().Last()
	return k, v, false
}

// TestLayersWithOneName refuses what could not be told apart in a plan.
func TestLayersWithOneName(t *testing.T) {
	b := node(t)
	other := filepath.Join(t.TempDir(), storeName)
	if err := os.Rename(filepath.Join(b.dir, metaName), other); err != nil {
		t.Fatal(err)
	}
	_, err := System{}.Open(t.Context(), store.Location{System: "devmapper", Paths: []string{b.dir}}, store.Options{Settings: map[string]string{SetMeta: other}})
	if err == nil || !strings.Contains(err.Error(), "two layers with one name") {
		t.Errorf("opened: %v", err)
	}
}

// TestLinkedFile repairs the file that a symbolic link leads to, and leaves the link.
func TestLinkedFile(t *testing.T) {
	b := node(t)
	path, real := filepath.Join(b.dir, storeName), filepath.Join(t.TempDir(), "elsewhere.db")
	if err := errorsOf(os.Rename(path, real), os.WriteFile(real, nil, 0o600), os.Symlink(real, path)); err != nil {
		t.Fatal(err)
	}
	b.repaired()
	if fi, err := os.Lstat(path); err != nil || fi.Mode()&os.ModeSymlink == 0 {
		t.Errorf("%v, %v", fi, err)
	}
	if fi, err := os.Stat(real); err != nil || fi.Size() == 0 {
		t.Errorf("%v, %v", fi, err)
	}
}

// TestLinkByName finds the key of a link by what a finding says of it.
func TestLinkByName(t *testing.T) {
	raw := binary.AppendUvarint(append(binary.AppendUvarint(nil, 300), 0), 7)
	p := &planner{judge: &judge{joined: join(&evidence{store: &snapshotdb.Metastore{Links: []snapshotdb.Link{{Raw: raw, Parent: 300, Child: 7}}}})}}
	f := &judged{Finding: finding.Finding{Subject: "parents/300/7"}}
	if got, err := p.linkRaw(f); err != nil || !slices.Equal(got, raw) {
		t.Errorf("%x, %v", got, err)
	}
}

// TestAnotherDeviceWithTheId does not delete a thin device that got the id of the planned one after the plan was made.
func TestAnotherDeviceWithTheId(t *testing.T) {
	b := node(t)
	if _, err := dmlab.Damage(t.Context(), b.dir, 5, []lab.Injury{{Class: LeakedDevice}}); err != nil {
		t.Fatal(err)
	}
	u := openSet(t, b.dir)
	fs := storetest.Check(t, u, Classes...)
	prop, err := u.Plan(t.Context(), t.TempDir(), []store.Decision{{Finding: fs[0], Action: finding.Discard}})
	if err != nil || len(prop.Steps) == 0 {
		t.Fatalf("%v, %+v", err, prop)
	}
	step := prop.Steps[len(prop.Steps)-1]
	id, err := parseThinAddr(step.Changes[0].Addr)
	if err != nil {
		t.Fatal(err)
	}
	have := []thinmeta.Device{*join(u.ev).device(id)}
	planned := map[uint32]store.Bytes{id: step.Changes[0].Before}
	if err := asPlanned(have, planned); err != nil {
		t.Error(err)
	}
	have[0].Details.CreationTime++
	if err := asPlanned(have, planned); err == nil {
		t.Error("a device that was made later counts as the planned one")
	}
	if err := asPlanned(nil, planned); err == nil {
		t.Error("a device that is gone counts as the planned one")
	}
}

// TestManyFindings repairs hundreds of injuries of many classes in one plan. What every finding or step has to look up must not be searched for:
// with tens of thousands of devices that would take hours.
func TestManyFindings(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	b := &bench{t: t, dir: filepath.Join(t.TempDir(), "set"), run: t.TempDir()}
	if _, err := dmlab.Make(t.Context(), b.dir, dmlab.Options{Seed: 3, Images: 4, Containers: 3000, BaseBlocks: 8}); err != nil {
		t.Fatal(err)
	}
	var in []lab.Injury
	for _, c := range []string{BacklinkStale, BacklinkMissing, ChildMissing, ChildStale, LeaseDangling, IDTakenOrphan, NameMismatch, ParentMismatch, NoDevice} {
		in = append(in, lab.Injury{Class: c, Count: 150})
	}
	if _, err := dmlab.Damage(t.Context(), b.dir, 3, in); err != nil {
		t.Fatal(err)
	}
	mustBeClean(t, b.repaired(NoDevice+"=recreate", "rewrite"))
	if n := len(b.plan.Units[0].Outcomes); n < 1000 {
		t.Errorf("only %d findings were decided on", n)
	}
	b.undo()
}

// TestPlansAreEqual makes a plan twice: what is kept in maps must not show.
func TestPlansAreEqual(t *testing.T) {
	b := node(t)
	if _, err := dmlab.Damage(t.Context(), b.dir, 5, []lab.Injury{{Class: NoDevice, Count: 3}, {Class: DanglingBackend, Count: 2}, {Class: BacklinkMissing, Count: 2}}); err != nil {
		t.Fatal(err)
	}
	pol, err := finding.ParsePolicy([]string{"recreate", "rewrite"}, Classes)
	if err != nil {
		t.Fatal(err)
	}
	var first string
	for range 4 {
		u := openSet(t, b.dir)
		var ds []store.Decision
		for _, f := range storetest.Check(t, u, Classes...) {
			if a := pol.Choose(&f).Action; a != finding.Ignore && a != "" {
				ds = append(ds, store.Decision{Finding: f, Action: a})
			}
		}
		prop, err := u.Plan(t.Context(), t.TempDir(), ds)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(prop)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(text)
		}
		if len(ds) == 0 || string(text) != first {
			t.Fatalf("%d decisions, plan\n%s\nbefore\n%s", len(ds), text, first)
		}
	}
}
