package dmlab

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/plugins/snapshots/devmapper"
	"go.etcd.io/bbolt"

	"fettle/internal/lab"
)

// boltRecipes spoil one of the three database files, chosen at random.
func boltRecipes() []recipe {
	return []recipe{
		{alone(boltPage, "overwrite a page with records"), fileStage, "d48 d53", byLoss, (*patient).spoilPage},
		{alone(boltTruncated, "cut off the end of a database"), fileStage, "d49", byLoss, (*patient).truncate},
		{alone(boltNoMeta, "spoil both meta pages"), fileStage, "d50", byLoss, func(p *patient, d *lab.Done) error { return p.spoilMetas(d, true) }},
		{alone(boltOneMeta, "spoil one meta page"), fileStage, "d51", byPerson, func(p *patient, d *lab.Done) error { return p.spoilMetas(d, false) }},
		{alone(boltEmpty, "empty a database file"), fileStage, "d52", byLoss, (*patient).empty},
		{alone(boltFreelist, "enter a page into the list of free pages that cannot be there"), fileStage, "", byPerson, (*patient).spoilFreelist},
	}
}

// pick is the name of one of the databases.
func (p *patient) pick(names ...string) string {
	if len(names) == 0 {
		names = []string{p.pool + ".db", storeFile, metaFile}
	}
	return names[p.rnd.IntN(len(names))]
}

// allowAll allows everything that may follow from records that are lost with a part of a file.
func (p *patient) allowAll(why string) {
	for _, class := range []string{blocksNextID, noSnapshot, leakedDevice, freeIDInPool, unknownInPool, notInPool, noDevice, danglingBackend, identityWrong,
		idTakenOrphan, idFaultyOrphan, idStateWrong, recordUnparsable, sequenceBehind, parentMissing, backlinkMissing, backlinkStale, metaUnparsable,
		metaParentMissing, metaParentMismatch, childMissing, containerDangling, snapshotUnparsable, boltPage, boltFreelist, poolRenamed} {
		p.may(class, "", why)
	}
}

const (
	boltPageSize = 4096
	flagFreelist = 0x10
)

// pages lists the pages of a kind ("leaf", "freelist", ...) of a healthy database.
func pages(path, kind string) (list []int, err error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(func(tx *bbolt.Tx) error {
		for id := 0; ; id++ {
			info, err := tx.Page(id)
			if err != nil || info == nil {
				return err
			}
			if info.Type == kind {
				list = append(list, id)
			}
			id += info.OverflowCount
		}
	})
	return list, err
}

func (p *patient) spoilPage(d *lab.Done) error {
	name := p.pick()
	leaves, err := pages(p.path(name), "leaf")
	if err != nil {
		return err
	}
	leaf := leaves[p.rnd.IntN(len(leaves))]
	junk := make([]byte, boltPageSize)
	for i := range junk {
		junk[i] = byte(p.rnd.Uint32())
	}
	p.must(boltPage, name, "page %d", leaf)
	p.allowAll("records were on the page")
	d.Add("page %d of %s", leaf, name)
	return p.overwrite(name, int64(leaf)*boltPageSize, junk)
}

