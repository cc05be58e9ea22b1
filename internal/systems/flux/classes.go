package flux

import "fettle/internal/finding"

// Ids of the classes, for use in code. They are permanent.
const (
	DanglingValref   = "flux/dangling-valref"
	DanglingDirref   = "flux/dangling-dirref"
	DanglingRoot     = "flux/dangling-root"
	HashMismatch     = "flux/hash-mismatch"
	UndecodableBlob  = "flux/undecodable-blob"
	InvalidTreeobj   = "flux/invalid-treeobj"
	NotADirectory    = "flux/not-a-directory"
	HashStorageClass = "flux/hash-storage-class"
	DuplicateBlob    = "flux/duplicate-blob"
	DamagedOrphan    = "flux/damaged-orphan"
	EventlogOrder    = "flux/eventlog-order"
	BadCheckpoint    = "flux/bad-checkpoint"
	LostCheckpoint   = "flux/unusable-checkpoint"
	NoCheckpoint     = "flux/no-checkpoint"
	LegacyCheckpoint = "flux/legacy-checkpoint"
	BadPage          = "flux/bad-page"
	BadIndex         = "flux/bad-index"
	BadHeader        = "flux/bad-header"
	BadSchema        = "flux/bad-schema"
	TruncatedFile    = "flux/truncated-file"
	WALTruncated     = "flux/wal-truncated"
	WALCorrupt       = "flux/wal-corrupt"
	WALMissing       = "flux/wal-missing"
	LiveCopy         = "flux/live-copy"
)

var (
	actQuarantine = finding.ActionDoc{Action: finding.Quarantine,
		Does: "keeps what is readable under lost+found.<key>, takes the key out of its place and writes a new root and checkpoint; " +
			"resource.eventlog, checkpoint.resource and checkpoint.job-manager are mended in place with what survives",
		Loses: "the unreadable part of the key"}
	actRestore = finding.ActionDoc{Action: finding.Restore,
		Does:  "puts an older version of the key in its place, from an earlier checkpoint or an unreferenced blob; the finding shows which and how old",
		Loses: "what was written to the key after that version"}
	actUnlink = finding.ActionDoc{Action: finding.Unlink,
		Does:  "removes the key and keeps nothing of it",
		Loses: "the whole key, also its readable part"}
	actRollback = finding.ActionDoc{Action: finding.Rollback,
		Does:  "makes the newest checkpoint whose whole tree is good the current one; the finding shows how much time that costs",
		Loses: "everything that was written after that checkpoint, jobs included"}
	actRecreate = finding.ActionDoc{Action: finding.Recreate,
		Does:  "makes a new, almost empty root that holds the drained nodes and a job id above all that were seen, from whatever evidence is left",
		Loses: "every key"}
	actIgnore = finding.ActionDoc{Action: finding.Ignore, Does: "leaves it as it is", Loses: ""}
	actRepair = finding.ActionDoc{Action: finding.Rewrite,
		Does: "writes the record again as it must be; the content hash or the other rows prove that nothing is guessed", Loses: ""}
	actRebuild = finding.ActionDoc{Action: finding.Rebuild,
		Does:  "writes a new database beside the old one from every readable row and swaps it in; the old file is kept",
		Loses: "rows on unreadable pages; they are listed as findings of their own where a key needs them"}
	actDiscardRow = finding.ActionDoc{Action: finding.Discard, Does: "removes the row", Loses: "the row; nothing that Flux can use"}
	keyActions    = []finding.ActionDoc{actQuarantine, actRestore, actUnlink, actRollback, actRecreate, actIgnore}
	healActions   = []finding.ActionDoc{actQuarantine, actRestore, actUnlink, actRollback, actRepair, actRecreate, actIgnore}
	fileActions   = []finding.ActionDoc{actRebuild, actIgnore}
)

