package dmlab

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/plugins/snapshots/devmapper"
	"go.etcd.io/bbolt"

	"fettle/internal/lab"
)

// poolRecipes are about the pool's database and the thin devices.
func poolRecipes() []recipe {
	return []recipe{
		{named(blocksNextID, "leave a record and a device for a snapshot that is still to come"), recordStage, "d09", byPool, (*patient).blockNext},
		{named(noSnapshot, "forget a container's snapshot, keep record and device"), recordStage, "d10", byPool, (*patient).forgetSnapshot},
		{named(leakedDevice, "leave a device with a taken or faulty id and no record"), recordStage, "d05 d07", byPool, (*patient).leakDevice},
		{named(freeIDInPool, "free the id of a device that is still in the pool"), recordStage, "d02", byPool, (*patient).freeInPool},
		{named(unknownInPool, "add a device with an id that was never given out"), recordStage, "d03", byPool, (*patient).unknownDevice},
		{named(notInPool, "delete the thin device of a container"), recordStage, "d01", byLoss, (*patient).loseDevice},
		{named(noDevice, "remove record and device of a snapshot, as when a commit of metadata.db is lost"), recordStage, "d11", "", (*patient).loseCommit},
		{named(removedLive, "set the state of a device in use to Removed"), recordStage, "d19", "", (*patient).markRemoved},
		{named(faultyLive, "set the state of a device in use to Faulty"), recordStage, "d06", "", (*patient).markFaulty},
		{named(identityWrong, "exchange the device ids of two containers"), recordStage, "d54", byPerson, (*patient).swapDevices},
		{named(idTakenOrphan, "mark an id as taken that nothing has"), recordStage, "d04", "", orphanID(idTakenOrphan, idTaken)},
		{named(idFaultyOrphan, "mark an id as faulty that nothing has"), recordStage, "d08", "", orphanID(idFaultyOrphan, idFaulty)},
		{named(idStateWrong, "mark the id of a device in use as free"), recordStage, "", "", (*patient).freeUsedID},
		{named(recordUnparsable, "cut off the end of a device record"), recordStage, "d32", byPerson, (*patient).cutRecord},
		{named(nameMismatch, "change the name inside a device record"), recordStage, "d16", "", (*patient).renameRecord},
		{named(parentMismatch, "change the parent in a device record"), recordStage, "d17", "", (*patient).reparentRecord},
		{named(sizeMismatch, "set the size of a device to 0, or below what it maps"), recordStage, "d33", byPerson, (*patient).shrinkRecord},
		{named(stateStuck, "leave a device in a state that containerd only passes through"), recordStage, "d18", "", (*patient).stickState},
		{named(stateInvalid, "set a state that does not exist"), recordStage, "d20", "", (*patient).badState},
		{named(duplicateDevice, "give a record the device id of another"), recordStage, "d15", byPerson, (*patient).doubleDevice},
		{named(sequenceBehind, "set a sequence back below ids in use"), sequenceStage, "d30 d31", "", (*patient).setBack},
		{alone(poolEmpty, "replace the pool by an empty one"), recordStage, "d46", byPerson, (*patient).emptyPool},
		{alone(wrongPool, "replace the pool by one that lacks half of the devices"), recordStage, "", byPerson, (*patient).otherPool},
		{alone(poolRenamed, "add a second pool database, or rename the only one"), fileStage, "d47", byPerson, (*patient).renamePool},
	}
}

// addRecord makes a record of a device that was made from the top of an image.
func (p *patient) addRecord(name string, dev uint32, parent *snap, state devmapper.DeviceState) error {
	err := p.pdb.Update(func(tx *bbolt.Tx) error {
		return putRecord(tx, name, &devmapper.DeviceInfo{DeviceID: dev, Size: 10 << 30, Name: name, ParentName: parent.device, State: state})
	})
	return errors.Join(err, p.id(dev, idTaken))
}

func (p *patient) blockNext(d *lab.Done) error {
	for range d.Of(1000) {
		top := p.anyTop()
		dev, err := p.newThin(top)
		if err != nil {
			return err
		}
		name := deviceName(p.pool, strconv.FormatUint(p.nextSnap, 10))
		p.nextSnap++
		if err := p.addRecord(name, dev, top, devmapper.Activated); err != nil {
			return err
		}
		p.must(blocksNextID, name, "device %d, sequence of metadata.db %d", dev, p.snapSeq)
		d.Add("record %s of a new device %d", name, dev)
	}
	return nil
}

func (p *patient) forgetSnapshot(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, container) {
		if err := errors.Join(p.dropSnapshot(n), p.dropEntry(n, true)); err != nil {
			return err
		}
		p.must(noSnapshot, n.device, "snapshot %d is in no database", n.id)
		d.Add("snapshot %d of container %s", n.id, n.container)
	}
	return nil
}

func (p *patient) leakDevice(d *lab.Done) error {
	for i := range d.Of(1000) {
		dev, err := p.newThin(p.anyTop())
		state := byte(idTaken + i%2)
		if err := errors.Join(err, p.id(dev, state)); err != nil {
			return err
		}
		p.must(leakedDevice, devSubject(dev), "id state %d", state)
		d.Add("device %d with id state %d", dev, state)
	}
	return nil
}

