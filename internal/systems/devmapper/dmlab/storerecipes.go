package dmlab

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"fettle/internal/lab"
)

// storeRecipes are about metadata.db.
func storeRecipes() []recipe {
	return []recipe{
		{named(parentMissing, "delete the record of a layer that others are built on"), recordStage, "d12", byPerson, (*patient).loseLayer},
		{named(backlinkMissing, "delete the link from a parent to its child"), recordStage, "d13", "", (*patient).dropLink},
		{named(backlinkStale, "add a link to a child that is not there"), recordStage, "d14", "", (*patient).addLink},
		{named(snapshotDuplicate, "give a snapshot the id of another"), recordStage, "d29", byPerson, (*patient).doubleSnapshot},
		{named(snapshotUnparsable, "delete the kind of a snapshot"), recordStage, "", byPerson, (*patient).dropKind},
		{named(danglingBackend, "delete the record of a container's snapshot"), recordStage, "d21", byPerson, (*patient).loseSnapshot},
	}
}

func linkSubject(parent, child uint64) string { return fmt.Sprintf("parents/%d/%d", parent, child) }

func (p *patient) loseLayer(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, inner) {
		if err := p.inStore(func(snapshots, _ *bbolt.Bucket) error { return snapshots.DeleteBucket([]byte(n.backend)) }); err != nil {
			return err
		}
		for _, c := range n.children {
			p.must(parentMissing, c.backend, "snapshot %d has lost its parent %d", c.id, n.id)
			p.may(backlinkStale, linkSubject(n.id, c.id), "the parent's record is lost")
		}
		p.may(backlinkStale, linkSubject(n.parent.id, n.id), "the child's record is lost")
		p.may(danglingBackend, n.key, "its record is lost")
		p.may(noSnapshot, n.device, "its record is lost")
		d.Add("snapshot %d with %d children", n.id, len(n.children))
	}
	return nil
}

func hasParent(n *snap) bool { return n.parent != nil }

func (p *patient) dropLink(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, hasParent) {
		if err := p.inStore(func(_, links *bbolt.Bucket) error { return links.Delete(linkKey(n.parent.id, n.id)) }); err != nil {
			return err
		}
		p.must(backlinkMissing, linkSubject(n.parent.id, n.id), "")
		d.Add("parents/%d/%d", n.parent.id, n.id)
	}
	return nil
}

func (p *patient) addLink(d *lab.Done) error {
	for i, n := range p.choose(d.Injury, unbounded, (*snap).layer) {
		child := p.snapSeq + 1000 + uint64(i)
		key := fmt.Sprintf("%s/%d/gone", namespace, child)
		if err := p.inStore(func(_, links *bbolt.Bucket) error { return links.Put(linkKey(n.id, child), []byte(key)) }); err != nil {
			return err
		}
		p.must(backlinkStale, linkSubject(n.id, child), "")
		d.Add("parents/%d/%d", n.id, child)
	}
	return nil
}

func (p *patient) doubleSnapshot(d *lab.Done) error {
	for range d.Of(len(p.snaps) / 4) {
		pair := p.choose(lab.Injury{Class: d.Class, Count: 2}, 2, container)
		if len(pair) < 2 {
			break
		}
		a, b := pair[0], pair[1]
		err := p.inStore(func(snapshots, _ *bbolt.Bucket) error {
			return snapshots.Bucket([]byte(a.backend)).Put([]byte("id"), binary.AppendUvarint(nil, b.id))
		})
		if err != nil {
			return err
		}
		const why = "two snapshots have one id"
		p.must(snapshotDuplicate, fmt.Sprint(b.id), "%s and %s", a.backend, b.backend)
		p.may(noSnapshot, a.device, why)
		p.may(backlinkStale, linkSubject(a.parent.id, a.id), why)
		p.may(backlinkMissing, linkSubject(a.parent.id, b.id), why)
		p.may(backlinkStale, linkSubject(b.parent.id, b.id), why)
		d.Add("snapshot %d gets id %d", a.id, b.id)
	}
	return nil
}

func (p *patient) dropKind(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, container) {
		err := p.inStore(func(snapshots, _ *bbolt.Bucket) error {
			return snapshots.Bucket([]byte(n.backend)).Delete([]byte("kind"))
		})
		if err != nil {
			return err
		}
		p.must(snapshotUnparsable, n.backend, "no kind")
		d.Add("snapshot %d", n.id)
	}
	return nil
}

func (p *patient) loseSnapshot(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, container) {
		if err := errors.Join(p.dropSnapshot(n)); err != nil {
			return err
		}
		p.must(danglingBackend, n.key, "container %s", n.container)
		p.may(noSnapshot, n.device, "its record is lost")
		d.Add("snapshot %d of container %s", n.id, n.container)
	}
	return nil
}
