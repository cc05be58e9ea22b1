package devmapper

import "fettle/internal/finding"

// Actions that only this system has.
const (
	// MarkFaulty sets a device record to Faulty and its id to faulty: containerd passes it by and goes on.
	MarkFaulty finding.Action = "mark-faulty"
	// BlockID sets an id to faulty, so that containerd never gives it out.
	BlockID finding.Action = "block-id"
	// RaiseSequence raises the sequence of a bolt bucket.
	RaiseSequence finding.Action = "raise-sequence"
)

var (
	actIgnore  = finding.ActionDoc{Action: finding.Ignore, Does: "leaves it as it is"}
	actDiscard = finding.ActionDoc{Action: finding.Discard,
		Does: "deletes the thin device, drops its record and frees its id; offline by writing the thin metadata anew without it, " +
			"on a live pool through dmsetup, which cannot be undone and has to be allowed by name (--allow CLASS/discard)",
		Loses: "the blocks that only this thin device maps"}
	actMarkFaulty = finding.ActionDoc{Action: MarkFaulty,
		Does:  "sets the record's state to Faulty and its id to faulty: containerd starts and prepares snapshots again, and never uses this device",
		Loses: "nothing; the thin device stays in the pool and keeps its blocks"}
	actBlock = finding.ActionDoc{Action: BlockID,
		Does:  "marks the id as faulty in device_ids and raises the sequence to it, so that containerd never gives it out",
		Loses: "nothing; the thin device stays in the pool and keeps its blocks"}
	actFreeID   = finding.ActionDoc{Action: finding.Rewrite, Does: "marks the id as free in device_ids", Loses: ""}
	actSequence = finding.ActionDoc{Action: RaiseSequence, Does: "raises the sequence of the bucket to the highest id in use in any layer", Loses: ""}
	actRewrite  = finding.ActionDoc{Action: finding.Rewrite, Does: "writes the field again as the other layers prove it", Loses: ""}
	actRecreate = finding.ActionDoc{Action: finding.Recreate,
		Does:  "writes the lost record again from what the other layers know; offered only when they leave one possibility",
		Loses: "times and labels that only the lost record had"}
	actUnlinkMeta = finding.ActionDoc{Action: finding.Unlink,
		Does:  "removes the snapshot's entry from meta.db, its child link and the references of leases to it",
		Loses: "containerd's knowledge of a snapshot whose content is gone anyway"}
	actDropSnapshot = finding.ActionDoc{Action: finding.Discard,
		Does:  "removes the snapshot's record and its link to its parent from metadata.db, the device record if there is one, and frees the id",
		Loses: "a snapshot that has no thin device"}
	actRebuildThin = finding.ActionDoc{Action: finding.Rebuild,
		Does: "writes the thin metadata anew into a new file with every reference count worked out again; shows devices and mapped blocks before and after. " +
			"A file takes the place of the old one, which is kept; for a block device the new file is left for you to write",
		Loses: "mappings that cannot be read; they are listed device by device"}
	actRebuildBolt = finding.ActionDoc{Action: finding.Rebuild,
		Does:  "writes a new database from every readable record and what the other layers prove, and swaps it in; the old file is kept",
		Loses: "records that can neither be read nor proven; they are listed"}
)