func (p *patient) freeInPool(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, container) {
		if err := errors.Join(p.dropSnapshot(n), p.dropEntry(n, true), p.dropRecord(n, idFree)); err != nil {
			return err
		}
		p.must(freeIDInPool, devSubject(n.dev), "was the device of snapshot %d", n.id)
		d.Add("device %d of container %s stays, its records go", n.dev, n.container)
	}
	return nil
}

// gap is how far ids of unknown devices are from those that other injuries give out.
const gap = 100_000

func (p *patient) unknownDevice(d *lab.Done) error {
	for i := range d.Of(1000) {
		dev := uint32(p.devSeq) + gap + uint32(i)
		var err error
		if i%2 == 0 {
			err = p.thin.CreateSnap(dev, p.anyTop().dev)
		} else {
			err = p.thin.CreateThin(dev)
		}
		if err != nil {
			return err
		}
		p.thinChanged = true
		p.must(unknownInPool, devSubject(dev), "the sequence of ids is %d", p.devSeq)
		d.Add("device %d", dev)
	}
	return nil
}

// loseDevice stays below the number from which on the pool is taken for another one.
func (p *patient) loseDevice(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, max(3, len(p.snaps)/20), container) {
		if err := p.dropThin(n.dev); err != nil {
			return err
		}
		p.must(notInPool, n.device, "device %d of container %s is gone", n.dev, n.container)
		d.Add("device %d of container %s", n.dev, n.container)
	}
	return nil
}

func (p *patient) loseCommit(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, container) {
		if err := errors.Join(p.dropThin(n.dev), p.dropRecord(n, idFree), p.dropEntry(n, true)); err != nil {
			return err
		}
		p.must(noDevice, n.backend, "snapshot %d was removed but for metadata.db", n.id)
		p.know(unreferenced, n.backend)
		d.Add("snapshot %d", n.id)
	}
	return nil
}

// state sets the state of the device records of chosen snapshots.
func (p *patient) state(d *lab.Done, class string, fits func(*snap) bool, states ...devmapper.DeviceState) error {
	for i, n := range p.choose(d.Injury, unbounded, fits) {
		s := states[i%len(states)]
		if err := p.record(n.device, func(r *devmapper.DeviceInfo) { r.State = s }); err != nil {
			return err
		}
		if s == devmapper.Faulty {
			if err := p.id(n.dev, idFaulty); err != nil {
				return err
			}
		}
		p.must(class, n.device, "state %s, snapshot and device are there", s)
		d.Add("record %s: state %s", n.device, s)
	}
	return nil
}

func whatever(*snap) bool { return true }

func (p *patient) markRemoved(d *lab.Done) error {
	return p.state(d, removedLive, whatever, devmapper.Removed)
}

func (p *patient) markFaulty(d *lab.Done) error {
	return p.state(d, faultyLive, whatever, devmapper.Faulty)
}

func (p *patient) stickState(d *lab.Done) error {
	return p.state(d, stateStuck, whatever, devmapper.Unknown, devmapper.Creating, devmapper.Created, devmapper.Activating, devmapper.Suspending,
		devmapper.Resuming, devmapper.Deactivating, devmapper.Removing)
}

func (p *patient) badState(d *lab.Done) error {
	return p.state(d, stateInvalid, whatever, 99, -1, 14)
}

// swapDevices makes one exchange however many are asked for: of several it could not be told which belong together.
func (p *patient) swapDevices(d *lab.Done) error {
	pair := p.choose(lab.Injury{Class: d.Class, Count: 2}, 2, container)
	if len(pair) < 2 {
		return nil
	}
	a, b := pair[0], pair[1]
	err := p.record(a.device, func(r *devmapper.DeviceInfo) { r.DeviceID = b.dev })
	if err = errors.Join(err, p.record(b.device, func(r *devmapper.DeviceInfo) { r.DeviceID = a.dev })); err != nil {
		return err
	}
	p.must(identityWrong, a.device+","+b.device, "device ids %d and %d are exchanged", a.dev, b.dev)
	d.Add("%s and %s", a.device, b.device)
	return nil
}

func orphanID(class string, state byte) func(*patient, *lab.Done) error {
	return func(p *patient, d *lab.Done) error {
		for range d.Of(1000) {
			dev := uint32(p.nextDev)
			p.nextDev++
			if err := p.id(dev, state); err != nil {
				return err
			}
			p.must(class, devSubject(dev), "no record, no device")
			d.Add("id %d", dev)
		}
		return nil
	}
}

func (p *patient) freeUsedID(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, whatever) {
		if err := p.id(n.dev, idFree); err != nil {
			return err
		}
		p.must(idStateWrong, devSubject(n.dev), "%s has it", n.device)
		d.Add("id %d of %s", n.dev, n.device)
	}
	return nil
}

