package dmlab

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"fettle/internal/format/thinmeta"
	"fettle/internal/lab"
	"fettle/internal/systems/devmapper/fakedm"
)

// thinRecipes are about the blocks of thin.meta. The metadata is never written anew unless asked for, so none is repaired by default.
func thinRecipes() []recipe {
	patch := func(class, title, fixtures string, aloneToo bool, do func(*thinInjury, *lab.Done) error) recipe {
		r := recipe{named(class, title), thinStage, fixtures, byPool, func(p *patient, d *lab.Done) error { return p.patch(d, do) }}
		r.Alone = aloneToo
		return r
	}
	table := []recipe{
		patch(thinTransaction, "set a transaction id", "d34", false, (*thinInjury).transaction),
		patch(thinNeedsCheck, "set the flag needs_check", "d35", false, (*thinInjury).needsCheck),
		patch(thinHeldRoot, "hold a metadata snapshot", "", false, (*thinInjury).holdRoot),
		patch(thinMappedWrong, "change the number of mapped blocks of a device", "d44", false, (*thinInjury).mappedBlocks),
		patch(thinDataLeaked, "count free data blocks as used", "d39", false, (*thinInjury).leakData),
		patch(thinDataLow, "count used data blocks as free", "d40", false, (*thinInjury).lowData),
		patch(thinDataHigh, "count data blocks once too often", "d41", false, (*thinInjury).highData),
		patch(thinMetadataLeaked, "count free metadata blocks as used", "d42", false, (*thinInjury).leakMetadata),
		patch(thinMetadataLow, "count used metadata blocks as free", "", false, (*thinInjury).lowMetadata),
		patch(thinMetadataHigh, "count metadata blocks once too often", "", false, (*thinInjury).highMetadata),
		patch(thinSpaceMapTotal, "change the number of used data blocks in the superblock", "", false, (*thinInjury).total),
		patch(thinDetailsMissing, "delete a device from the tree of details", "d43", true, (*thinInjury).dropDetails),
		patch(thinMappingMissing, "delete a device from the tree of mappings", "", true, (*thinInjury).dropMapping),
		patch(thinNodeChecksum, "spoil a leaf of mappings", "d37", true, (*thinInjury).spoilLeaf),
		patch(thinNodeInvalid, "give a leaf of mappings another number, with a good checksum", "", true, (*thinInjury).renumberLeaf),
		patch(thinBitmapChecksum, "spoil a bitmap of the data space map", "d38", true, (*thinInjury).spoilBitmap),
		patch(thinSuperChecksum, "spoil the superblock", "d36", true, (*thinInjury).spoilSuper),
		patch(thinSuperInvalid, "overwrite the magic of the superblock", "", true, (*thinInjury).spoilMagic),
	}
	return append(table,
		recipe{alone(thinOutOfData, "write to a container until the pool is full"), recordStage, "d45", byPool, (*patient).fillPool},
		recipe{alone(thinOutOfMetadata, "use up the metadata device"), thinStage, "", byPool, (*patient).fillMetadata})
}

// thinInjury is thin.meta while it is injured.
type thinInjury struct {
	*thinPatch
	p   *patient
	rnd *rand.Rand
}

func (p *patient) patch(d *lab.Done, do func(*thinInjury, *lab.Done) error) error {
	t, err := openPatch(p.path(thinFile))
	if err != nil {
		return err
	}
	return errors.Join(do(&thinInjury{t, p, p.rnd}, d), t.f.Close())
}

func (t *thinInjury) transaction(d *lab.Done) error {
	d.Add("transaction id 7")
	t.p.know(thinTransaction, superSubject)
	return t.super(func(b []byte) { le.PutUint64(b[atTransaction:], 7) })
}

const superSubject = "superblock"

func (t *thinInjury) needsCheck(d *lab.Done) error {
	d.Add("flag needs_check")
	t.p.must(thinNeedsCheck, superSubject, "")
	return t.super(func(b []byte) { le.PutUint32(b[atFlags:], le.Uint32(b[atFlags:])|thinmeta.FlagNeedsCheck) })
}

// holdRoot does what the message reserve_metadata_snap does.
func (t *thinInjury) holdRoot(d *lab.Done) error {
	free, err := t.freeBlocks(t.metaCounts(), t.size(), 1)
	if err != nil || len(free) == 0 {
		return errors.Join(err, errors.New("there is no free metadata block"))
	}
	if err := t.metaCounts().set(free[0], 1); err != nil {
		return err
	}
	for _, at := range []int{atMappingRoot, atDetailsRoot} {
		root, err := t.field(at)
		if err != nil {
			return err
		}
		if err := t.metaCounts().set(root, 2); err != nil {
			return err
		}
	}
	b, err := t.read(0)
	if err != nil {
		return err
	}
	clear(b[atDataMap:atMappingRoot])
	le.PutUint64(b[8:], free[0])
	if err := t.write(free[0], thinmeta.KindSuperblock, b); err != nil {
		return err
	}
	d.Add("metadata snapshot in block %d", free[0])
	t.p.know(thinHeldRoot, superSubject)
	return t.super(func(b []byte) { le.PutUint64(b[atHeldRoot:], free[0]) })
}

func (t *thinInjury) size() uint64 { return t.p.thin.MetaBlocks }

// devices are thin devices at random, each once.
func (t *thinInjury) devices(d *lab.Done) []uint32 {
	var out []uint32
	for _, i := range t.rnd.Perm(len(t.p.thin.Thins))[:d.Of(len(t.p.thin.Thins))] {
		out = append(out, t.p.thin.Thins[i].ID)
	}
	return out
}

