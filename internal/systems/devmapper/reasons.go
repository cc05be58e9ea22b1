package devmapper

import "fettle/internal/finding"

// leftBecause says, by class, why a finding about which nothing more was found out is left as it is, or what its repair means. "ignore" alone
// reads as if it were harmless.
var leftBecause = map[string]string{
	PoolEmpty:         decideFirst,
	WrongPool:         decideFirst,
	SeveralPoolDBs:    decideFirst,
	DuplicateDevice:   decideFirst,
	SnapshotDuplicate: decideFirst,
	BackendDuplicate:  decideFirst,
	IdentityWrong:     decideFirst,

	DeviceEmpty:        "the content is lost; remove what uses it, and pull the image again",
	MetaParentMismatch: notDecided,
	MetaUnparsable:     "what it was cannot be proven from the other layers",
	SizeMismatch:       "a size is only changed when asked for: --policy " + SizeMismatch + "=rewrite",
	Unreferenced:       "containerd's next garbage collection removes it",
	ChildStale:         "containerd ignores it; --policy " + ChildStale + "=rewrite removes it",
	LeaseDangling:      "harmless: it goes with the lease",

	BoltEmpty:     rebuildBolt,
	BoltTruncated: rebuildBolt,
	BoltNoMeta:    rebuildBolt,
	BoltPage:      rebuildBolt,
	BoltOneMeta:   "bolt goes on with the other one; --policy " + BoltOneMeta + "=rewrite writes this one again",

	ThinTransaction:   "a pool that LVM made has LVM's number; containerd does not look at it",
	ThinOutOfData:     "extend the data device, or give back space: fettle devmapper ls --leaked",
	ThinOutOfMetadata: "extend the metadata device",
	ThinHeldRoot:      "if no tool is at work: dmsetup message POOL 0 release_metadata_snap",
	ThinTime:          "do not activate the pool for writing; fettle explain " + ThinTime + " says how the times are raised",
	ThinXMLUnreadable: "make the XML again, or give the metadata itself",
}

const (
	decideFirst = "a person must decide this; no other repair is made as long as it is so"
	notDecided  = "which of them is right is for a person to decide"
	rebuildBolt = "a new file of every record that can be read or proven; the plan says what is lost, the old file is kept"
)

// giveReasons adds the reasons of leftBecause to findings that have none.
func giveReasons(all []judged) {
	for i := range all {
		if f := &all[i]; f.Suggested == "" && f.Why == "" {
			f.Why = leftBecause[f.Class]
			if c, ok := Classes.Lookup(f.Class); ok && f.Why == "" && c.Default() == finding.Ignore && c.Severity != finding.Info {
				f.Why = "fettle explain " + f.Class + " says what can be done"
				if c.Offers(finding.Rebuild) {
					f.Why = "thin metadata is only written anew when asked for: --policy " + f.Class + "=rebuild; the plan shows what is lost"
				}
			}
		}
	}
}