func (p *patient) cutRecord(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, whatever) {
		err := p.pdb.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucketDevices)
			v := b.Get([]byte(n.device))
			return b.Put([]byte(n.device), slices.Clone(v[:1+p.rnd.IntN(len(v)-2)]))
		})
		if err != nil {
			return err
		}
		p.must(recordUnparsable, n.device, "")
		p.may(noDevice, n.backend, "its record cannot be read")
		p.may(leakedDevice, devSubject(n.dev), "its record cannot be read")
		d.Add("record %s", n.device)
	}
	return nil
}

func (p *patient) renameRecord(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, whatever) {
		if err := p.record(n.device, func(r *devmapper.DeviceInfo) { r.Name += "8" }); err != nil {
			return err
		}
		p.must(nameMismatch, n.device, "the record says %s8", n.device)
		d.Add("record %s", n.device)
	}
	return nil
}

func (p *patient) reparentRecord(d *lab.Done) error {
	for _, n := range p.choose(d.Injury, unbounded, func(n *snap) bool { return n.parent != nil }) {
		other := ""
		for _, o := range p.snaps {
			if o.layer() && o != n.parent && o != n {
				other = o.device
			}
		}
		if err := p.record(n.device, func(r *devmapper.DeviceInfo) { r.ParentName = other }); err != nil {
			return err
		}
		p.must(parentMismatch, n.device, "%q instead of %s", other, n.parent.device)
		d.Add("record %s: parent %q", n.device, other)
	}
	return nil
}

func (p *patient) shrinkRecord(d *lab.Done) error {
	for i, n := range p.choose(d.Injury, unbounded, whatever) {
		size := []uint64{0, 3 * blockBytes, 1000}[i%3]
		if err := p.record(n.device, func(r *devmapper.DeviceInfo) { r.Size = size }); err != nil {
			return err
		}
		p.must(sizeMismatch, n.device, "size %d", size)
		d.Add("record %s: size %d", n.device, size)
	}
	return nil
}

func (p *patient) doubleDevice(d *lab.Done) error {
	for range d.Of(len(p.snaps) / 4) {
		pair := p.choose(lab.Injury{Class: d.Class, Count: 2}, 2, container)
		if len(pair) < 2 {
			break
		}
		a, b := pair[0], pair[1]
		if err := p.record(a.device, func(r *devmapper.DeviceInfo) { r.DeviceID = b.dev }); err != nil {
			return err
		}
		names := []string{a.device, b.device}
		slices.Sort(names) // as bolt has them
		p.must(duplicateDevice, strings.Join(names, ","), "both have device id %d", b.dev)
		p.may(leakedDevice, devSubject(a.dev), "its record has another id")
		d.Add("record %s: device id %d of %s", a.device, b.dev, b.device)
	}
	return nil
}

// setBack sets back the sequence of device_ids, and with a second injury that of snapshots too.
func (p *patient) setBack(d *lab.Done) error {
	first := p.rnd.IntN(2)
	for i := range d.Of(2) {
		if (i+first)%2 == 0 {
			back := uint64(0)
			err := p.pdb.Update(func(tx *bbolt.Tx) error {
				b := tx.Bucket(bucketIDs)
				top := uint64(0)
				for k, _ := b.Cursor().First(); k != nil; {
					id, _ := strconv.ParseUint(string(k), 10, 32)
					top = max(top, id)
					c := b.Cursor()
					c.Seek(k)
					k, _ = c.Next()
				}
				back = top - min(top, 1+p.rnd.Uint64N(5))
				return b.SetSequence(back)
			})
			if err != nil {
				return err
			}
			p.must(sequenceBehind, "device_ids sequence", "set back to %d", back)
			d.Add("device_ids: %d", back)
			continue
		}
		last := p.snaps[len(p.snaps)-1].id
		if err := p.inStore(func(snapshots, _ *bbolt.Bucket) error { return snapshots.SetSequence(last - 1) }); err != nil {
			return err
		}
		p.must(sequenceBehind, "v1/snapshots sequence", "set back to %d", last-1)
		d.Add("v1/snapshots: %d", last-1)
	}
	return nil
}

func (p *patient) emptyPool(d *lab.Done) error {
	p.thin.Thins, p.thin.Time, p.thinChanged = nil, 0, true
	p.must(poolEmpty, "pool", "%d records", len(p.snaps))
	p.may(notInPool, "", "follows from the empty pool")
	d.Add("all %d devices", len(p.snaps))
	return nil
}

func (p *patient) otherPool(d *lab.Done) error {
	n := 0
	for i, s := range p.snaps {
		if i%2 == 0 || len(p.snaps) < 8 {
			n++
			if err := p.dropThin(s.dev); err != nil {
				return err
			}
		}
	}
	if n == len(p.snaps) {
		return fmt.Errorf("the set is too small to be taken for another")
	}
	p.must(wrongPool, "pool", "%d devices of %d are missing", n, len(p.snaps))
	p.may(notInPool, "", "follows from the wrong pool")
	d.Add("%d devices of %d", n, len(p.snaps))
	return nil
}
