package devmapper

import "fettle/internal/finding"

// Ids of the classes, for use in code. They are permanent.
const (
	// Between the layers.
	BlocksNextID    = "devmapper/device-without-snapshot-blocks-next-id"
	NoSnapshot      = "devmapper/device-without-snapshot"
	LeakedDevice    = "devmapper/leaked-thin-device"
	FreeIDInPool    = "devmapper/pool-device-id-free"
	UnknownInPool   = "devmapper/pool-device-unknown"
	NotInPool       = "devmapper/device-in-db-not-in-pool"
	DeviceEmpty     = "devmapper/thin-device-empty"
	NoDevice        = "devmapper/snapshot-without-device"
	RemovedLive     = "devmapper/removed-state-live-snapshot"
	FaultyLive      = "devmapper/faulty-live-snapshot"
	DanglingBackend = "devmapper/metadb-dangling-backend"
	Unreferenced    = "devmapper/unreferenced-backend-snapshot"
	IdentityWrong   = "devmapper/identity-mismatch"
	PoolEmpty       = "devmapper/pool-empty"
	WrongPool       = "devmapper/wrong-pool"
	SeveralPoolDBs  = "devmapper/pool-renamed"
	LayerMissing    = "devmapper/layer-missing"

	// <pool>.db.
	IDTakenOrphan     = "devmapper/id-taken-orphan"
	IDFaultyOrphan    = "devmapper/id-faulty-orphan"
	IDStateWrong      = "devmapper/id-state-mismatch"
	RecordUnparsable  = "devmapper/device-record-unparsable"
	NameMismatch      = "devmapper/key-name-mismatch"
	ParentMismatch    = "devmapper/parent-name-mismatch"
	SizeMismatch      = "devmapper/size-mismatch"
	StateStuck        = "devmapper/state-stuck"
	StateInvalid      = "devmapper/state-invalid"
	DuplicateDevice   = "devmapper/duplicate-device-id"
	SequenceBehind    = "devmapper/sequence-behind"
	SequenceSpent     = "devmapper/sequence-exhausted"
	SnapshotDuplicate = "devmapper/duplicate-snapshot-id"

	// metadata.db.
	SnapshotUnparsable = "devmapper/snapshot-record-unparsable"
	ParentMissing      = "devmapper/parent-missing"
	BacklinkMissing    = "devmapper/backlink-missing"
	BacklinkStale      = "devmapper/backlink-stale"
	KindWrong          = "devmapper/snapshot-kind-wrong"
	FileSystemWrong    = "devmapper/filesystem-label-wrong"

	// meta.db.
	MetaUnparsable     = "devmapper/metadb-record-unparsable"
	MetaParentMissing  = "devmapper/metadb-parent-missing"
	MetaParentMismatch = "devmapper/metadb-parent-mismatch"
	ChildMissing       = "devmapper/child-link-missing"
	ChildStale         = "devmapper/child-link-stale"
	LeaseDangling      = "devmapper/lease-dangling"
	ContainerDangling  = "devmapper/container-snapshot-missing"
	BackendDuplicate   = "devmapper/duplicate-backend-name"

	// Bolt files.
	BoltEmpty     = "devmapper/bbolt-empty-file"
	BoltTruncated = "devmapper/bbolt-truncated"
	BoltNoMeta    = "devmapper/bbolt-invalid-meta"
	BoltOneMeta   = "devmapper/bbolt-one-meta-invalid"
	BoltPage      = "devmapper/bbolt-page-corrupt"
	BoltFreelist  = "devmapper/bbolt-freelist"

	// Thin-pool metadata.
	ThinSuperChecksum  = "devmapper/superblock-checksum"
	ThinSuperInvalid   = "devmapper/superblock-invalid"
	ThinNodeChecksum   = "devmapper/node-checksum"
	ThinNodeInvalid    = "devmapper/node-invalid"
	ThinBitmapChecksum = "devmapper/bitmap-checksum"
	ThinDetailsMissing = "devmapper/device-details-missing"
	ThinMappingMissing = "devmapper/device-mapping-missing"
	ThinMappedWrong    = "devmapper/mapped-blocks-mismatch"
	ThinDataLow        = "devmapper/data-refcount-low"
	ThinDataHigh       = "devmapper/data-refcount-high"
	ThinDataLeaked     = "devmapper/data-block-leaked"
	ThinMetadataLow    = "devmapper/metadata-refcount-low"
	ThinMetadataHigh   = "devmapper/metadata-refcount-high"
	ThinMetadataLeaked = "devmapper/metadata-block-leaked"
	ThinSpaceMapTotal  = "devmapper/space-map-total"
	ThinSpaceMapIndex  = "devmapper/space-map-index"
	ThinTime           = "devmapper/pool-time-wrong"
	ThinNeedsCheck     = "devmapper/needs-check"
	ThinTransaction    = "devmapper/transaction-id-unexpected"
	ThinOutOfData      = "devmapper/out-of-data-space"
	ThinOutOfMetadata  = "devmapper/out-of-metadata-space"
	ThinHeldRoot       = "devmapper/metadata-snapshot-held"
	ThinXMLUnreadable  = "devmapper/thin-xml-unreadable"
)

