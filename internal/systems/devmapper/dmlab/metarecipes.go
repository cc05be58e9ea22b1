package dmlab

import (
	"fmt"

	"go.etcd.io/bbolt"

	"fettle/internal/lab"
)

// metaRecipes are about meta.db.
func metaRecipes() []recipe {
	return []recipe{
		{named(unreferenced, "forget a container's snapshot in meta.db, as before a garbage collection"), recordStage, "d22", "", (*patient).unreference},
		{named(metaUnparsable, "delete the backend name of an entry"), recordStage, "", byPerson, (*patient).dropName},
		{named(metaParentMissing, "delete the entry of a layer that others are built on"), recordStage, "d23", byPerson, (*patient).loseEntry},
		{named(metaParentMismatch, "put an entry below another parent"), recordStage, "", byPerson, (*patient).moveEntry},
		{named(childMissing, "delete the link to a child"), recordStage, "d24", "", (*patient).dropChild},
		{named(childStale, "add a link to a child that is not there"), recordStage, "d25", "", (*patient).addChild},
		{named(containerDangling, "delete the entry that a container runs on"), recordStage, "d26", byPerson, (*patient).loseContainer},
		{named(leaseDangling, "let a lease hold a snapshot that is not there"), recordStage, "d27", "", (*patient).dangleLease},
		{named(backendDuplicate, "give an entry the backend snapshot of another"), recordStage, "d28", byPerson, (*patient).doubleBackend},
	}
}

func (p *patient) unreference(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, container) {
		if err := p.dropEntry(n, true); err != nil {
			return err
		}
		p.know(unreferenced, n.backend)
		d.Add("container %s", n.container)
	}
	return nil
}

func (p *patient) dropName(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, container) {
		err := p.inMeta(func(entries *bbolt.Bucket) error { return entries.Bucket([]byte(n.key)).Delete([]byte("name")) })
		if err != nil {
			return err
		}
		p.must(metaUnparsable, n.key, "no backend name")
		p.know(unreferenced, n.backend)
		d.Add("entry %s", n.key)
	}
	return nil
}

func (p *patient) loseEntry(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, inner) {
		if err := p.inMeta(func(entries *bbolt.Bucket) error { return entries.DeleteBucket([]byte(n.key)) }); err != nil {
			return err
		}
		for _, c := range n.children {
			p.must(metaParentMissing, c.key, "the parent was %s", n.key)
		}
		p.know(childStale, "children/"+n.key)
		p.know(unreferenced, n.backend)
		d.Add("entry %s with %d children", n.key, len(n.children))
	}
	return nil
}

// children is the bucket of links of an entry, made if there is none.
func children(entries *bbolt.Bucket, key string) (*bbolt.Bucket, error) {
	return entries.Bucket([]byte(key)).CreateBucketIfNotExists([]byte("children"))
}

func (p *patient) moveEntry(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, container) {
		var to *snap
		for _, o := range p.snaps {
			if o.layer() && o != n.parent && !p.taken[o] {
				to = o
			}
		}
		if to == nil {
			break
		}
		err := p.inMeta(func(entries *bbolt.Bucket) error {
			from, err := children(entries, n.parent.key)
			if err != nil {
				return err
			}
			if err := from.Delete([]byte(n.key)); err != nil {
				return err
			}
			links, err := children(entries, to.key)
			if err != nil {
				return err
			}
			if err := links.Put([]byte(n.key), nil); err != nil {
				return err
			}
			return entries.Bucket([]byte(n.key)).Put([]byte("parent"), []byte(to.key))
		})
		if err != nil {
			return err
		}
		p.must(metaParentMismatch, n.key, "%s instead of %s", to.key, n.parent.key)
		d.Add("entry %s goes below %s", n.key, to.key)
	}
	return nil
}

func (p *patient) dropChild(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, hasParent) {
		err := p.inMeta(func(entries *bbolt.Bucket) error {
			links, err := children(entries, n.parent.key)
			if err != nil {
				return err
			}
			return links.Delete([]byte(n.key))
		})
		if err != nil {
			return err
		}
		p.must(childMissing, n.key, "the parent is %s", n.parent.key)
		d.Add("child %s of %s", n.key, n.parent.key)
	}
	return nil
}

func (p *patient) addChild(d *lab.Done) error {
	for i, n := range p.choose(d.Injury, unbounded, (*snap).layer) {
		gone := fmt.Sprintf("gone-child-%d", i)
		err := p.inMeta(func(entries *bbolt.Bucket) error {
			links, err := children(entries, n.key)
			if err != nil {
				return err
			}
			return links.Put([]byte(gone), nil)
		})
		if err != nil {
			return err
		}
		p.know(childStale, "children/"+gone)
		d.Add("child %s of %s", gone, n.key)
	}
	return nil
}

func (p *patient) loseContainer(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, container) {
		if err := p.dropEntry(n, false); err != nil {
			return err
		}
		p.must(containerDangling, n.container, "snapshot %s", n.key)
		p.know(unreferenced, n.backend)
		d.Add("entry of container %s", n.container)
	}
	return nil
}

func (p *patient) dangleLease(d *lab.Done) error {
	for i := range d.Of(1000) {
		key := fmt.Sprintf("nowhere-%d", i)
		err := p.meta.Update(func(tx *bbolt.Tx) error {
			b, err := bucket(tx, "v1", namespace, "leases", lease, "snapshots", plugin)
			if err != nil {
				return err
			}
			return b.Put([]byte(key), nil)
		})
		if err != nil {
			return err
		}
		p.know(leaseDangling, lease+" "+plugin+"/"+key)
		d.Add("lease %s holds %s", lease, key)
	}
	return nil
}

func (p *patient) doubleBackend(d *lab.Done) error {
	for range d.Of(len(p.snaps) / 4) {
		pair := p.choose(lab.Injury{Class: d.Class, Count: 2}, 2, container)
		if len(pair) < 2 {
			break
		}
		a, b := pair[0], pair[1]
		err := p.inMeta(func(entries *bbolt.Bucket) error {
			return entries.Bucket([]byte(a.key)).Put([]byte("name"), []byte(b.backend))
		})
		if err != nil {
			return err
		}
		p.must(backendDuplicate, b.backend, "entries %s and %s", a.key, b.key)
		p.know(unreferenced, a.backend)
		if a.parent != b.parent {
			p.may(metaParentMismatch, a.key, "it has another's backend snapshot")
		}
		d.Add("entry %s gets the backend snapshot of %s", a.key, b.key)
	}
	return nil
}
