package thinmeta

import "fmt"

// The clock of the pool goes forward with each snapshot, and a mapping keeps the time at which it was made. The kernel takes a data
// block for shared when its mapping is older than the newest snapshot of the device (or than the device itself), and copies it before
// it writes. With a time that is too low it writes into blocks that other devices map: the reference counts stay right, and no other
// check sees it.

func (c *checker) wrongTime(device int64, want, have uint32, format string, args ...any) {
	c.problems.add(Problem{Kind: TimeWrong, Device: device, Want: uint64(want), Have: uint64(have), Consequence: c.bottom.bad || c.top.bad || c.details.bad,
		Text: fmt.Sprintf(format, args...)})
}

// judgeShared looks at the newest time of a shared mapping of a device; shared is that plus 1, 0 for none.
func (c *checker) judgeShared(d *Device, shared uint32) {
	if !c.f.held && c.f.super.HeldRoot != 0 {
		return // the metadata snapshot refers to the same trees, which then seem to be shared though no device shares them
	}
	if d.HasDetails && shared > d.Details.SnapshotTime {
		c.wrongTime(int64(d.ID), shared, d.Details.SnapshotTime,
			"device %d has a shared block that was mapped at time %d, but its newest snapshot is said to be of time %d: writes would go to the other devices, too",
			d.ID, shared-1, d.Details.SnapshotTime)
	}
}

// judgeClock looks at the pool's own time.
func (c *checker) judgeClock(devices []Device) {
	newest, now := uint32(0), c.f.super.Time
	for i := range devices {
		newest = max(newest, devices[i].Newest, devices[i].Details.CreationTime, devices[i].Details.SnapshotTime)
	}
	switch {
	case now > timeMask:
		c.wrongTime(NoDevice, timeMask, now, "the pool's time is %d, more than the 24 bits that a mapping has for it", now)
	case newest > now:
		c.wrongTime(NoDevice, newest, now, "the pool's time is %d, but there are devices or mappings of time %d: blocks of the next snapshots would not be seen as shared", now, newest)
	}
}