// Classes is the table of everything that can be wrong with a Flux content store. The first action is the default.
var Classes = finding.Classes{
	{ID: DanglingValref, Title: "value refers to a blob that is not in the store", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "A valref in a directory names a blobref for which the objects table has no row. Flux cannot read any part of the key, " +
			"not even from the blobs that are there. Causes: a write that never reached the disk, a damaged database page, a copy of a live store.",
		Actions: keyActions, DependsOn: []string{BadPage, TruncatedFile, LiveCopy}},
	{ID: DanglingDirref, Title: "directory is not in the store", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "A dirref names a blobref for which the objects table has no row. The directory and everything below it cannot be reached, " +
			"though the keys below may be whole. Before such a directory is unlinked, its older versions are looked for in earlier checkpoints and among unreferenced blobs.",
		Actions: keyActions, DependsOn: []string{BadPage, TruncatedFile, LiveCopy}},
	{ID: DanglingRoot, Title: "root directory of the checkpoint is not in the store", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "The checkpoint that Flux would start from names a root that the objects table does not have. Nothing of that checkpoint can be reached. " +
			"Earlier checkpoints and unreferenced roots are the way back.",
		Actions: []finding.ActionDoc{actRollback, actRecreate, actIgnore}, DependsOn: []string{BadPage, TruncatedFile, LiveCopy}},
	{ID: HashMismatch, Title: "content does not hash to its name", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "The row is there and can be decoded, but its content has another hash than its key. Flux never compares them: it would hand out the wrong " +
			"content. If one changed bit explains the difference, the right content is known and the row can be written again (rewrite).",
		Actions: healActions},
	{ID: UndecodableBlob, Title: "blob cannot be decoded", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "The row is there but its content cannot be had: the LZ4 block is damaged or cut off, the size column does not fit, the object is NULL, " +
			"or an overflow page of the row is unreadable. If only the size column is wrong, the hash proves the content and the row can be written again (rewrite).",
		Actions: healActions, DependsOn: []string{BadPage}},
	{ID: InvalidTreeobj, Title: "malformed tree object", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "An entry of a directory breaks a rule of RFC 11 (version, type, keys, counts, blobref, base64). The content hashes to its name, so it was written that way. " +
			"Flux refuses the whole directory because of one such entry; fettle takes out only the entry.",
		Actions: keyActions},
	{ID: NotADirectory, Title: "directory reference leads to something else", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "A dirref, or the rootref of a checkpoint, names a blob that is no directory object, though its content is what its hash says.",
		Actions: keyActions},
	{ID: HashStorageClass, Title: "row key has storage class BLOB, Flux looks for TEXT", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "Flux stores the raw hash as TEXT. A row whose key was written as BLOB, typically by a script, can never be found by Flux, though its content is complete. " +
			"Giving the key its right storage class cures it without loss.",
		Actions: []finding.ActionDoc{actRepair, actIgnore}},
	{ID: DuplicateBlob, Title: "several rows for one blob", Severity: finding.Warning, Shape: finding.Contested,
		Explain: "The table holds more than one row for the same hash. The unique index forbids it, so the index or the table is damaged, or one of the keys is of storage class BLOB. " +
			"The row whose content is right is kept.",
		Actions: []finding.ActionDoc{actDiscardRow, actIgnore}},
	{ID: DamagedOrphan, Title: "damaged blob that the checked tree does not use", Severity: finding.Warning, Shape: finding.Corrupt,
		Explain: "A row whose content is wrong or cannot be decoded, which nothing in the checked tree refers to. It is not harmless: when Flux is given the right content again, " +
			"it finds the key taken and keeps the wrong row.",
		Actions: []finding.ActionDoc{actDiscardRow, actRepair, actIgnore}},
	{ID: EventlogOrder, Title: "events of an eventlog are out of order", Severity: finding.Warning, Shape: finding.Mismatch,
		Explain: "Every blob of the log is there, but the events cannot have happened in this order: a job's log that does not begin with submit, or goes on after clean. " +
			"The job manager refuses to replay such a job when it starts. Typical of a log that was put together again from its surviving blobs.",
		Actions: []finding.ActionDoc{actQuarantine, actRestore, actUnlink, actIgnore}},
	{ID: BadCheckpoint, Title: "malformed checkpoint row", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "A row of checkpt_v2 is not a valid checkpoint (JSON, version, rootref). One such row, even an old one, keeps Flux from reading any checkpoint, so the instance does not start.",
		Actions: []finding.ActionDoc{actDiscardRow, actIgnore}},
	{ID: LostCheckpoint, Title: "older checkpoint cannot be used", Severity: finding.Warning, Shape: finding.Dangling,
		Explain: "A checkpoint row that is not the current one has a root that is missing or damaged, or, when its tree was checked too, damage somewhere in it. " +
			"Flux starts without it, but it is no way back.",
		Actions: []finding.ActionDoc{actDiscardRow, actIgnore}},
	{ID: NoCheckpoint, Title: "no usable checkpoint", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "There is no checkpoint row that leads to a root directory. Flux starts with an EMPTY store, silently: all jobs, the drained nodes and the job id history are gone. " +
			"Roots of earlier commits are usually still among the unreferenced blobs.",
		Actions: []finding.ActionDoc{
			{Action: finding.Restore, Does: "adds a checkpoint for the newest root directory found among the blobs", Loses: "what was written after that root"},
			actRecreate, actIgnore}},
	{ID: LegacyCheckpoint, Title: "legacy checkpoint that new versions of Flux refuse", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "The table checkpt (before 0.77) holds a value that is not JSON (version 0: a bare blobref). Newer versions migrate the table when they open the store and refuse this form.",
		Actions: []finding.ActionDoc{actRepair, actDiscardRow, actIgnore}},
	{ID: BadPage, Title: "unreadable page of the objects table", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "A page of the b-tree that holds the blobs is zeroed, overwritten, linked wrongly or out of order. Rows on leaf pages below it may be whole; they are found by reading every page of the file.",
		Actions: fileActions},
	{ID: BadIndex, Title: "hash index does not agree with the table", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "Flux finds a blob through the unique index on hash. Pages of the index are unreadable, or its entries are not those of the table, so Flux misses rows that are there.",
		Actions: fileActions},
	{ID: BadHeader, Title: "damaged SQLite header", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "The first 100 bytes of the file are not a valid SQLite header, so SQLite refuses the file, though all pages behind it may be whole.",
		Actions: fileActions},
	{ID: BadSchema, Title: "tables are missing or not as Flux made them", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "The table objects is not in the schema, the schema page is unreadable, or the file has no content at all. Flux makes empty tables where it finds none and starts with an EMPTY store.",
		Actions: fileActions, DependsOn: []string{WALMissing}},
	{ID: TruncatedFile, Title: "file is shorter than its header says", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "Pages that the database refers to lie behind the end of the file. The rows on them are lost.",
		Actions: fileActions, DependsOn: []string{LiveCopy}},
	{ID: WALTruncated, Title: "write-ahead log ends too early", Severity: finding.Warning, Shape: finding.Corrupt,
		Explain: "The -wal ends inside a frame. SQLite reads it up to the last complete commit and silently drops the rest, so the store is consistent but older than it was.",
		Actions: []finding.ActionDoc{
			{Action: finding.Rewrite, Does: "moves the committed part of the -wal into the database, as SQLite would, and removes the -wal", Loses: "nothing that SQLite would read"}, actIgnore}},
	{ID: WALCorrupt, Title: "write-ahead log is damaged", Severity: finding.Warning, Shape: finding.Corrupt,
		Explain: "A frame of the -wal, or its header, fails its checksum. SQLite reads the log up to the last good commit before it and silently drops everything after, also what is whole.",
		Actions: []finding.ActionDoc{
			{Action: finding.Rewrite, Does: "moves the committed good part of the -wal into the database, as SQLite would, and removes the -wal", Loses: "nothing that SQLite would read"}, actIgnore}},
	{ID: WALMissing, Title: "database without the write-ahead log it needs", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "The file says that it is used with a -wal, but holds no tables or points to pages that it does not have, and there is no -wal beside it: what was written is in a -wal elsewhere. " +
			"Copy content.sqlite and content.sqlite-wal together.",
		Actions: []finding.ActionDoc{actIgnore}},
	{ID: LiveCopy, Title: "looks like a copy of a live store", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "Pages of different moments are mixed: row ids out of order and references behind the end of the file, with good pages around them. That is what a copy made while Flux was writing looks like. " +
			"The original may be in order: stop Flux (or take a snapshot) and copy content.sqlite and content.sqlite-wal together.",
		Actions: fileActions},
}
