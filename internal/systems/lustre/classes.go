package lustre

import "fettle/internal/finding"

// Ids of the classes, for use in code. They are permanent.
const (
	// The seven cases of the LFSCK design.
	DanglingName       = "lustre/dangling-name"
	Orphan             = "lustre/orphan-object"
	MultipleReferenced = "lustre/multiple-referenced-name"
	UnmatchedPair      = "lustre/unmatched-pair"
	BadType            = "lustre/bad-type"
	BadNlink           = "lustre/bad-nlink"
	BadNameHash        = "lustre/bad-name-hash"

	// Link EA.
	LinkMissing       = "lustre/linkea-missing"
	LinkCrashed       = "lustre/linkea-crashed"
	LinkInvalidParent = "lustre/linkea-invalid-parent"
	LinkRedundant     = "lustre/linkea-redundant"
	LinkRepeated      = "lustre/linkea-repeated"
	LinkOverflow      = "lustre/linkea-overflow"
	LostName          = "lustre/lost-name"

	// Names, FIDs and inodes.
	NoFID             = "lustre/no-fid-in-dirent"
	DirentFIDMismatch = "lustre/dirent-fid-mismatch"
	DirentFIDInsane   = "lustre/dirent-fid-insane"
	DirentInode       = "lustre/dirent-inode-mismatch"
	MissingLMA        = "lustre/missing-lma"
	DuplicateFID      = "lustre/duplicate-fid"
	DotdotMismatch    = "lustre/dotdot-mismatch"
	DirectoryTwice    = "lustre/directory-linked-twice"

	// Striped directories.
	MasterLMVMissing = "lustre/master-lmv-missing"
	MasterLMVWrong   = "lustre/master-lmv-mismatch"
	MasterName       = "lustre/master-holds-name"
	ShardLMVMissing  = "lustre/shard-lmv-missing"
	ShardLMVWrong    = "lustre/shard-lmv-mismatch"
	ShardName        = "lustre/shard-name-index"
	StripeLost       = "lustre/stripe-lost"

	// What an MDT keeps for itself.
	AgentMissing  = "lustre/agent-missing"
	AgentStale    = "lustre/agent-stale"
	RemoteMissing = "lustre/remote-parent-missing"
	RemoteStale   = "lustre/remote-parent-stale"
	RemoteFlag    = "lustre/remote-parent-flag"
	AgentType     = "lustre/agent-type"
	WrongMDT      = "lustre/wrong-mdt"
	IndexMissing  = "lustre/oi-missing"
	IndexStale    = "lustre/oi-stale"
	Damage        = "lustre/ldiskfs-damage"
)

// lfsckCounter is the counter of lfsck_namespace that a class would raise, without the ending _repaired.
var lfsckCounter = map[string]string{
	DanglingName: "dangling", Orphan: "lost_dirent", LostName: "lost_dirent", MultipleReferenced: "multiple_referenced",
	UnmatchedPair: "unmatched_pairs", DotdotMismatch: "unmatched_pairs", BadType: "bad_file_type", BadNlink: "nlinks", BadNameHash: "name_hash",
	LinkMissing: "linkea", LinkCrashed: "linkea", LinkInvalidParent: "linkea", LinkRedundant: "linkea", LinkRepeated: "linkea",
	NoFID: "dirent", DirentFIDMismatch: "dirent", DirentFIDInsane: "dirent", DirentInode: "dirent", MissingLMA: "dirent", ShardName: "dirent",
	MasterLMVMissing: "striped_dirs", MasterLMVWrong: "striped_dirs", MasterName: "striped_dirs", StripeLost: "striped_dirs",
	ShardLMVMissing: "striped_shards", ShardLMVWrong: "striped_shards", AgentMissing: "agent_entries", AgentStale: "agent_entries",
	RemoteMissing: "agent_entries", RemoteStale: "agent_entries", RemoteFlag: "agent_entries", AgentType: "agent_entries", LinkOverflow: "linkea_overflow",
}

// Classes is the table of everything that can be wrong with a namespace. The first action is the default of a class, which is the
// policy of the LFSCK design where that has one.
var Classes = append(append(append(finding.Classes{}, designClasses...), entryClasses...), targetClasses...)