// details finds a device in the tree of details, or with atMappingRoot in the top level of that of mappings.
func (t *thinInjury) details(at int, dev uint32) (btreeNode, int, error) {
	root, err := t.field(at)
	if err != nil {
		return btreeNode{}, 0, err
	}
	return t.find(root, uint64(dev))
}

func (t *thinInjury) mappedBlocks(d *lab.Done) error {
	for _, dev := range t.devices(d) {
		n, i, err := t.details(atDetailsRoot, dev)
		if err != nil {
			return err
		}
		v := le.Uint64(n.value(i))
		le.PutUint64(n.value(i), v+1+uint64(t.rnd.IntN(9)))
		if err := t.write(n.block, thinmeta.KindNode, n.b); err != nil {
			return err
		}
		t.p.must(thinMappedWrong, devSubject(dev), "%d are mapped", v)
		d.Add("device %d", dev)
	}
	return nil
}

// freeBlocks are blocks with count 0, at random, no two of them neighbours: a check may join those.
func (t *thinInjury) freeBlocks(c counts, total uint64, n int) ([]uint64, error) {
	return t.blocks(c, total, n, 0)
}

func (t *thinInjury) blocks(c counts, total uint64, n, count int) ([]uint64, error) {
	var out []uint64
	taken := map[uint64]bool{}
	for tries := 0; len(out) < n && tries < 64*n+100_000; tries++ {
		b := 1 + t.rnd.Uint64N(total-1)
		if taken[b] || taken[b-1] || taken[b+1] || !c.data && t.used[b] {
			continue
		}
		have, err := c.get(b)
		if err != nil {
			return nil, err
		}
		if have == count {
			out, taken[b] = append(out, b), true
		}
	}
	return out, nil
}

// recount sets the counts of some blocks.
func (t *thinInjury) recount(d *lab.Done, c counts, from, to int, class, unit string) error {
	total := t.p.thin.DataBlocks
	if !c.data {
		total = t.size()
	}
	list, err := t.blocks(c, total, d.Of(1000), from)
	if err != nil {
		return err
	}
	for _, b := range list {
		if err := c.set(b, to); err != nil {
			return err
		}
		t.p.must(class, fmt.Sprintf("%s %d", unit, b), "count %d instead of %d", to, from)
		d.Add("%s %d: count %d instead of %d", unit, b, to, from)
	}
	return nil
}

const dataUnit, metaUnit = "data block", "metadata block"

func (t *thinInjury) leakData(d *lab.Done) error {
	return t.recount(d, t.dataCounts(), 0, 1, thinDataLeaked, dataUnit)
}

func (t *thinInjury) lowData(d *lab.Done) error {
	return t.recount(d, t.dataCounts(), 1, 0, thinDataLow, dataUnit)
}

func (t *thinInjury) highData(d *lab.Done) error {
	return t.recount(d, t.dataCounts(), 1, 2, thinDataHigh, dataUnit)
}

func (t *thinInjury) leakMetadata(d *lab.Done) error {
	return t.recount(d, t.metaCounts(), 0, 1, thinMetadataLeaked, metaUnit)
}

func (t *thinInjury) lowMetadata(d *lab.Done) error {
	return t.recount(d, t.metaCounts(), 1, 0, thinMetadataLow, metaUnit)
}

func (t *thinInjury) highMetadata(d *lab.Done) error {
	return t.recount(d, t.metaCounts(), 1, 2, thinMetadataHigh, metaUnit)
}

func (t *thinInjury) total(d *lab.Done) error {
	t.p.must(thinSpaceMapTotal, "data space map", "")
	d.Add("4 blocks too many")
	return t.super(func(b []byte) { le.PutUint64(b[atDataMap+8:], le.Uint64(b[atDataMap+8:])+4) })
}

// fillPool shrinks the pool to what is used and makes a container write into what is left.
func (p *patient) fillPool(d *lab.Done) error {
	list := p.choose(lab.Injury{Class: d.Class}, 1, container)
	if len(list) == 0 {
		return errors.New("there is no container that could write")
	}
	top, used := uint64(0), map[uint64]bool{}
	for _, t := range p.thin.Thins {
		for _, r := range t.Runs {
			top = max(top, r.Data+r.Length)
			for i := range r.Length {
				used[r.Data+i] = true
			}
		}
	}
	p.thin.DataBlocks, p.thinChanged = top, true
	dev := p.thin.Thin(list[0].dev)
	last := dev.Runs[len(dev.Runs)-1]
	if err := p.thin.Write(dev.ID, last.Virtual+last.Length, top-uint64(len(used))); err != nil {
		return err
	}
	p.must(thinOutOfData, "pool", "all %d blocks", top)
	d.Add("container %s fills %d blocks", list[0].container, top-uint64(len(used)))
	return nil
}

// fillMetadata makes the metadata device as small as its content.
func (p *patient) fillMetadata(d *lab.Done) error {
	path := p.path(thinFile)
	f, err := thinmeta.Open(path)
	if err != nil {
		return err
	}
	rep, err := f.Check(p.ctx, thinmeta.CheckOptions{SkipMappings: false})
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	// Trees that are shared in the file may be shared less or more when they are written again.
	for p.thin.MetaBlocks = rep.MetadataUsed / 2; p.thin.MetaBlocks <= rep.MetadataUsed*2; p.thin.MetaBlocks++ {
		if err = fakedm.WriteThinMeta(p.thin, path); err == nil {
			p.must(thinOutOfMetadata, "pool", "all %d blocks", p.thin.MetaBlocks)
			d.Add("%d metadata blocks", p.thin.MetaBlocks)
			return nil
		}
	}
	return err
}
