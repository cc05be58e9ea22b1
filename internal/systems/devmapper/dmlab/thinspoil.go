package dmlab

import (
	"fmt"

	"fettle/internal/format/thinmeta"
	"fettle/internal/lab"
)

// Injuries of the trees and of single blocks, behind which something cannot be read any more.

// drop deletes devices from one of the two small trees. Only leaves that stay full enough are used.
func (t *thinInjury) drop(d *lab.Done, at int, done func(dev uint32, mapped uint64)) error {
	root, err := t.field(at)
	if err != nil {
		return err
	}
	for _, dev := range t.devices(d) {
		n, i, err := t.details(at, dev)
		if err != nil {
			return err
		}
		if n.block != root && (n.entries() <= n.maxEntries()/3 || i == 0) {
			continue // the node above holds the first key
		}
		n.remove(i)
		if err := t.write(n.block, thinmeta.KindNode, n.b); err != nil {
			return err
		}
		done(dev, t.p.thin.Thin(dev).Mapped())
		d.Add("device %d", dev)
	}
	return nil
}

func (t *thinInjury) dropDetails(d *lab.Done) error {
	return t.drop(d, atDetailsRoot, func(dev uint32, mapped uint64) {
		t.p.must(thinDetailsMissing, devSubject(dev), "it maps %d blocks", mapped)
		t.allowLost(dev, "its details are lost")
	})
}

// allowLost allows what follows for the record of a device that cannot be activated any more.
func (t *thinInjury) allowLost(dev uint32, why string) {
	for _, n := range t.p.snaps {
		if n.dev == dev {
			t.p.may(notInPool, n.device, why)
			t.p.may(identityWrong, "", why)
		}
	}
}

func (t *thinInjury) dropMapping(d *lab.Done) error {
	const why = "nothing refers to its mappings any more"
	for _, class := range []string{thinDataLeaked, thinDataHigh, thinMetadataLeaked, thinMetadataHigh, thinMappedWrong, sizeMismatch} {
		t.p.may(class, "", why)
	}
	return t.drop(d, atMappingRoot, func(dev uint32, mapped uint64) {
		t.p.must(thinMappingMissing, devSubject(dev), "its %d mappings are lost", mapped)
		t.allowLost(dev, why)
	})
}

// leaves are leaves of mappings of random devices, each once.
func (t *thinInjury) leaves(d *lab.Done) ([]btreeNode, error) {
	var out []btreeNode
	for _, dev := range t.devices(d) {
		n, i, err := t.details(atMappingRoot, dev)
		if err != nil {
			return nil, err
		}
		for root := n.child(i); ; {
			if n, err = t.node(root); err != nil {
				return nil, err
			}
			if n.leaf() {
				break
			}
			root = n.child(t.rnd.IntN(n.entries()))
		}
		if !t.used[n.block] && n.entries() > 0 {
			t.used[n.block] = true
			out = append(out, n)
		}
	}
	return out, nil
}

// shadows allows what follows from mappings that cannot be read.
func (t *thinInjury) shadows() {
	const why = "mappings cannot be read"
	for _, class := range []string{thinDataLeaked, thinDataHigh, thinDataLow, thinMetadataLeaked, thinMetadataHigh, thinMetadataLow, thinMappedWrong,
		thinSpaceMapTotal, notInPool, identityWrong, sizeMismatch, thinNodeChecksum, thinNodeInvalid} {
		t.p.may(class, "", why)
	}
}

func (t *thinInjury) spoilLeaf(d *lab.Done) error {
	list, err := t.leaves(d)
	if err != nil {
		return err
	}
	for _, n := range list {
		n.b[40+t.rnd.IntN(len(n.b)-40)] ^= byte(1 << t.rnd.IntN(8))
		if err := t.raw(n.block, n.b); err != nil {
			return err
		}
		t.p.must(thinNodeChecksum, fmt.Sprintf("%s %d", metaUnit, n.block), "")
		d.Add("leaf in block %d: one bit", n.block)
	}
	t.shadows()
	return nil
}

func (t *thinInjury) renumberLeaf(d *lab.Done) error {
	list, err := t.leaves(d)
	if err != nil {
		return err
	}
	for _, n := range list {
		le.PutUint64(n.b[8:], n.block+1)
		if err := t.write(n.block, thinmeta.KindNode, n.b); err != nil {
			return err
		}
		t.p.must(thinNodeInvalid, fmt.Sprintf("%s %d", metaUnit, n.block), "it says that it is block %d", n.block+1)
		d.Add("leaf in block %d", n.block)
	}
	t.shadows()
	return nil
}

func (t *thinInjury) spoilBitmap(d *lab.Done) error {
	_, _, e, err := t.dataCounts().entry(0)
	if err != nil {
		return err
	}
	block := le.Uint64(e)
	b, err := t.read(block)
	if err != nil {
		return err
	}
	b[100] ^= 0x55
	t.p.must(thinBitmapChecksum, fmt.Sprintf("%s %d", metaUnit, block), "")
	t.shadows()
	d.Add("bitmap in block %d", block)
	return t.raw(block, b)
}

func (t *thinInjury) spoilSuper(d *lab.Done) error {
	b, err := t.read(0)
	if err != nil {
		return err
	}
	b[16+t.rnd.IntN(16)] ^= 0x10 // the uuid, which nothing reads
	t.p.must(thinSuperChecksum, superSubject, "")
	t.lost()
	d.Add("one bit of the superblock")
	return t.raw(0, b)
}

func (t *thinInjury) spoilMagic(d *lab.Done) error {
	t.p.must(thinSuperInvalid, superSubject, "")
	t.lost()
	d.Add("magic of the superblock")
	return t.super(func(b []byte) { le.PutUint64(b[atMagic:], 0x626164) })
}

// lost allows what follows when nothing of the pool can be trusted.
func (t *thinInjury) lost() {
	t.shadows()
	for _, class := range []string{poolEmpty, wrongPool, thinBitmapChecksum, thinSuperInvalid, thinOutOfData, thinOutOfMetadata, thinHeldRoot, thinDetailsMissing, thinMappingMissing} {
		t.p.may(class, "", "the superblock is damaged")
	}
}