func (p *patient) overwrite(name string, at int64, b []byte) error {
	f, err := os.OpenFile(p.path(name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, at)
	return errors.Join(err, f.Close())
}

// truncate cuts off the last third of the pages in use.
func (p *patient) truncate(d *lab.Done) error {
	name := p.pick()
	leaves, err := pages(p.path(name), "leaf")
	if err != nil {
		return err
	}
	cut := int64(leaves[len(leaves)*2/3]) * boltPageSize
	if p.rnd.IntN(2) == 0 {
		cut += 512 // inside of a page
	}
	p.must(boltTruncated, name, "%d bytes are left", cut)
	p.allowAll("records were in what is gone")
	d.Add("%s: %d bytes are left", name, cut)
	return os.Truncate(p.path(name), cut)
}

func (p *patient) empty(d *lab.Done) error {
	name := p.pick()
	p.must(boltEmpty, name, "")
	p.allowAll("all records are gone")
	d.Add("%s", name)
	return os.Truncate(p.path(name), 0)
}

// metas reads the two meta pages.
func (p *patient) metas(name string) (m [2][]byte, err error) {
	f, err := os.Open(p.path(name))
	if err != nil {
		return m, err
	}
	for i := range m {
		m[i] = make([]byte, boltPageSize)
		if _, e := f.ReadAt(m[i], int64(i)*boltPageSize); e != nil {
			err = e
		}
	}
	return m, errors.Join(err, f.Close())
}

// Offsets in a meta page: behind the header of 16 bytes lie magic, version, page size and flags, then the root bucket.
const (
	atFreelist  = 16 + 32
	atHighWater = 16 + 40
	atTxid      = 16 + 48
	atSum       = 16 + 56
)

func (p *patient) spoilMetas(d *lab.Done, both bool) error {
	name := p.pick()
	m, err := p.metas(name)
	if err != nil {
		return err
	}
	newest := 0
	if binary.LittleEndian.Uint64(m[1][atTxid:]) > binary.LittleEndian.Uint64(m[0][atTxid:]) {
		newest = 1
	}
	hit := []int{newest, 1 - newest}
	class := boltNoMeta
	if !both {
		hit, class = hit[p.rnd.IntN(2):][:1], boltOneMeta
	}
	for _, i := range hit {
		m[i][atSum+p.rnd.IntN(8)] ^= 0x40
		if err := p.overwrite(name, int64(i)*boltPageSize, m[i]); err != nil {
			return err
		}
		d.Add("%s: meta page %d", name, i)
	}
	p.must(class, name, "")
	if both || hit[0] == newest {
		p.allowAll("what counts is an older transaction, or none")
	}
	return nil
}

// spoilFreelist makes the list of free pages name a page that cannot be: one behind the end, or one twice.
func (p *patient) spoilFreelist(d *lab.Done) error {
	name := p.pick(p.pool+".db", storeFile) // containerd keeps no list in meta.db
	m, err := p.metas(name)
	if err != nil {
		return err
	}
	newest := slices.MaxFunc(m[:], func(a, b []byte) int {
		return cmp.Compare(binary.LittleEndian.Uint64(a[atTxid:]), binary.LittleEndian.Uint64(b[atTxid:]))
	})
	at := int64(binary.LittleEndian.Uint64(newest[atFreelist:])) * boltPageSize
	raw, err := os.ReadFile(p.path(name))
	if err != nil {
		return err
	}
	page := raw[at : at+boltPageSize]
	count := int(binary.LittleEndian.Uint16(page[10:]))
	if binary.LittleEndian.Uint16(page[8:]) != flagFreelist || count == 0 || count >= 500 {
		return fmt.Errorf("%s has no list of free pages that could be spoiled", name)
	}
	entry := binary.LittleEndian.Uint64(newest[atHighWater:]) + 7
	if p.rnd.IntN(2) == 0 {
		entry = binary.LittleEndian.Uint64(page[16+8*(count-1):])
	}
	binary.LittleEndian.PutUint64(page[16+8*count:], entry)
	binary.LittleEndian.PutUint16(page[10:], uint16(count+1))
	p.must(boltFreelist, name, "page %d", entry)
	d.Add("%s: page %d as entry %d", name, entry, count)
	return p.overwrite(name, at, page)
}

// renamePool does what a changed pool_name leads to, or a file that somebody has renamed.
func (p *patient) renamePool(d *lab.Done) error {
	old := p.path(p.pool + ".db")
	if p.rnd.IntN(2) == 0 {
		p.must(poolRenamed, "", "the database of %s is called new-pool.db", p.pool)
		d.Add("%s.db becomes new-pool.db", p.pool)
		return os.Rename(old, p.path("new-pool.db"))
	}
	db, err := devmapper.NewPoolMetadata(filepath.Join(p.dir, "new-pool.db"))
	if err != nil {
		return err
	}
	p.must(poolRenamed, "", "an empty new-pool.db")
	d.Add("a second database, new-pool.db")
	return db.Close()
}