// Classes is the table of everything that can be wrong with the four layers. The first action is the default of a class; a
// finding moves another to the front when the facts call for it and says why.
var Classes = append(append(append(finding.Classes{}, crossClasses...), databaseClasses...), fileClasses...)

var crossClasses = finding.Classes{
	{ID: BlocksNextID, Title: "left-over device record blocks new snapshots", Severity: finding.Error, Shape: finding.Orphan,
		Explain: "<pool>.db has a record for a snapshot id that metadata.db has not given out yet. A crash between the activation of a new device and the commit of " +
			"metadata.db leaves it behind. When containerd gives out that id, it finds the record: every Prepare on the node fails with \"already exists\", through restarts and reboots. " +
			"No snapshot ever used the device.",
		Actions:   []finding.ActionDoc{actMarkFaulty, actDiscard, actSequence, actIgnore},
		DependsOn: []string{BoltEmpty, BoltTruncated, BoltNoMeta, BoltPage}},
	{ID: NoSnapshot, Title: "device record without a snapshot", Severity: finding.Warning, Shape: finding.Orphan,
		Explain: "<pool>.db has a device whose snapshot metadata.db does not have, with an id that was given out before (or a record that containerd passes by). Nothing uses the device " +
			"and nothing will ever remove it. When many records are like this, metadata.db is probably older than the pool, and nothing is deleted.",
		Actions:   []finding.ActionDoc{actDiscard, actMarkFaulty, actIgnore},
		DependsOn: []string{BoltEmpty, BoltTruncated, BoltNoMeta, BoltPage, ParentMissing, DanglingBackend}},
	{ID: LeakedDevice, Aliases: []string{"devmapper/pool-device-no-record"}, Title: "thin device that no record refers to", Severity: finding.Warning, Shape: finding.Orphan,
		Explain: "The pool has a thin device whose id is taken or faulty in <pool>.db, but no device record has that id. A crash while a device was made leaves it behind; containerd " +
			"gives the snapshot a new id and never comes back to the old one. Its blocks are lost to the pool.",
		Actions: []finding.ActionDoc{actDiscard, actIgnore}, DependsOn: []string{RecordUnparsable, DuplicateDevice}},
	{ID: FreeIDInPool, Title: "id is free, but the thin device exists", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "device_ids says that an id may be given out, but the pool has a thin device with that id. The next Prepare takes it and fails with \"file exists\".",
		Actions: []finding.ActionDoc{actBlock, actDiscard, actIgnore}},
	{ID: UnknownInPool, Title: "thin device that <pool>.db has never known", Severity: finding.Warning, Shape: finding.Orphan,
		Explain: "The pool has a thin device whose id <pool>.db has never given out. Either <pool>.db is older than the pool (restored from a copy), and containerd will fail with \"file exists\" when it comes to " +
			"this id, or the device belongs to somebody else: an LVM volume, another containerd, a virtual machine. It is never deleted unless asked for by name.",
		Actions: []finding.ActionDoc{actSequence, actBlock, actDiscard, actIgnore}},
	{ID: NotInPool, Title: "thin device of a record is gone", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "<pool>.db has a record, but the pool has no thin device with its id: the content of that layer is lost. If the record is Activated, containerd's plugin does not load (once), with " +
			"\"no data available\". Marking the record Faulty lets the plugin load. When many are missing this is probably the wrong pool.",
		Actions: []finding.ActionDoc{actIgnore, actMarkFaulty, actDropSnapshot}, DependsOn: []string{PoolEmpty, WrongPool, ThinSuperChecksum, ThinNodeChecksum, ThinDetailsMissing}},
	{ID: DeviceEmpty, Title: "thin device of a snapshot holds nothing", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "The thin device of a snapshot has no block mapped, though the device of its parent has: it began with all of its parent's blocks. Writing damaged thin metadata anew leaves this behind when the " +
			"device's mappings could not be read. The content is lost, and mounting fails with \"wrong fs type, bad superblock\". Remove what uses it, and pull the image again.",
		Actions: []finding.ActionDoc{actIgnore}, DependsOn: []string{ThinNodeChecksum, ThinNodeInvalid, ThinMappingMissing}},
	{ID: NoDevice, Title: "snapshot without a device record", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "metadata.db has a snapshot for which <pool>.db has no device. A lost commit of metadata.db while the snapshot was removed leaves it behind. Each garbage collection fails at it with \"not found\", and " +
			"none of its parents can be removed any more, so whole images leak.",
		Actions:   []finding.ActionDoc{actDropSnapshot, actRecreate, actIgnore},
		DependsOn: []string{RecordUnparsable, BoltEmpty, BoltTruncated, BoltNoMeta, BoltPage}},
	{ID: RemovedLive, Title: "device is marked as removed, but its snapshot is in use", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "With async_remove the state Removed means that the next cleanup deletes the thin device without asking anybody. If containerd still needs the snapshot, starting containerd destroys a live layer. " +
			"If nothing in meta.db refers to it, the next garbage collection finishes the removal by itself.",
		Actions: []finding.ActionDoc{actRewrite, actIgnore}},
	{ID: FaultyLive, Title: "device is marked faulty, but snapshot and thin device are there", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "The record of a device is Faulty though metadata.db has its snapshot and the pool has its thin device. containerd marks records so after a crash and never activates them again: " +
			"mounting and committing the snapshot fail for ever, though its content is whole.",
		Actions: []finding.ActionDoc{actRewrite, actIgnore}},
	{ID: DanglingBackend, Title: "containerd refers to a snapshot that metadata.db does not have", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "An entry of meta.db names a backend snapshot that is not in metadata.db. Mounting it fails with \"does not exist: not found\". The thin device may still be there: if one device and one snapshot are left " +
			"over and their parents agree, the record can be written again.",
		Actions: []finding.ActionDoc{actIgnore, actRecreate, actUnlinkMeta}, DependsOn: []string{BoltEmpty, BoltTruncated, BoltNoMeta, BoltPage}},
	{ID: Unreferenced, Title: "snapshot that containerd does not refer to", Severity: finding.Info, Shape: finding.Orphan,
		Explain: "metadata.db has a snapshot that no entry of meta.db names. That is normal between a removal and the next garbage collection, which removes it.",
		Actions: []finding.ActionDoc{actIgnore}},
	{ID: IdentityWrong, Title: "record leads to another snapshot's thin device", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "A thin device that is made as a snapshot of another shares blocks with it and is younger, and later snapshots have later devices. Here they do not: the device ids of records are exchanged or " +
			"reused, so containers would run on somebody else's root file system, without any error. Nothing else is repaired until this is decided by a person.",
		Actions: []finding.ActionDoc{actIgnore, actRewrite}},
	{ID: PoolEmpty, Title: "the pool has no thin device at all", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "<pool>.db has records, but the pool is empty. Either the pool was made anew, or this is another pool. Nothing is repaired: dropping the records would make the loss final.",
		Actions: []finding.ActionDoc{actIgnore}},
	{ID: WrongPool, Title: "most thin devices of the records are missing from this pool", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "More devices of <pool>.db are missing from the pool than a crash can explain. This is probably another pool, or an old copy of its metadata. Nothing is repaired.",
		Actions: []finding.ActionDoc{actIgnore}},
	{ID: SeveralPoolDBs, Title: "the pool was renamed, or there are several pool databases", Severity: finding.Error, Shape: finding.Contested,
		Explain: "The snapshotter's directory has more than one pool database, or the names of its devices do not begin with the name of the pool. After pool_name was changed containerd starts with an empty database " +
			"and gives out ids that exist: \"file exists\". Nothing is repaired until one database is chosen.",
		Actions: []finding.ActionDoc{actIgnore}},
	{ID: LayerMissing, Title: "a layer is not there to be read", Severity: finding.Info, Shape: finding.Dangling,
		Explain: "One of the four layers was not given or not found. What it would have to say about the others is not judged, and the check is incomplete.",
		Actions: []finding.ActionDoc{actIgnore}},
}