var designClasses = finding.Classes{
	{ID: DanglingName, Aliases: []string{"lustre/dangling", "lustre/dangling_repaired"}, Title: "name whose object is gone", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "A directory has a name for a FID, and no inode of the MDT that the FID belongs to is that object. Clients see the name and get ENOENT, or EIO. LFSCK counts it " +
			"as dangling_repaired even when it only reports it. If the object's MDT was not given nothing is said. Where the object's inode is whole, and only its mark in the bitmap is lost, restore is " +
			"suggested.",
		Actions: []finding.ActionDoc{actKeep, actRemove, actRecreate, actRestore, actIgnore}, DependsOn: []string{Damage}},
	{ID: Orphan, Aliases: []string{"lustre/orphan", "lustre/lost-dirent", "lustre/lost_dirent_repaired"}, Title: "object that no name leads to", Severity: finding.Error, Shape: finding.Orphan,
		Explain: "An inode of the namespace has no name on any MDT, and is neither open-unlinked (PENDING) nor a file of the target itself. Its link EA usually tells where it belongs. LFSCK finds " +
			"this only when the link EA speaks of another MDT or has several records; an orphan that is local to one MDT it never finds.",
		Actions: []finding.ActionDoc{actReattach, actLostFound, actDestroy, actIgnore}, DependsOn: []string{DanglingName, MissingLMA, DirentFIDMismatch, Damage}},
	{ID: MultipleReferenced, Aliases: []string{"lustre/multiple-referenced", "lustre/multiple_referenced_repaired"}, Title: "two objects claim one name", Severity: finding.Error, Shape: finding.Contested,
		Explain: "An object without a name says in its link EA that it is a name which leads to another object that exists. The name stays with that one; this object goes to lost+found.",
		Actions: []finding.ActionDoc{actLostFound, actDestroy, actIgnore}, DependsOn: []string{Damage}},
	{ID: UnmatchedPair, Aliases: []string{"lustre/unmatched", "lustre/unmatched_pairs_repaired"}, Title: "name and link EA do not match", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "A name leads to an object whose link EA tells of another name or parent, where there is no such name. The name is trusted, because it is what clients used. " +
			"Until it is corrected fid2path gives wrong paths, and a later LFSCK may move the object.",
		Actions: []finding.ActionDoc{actTrustName, actTrustLink, actIgnore}},
	{ID: BadType, Aliases: []string{"lustre/bad_file_type_repaired"}, Title: "type in the name is not the object's", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "A directory entry says what type its object has, so that listing needs no look at the inode. Here it says something else than the inode's mode. The object is right.",
		Actions: []finding.ActionDoc{actTrustObject, actIgnore}},
	{ID: BadNlink, Aliases: []string{"lustre/nlinks_repaired", "lustre/nlink"}, Title: "link count is wrong", Severity: finding.Error, Shape: finding.Miscount,
		Explain: "The link count of a file is not the number of its names, or that of a directory not 2 plus its sub-directories (names of remote ones included). Too low, and the object is destroyed while " +
			"names are left; too high, and it is never destroyed. LFSCK only raises the count of files, and never looks at directories. Counts are not judged while names may be on an MDT that was not given.",
		Actions: []finding.ActionDoc{actRewrite, actIgnore}, DependsOn: []string{Orphan, DanglingName, BadType, Damage}},
	{ID: BadNameHash, Aliases: []string{"lustre/name_hash_repaired"}, Title: "name in the wrong shard", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "A striped directory spreads names over its shards by a hash. This name is in a shard that its hash does not lead to, so clients do not find it by name although listing shows it. While a " +
			"directory is migrated, split or merged, old and new place are both right. LFSCK moves nothing: it flags the whole directory as of unknown hash.",
		Actions: []finding.ActionDoc{actMove, actTrustLink, actIgnore}, DependsOn: []string{ShardLMVWrong, ShardLMVMissing, MasterLMVWrong}},
	{ID: LinkMissing, Aliases: []string{"lustre/linkea_repaired"}, Title: "link EA lacks a name", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "A name leads to an object whose link EA is not there, or has no record of it. fid2path does not work, and if the name is ever lost nobody can tell where the object belongs. " +
			"Objects that are older than link EAs (IGIF) are not reported.",
		Actions: []finding.ActionDoc{actTrustName, actIgnore}},
	{ID: LinkCrashed, Aliases: []string{"lustre/linkea-garbled"}, Title: "link EA cannot be read", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "The link EA has a wrong magic number, length, count or record length. Servers treat it as destroyed. It is built anew from the object's names.",
		Actions: []finding.ActionDoc{actTrustName, actIgnore}},
	{ID: LinkInvalidParent, Title: "link EA names a parent that cannot be", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "The record of a name in the link EA has a parent FID, or a name, that no server could have written. The name itself is there, so the record is written anew.",
		Actions: []finding.ActionDoc{actTrustName, actIgnore}},
	{ID: LinkRedundant, Aliases: []string{"lustre/multiple_linked_repaired"}, Title: "link EA tells of a name that does not exist", Severity: finding.Warning, Shape: finding.Dangling,
		Explain: "All names of the object are in its link EA, and it has records besides for which there is neither a name nor a link. fid2path may give paths that do not exist.",
		Actions: []finding.ActionDoc{actTrustName, actIgnore}},
	{ID: LinkRepeated, Aliases: []string{"lustre/linkea-duplicate"}, Title: "link EA has a record twice", Severity: finding.Warning, Shape: finding.Corrupt,
		Explain: "The link EA records one name more than once, so that it counts more names than there are.",
		Actions: []finding.ActionDoc{actTrustName, actIgnore}},
	{ID: LinkOverflow, Aliases: []string{"lustre/linkea_overflow_cleared"}, Title: "link EA says that names did not fit, and all do", Severity: finding.Info, Shape: finding.Mismatch,
		Explain: "When an object has more names than its link EA can hold, the time is noted, and LFSCK stops judging its link count. Here all names are recorded: the mark is out of date.",
		Actions: []finding.ActionDoc{actRewrite, actIgnore}},
	{ID: LostName, Title: "one of several names is lost", Severity: finding.Error, Shape: finding.Orphan,
		Explain: "A file has names, and its link EA and link count tell of one more that its directory does not have. The name is put back.",
		Actions: []finding.ActionDoc{actReattach, actTrustName, actIgnore}, DependsOn: []string{DanglingName, Damage}},
}
