package lustre

import "fettle/internal/finding"

var entryClasses = finding.Classes{
	{ID: NoFID, Aliases: []string{"lustre/fid-in-dirent-missing"}, Title: "name without a FID", Severity: finding.Warning, Shape: finding.Corrupt,
		Explain: "A directory entry holds the inode number only, not the FID. Servers then have to read the inode to list the directory, and remote objects cannot be found at all. " +
			"A restore of a file-level backup leaves all names like this.",
		Actions: []finding.ActionDoc{actTrustObject, actIgnore}},
	{ID: DirentFIDMismatch, Title: "FID in the name is not that of the object", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "The entry's inode number leads to an object that knows the name, but the FID in the entry is another one, which no object has. Clients get ENOENT for the name. Either the entry " +
			"is wrong or the inode's LMA; the object index tells which.",
		Actions: []finding.ActionDoc{actTrustObject, actTrustName, actIgnore}, DependsOn: []string{DuplicateFID}},
	{ID: DirentFIDInsane, Title: "FID in the name cannot be one", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "The FID in a directory entry is outside of everything that is ever given out. The entry's inode says which object is meant.",
		Actions: []finding.ActionDoc{actTrustObject, actIgnore}},
	{ID: DirentInode, Title: "name has the wrong inode number", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "The FID in a directory entry is that of an object on the same MDT, but the entry's inode number is another one. Lustre goes by the FID; e2fsck and everything below go by the number.",
		Actions: []finding.ActionDoc{actRewrite, actIgnore}},
	{ID: MissingLMA, Aliases: []string{"lustre/lma-missing"}, Title: "inode does not say which object it is", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "The attribute trusted.lma, which holds an object's FID, is gone or cannot be read. A name or the object index still leads to the inode and tells the FID.",
		Actions: []finding.ActionDoc{actTrustName, actIgnore}},
	{ID: DuplicateFID, Title: "several inodes are the same object", Severity: finding.Error, Shape: finding.Contested,
		Explain: "Two or more inodes carry the same FID. Names, link EAs and the object index tell which of them is meant; what the others are may be told by a name that leads to their inode number. " +
			"Where the index, a name and its link EA all mean one inode and nothing leads to the others, these get new FIDs and names in lost+found; a layout that is the same stays with the one that is meant, so that " +
			"deleting the others destroys no data. Otherwise it is left to a person: other layouts may have objects on the OSTs in common.",
		Actions: []finding.ActionDoc{actRewrite, actLostFound, actIgnore}},
	{ID: DotdotMismatch, Aliases: []string{"lustre/dotdot"}, Title: "'..' does not lead to the parent", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "The entry '..' of a directory does not have the FID of the directory that names it, or not its inode number (that of REMOTE_PARENT_DIR when the parent is on another MDT).",
		Actions: []finding.ActionDoc{actTrustName, actIgnore}, DependsOn: []string{UnmatchedPair, LinkMissing, DirectoryTwice}},
	{ID: DirectoryTwice, Title: "directory with more than one name", Severity: finding.Error, Shape: finding.Contested,
		Explain: "A directory can have one name only. The one that link EA and '..' know is right; the others are removed.",
		Actions: []finding.ActionDoc{actTrustLink, actIgnore}},

	{ID: MasterLMVMissing, Aliases: []string{"lustre/master-lmv-lost", "lustre/lmv-missing"}, Title: "master of a striped directory has lost its layout", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "A directory holds names of shards, or is marked as striped, and has no trusted.lmv. Clients see the shards as sub-directories with odd names instead of what is in them. The layout is made anew from the shards. What was made in the " +
			"directory itself meanwhile is moved to the shard that its hash leads to; if a name is taken there nothing is done.",
		Actions: []finding.ActionDoc{actRewrite, actIgnore}},
	{ID: MasterLMVWrong, Aliases: []string{"lustre/master-lmv-wrong"}, Title: "layout of a striped directory's master is wrong", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "trusted.lmv of a master cannot be right: an impossible number of shards, an unknown hash, the wrong MDT.",
		Actions: []finding.ActionDoc{actRewrite, actIgnore}},
	{ID: MasterName, Title: "ordinary names in the master of a striped directory", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "The master of a striped directory may hold names of shards only; other names are not seen by clients. They are moved to the shard that their hash leads to.",
		Actions: []finding.ActionDoc{actMove, actIgnore}},
	{ID: ShardLMVMissing, Aliases: []string{"lustre/shard-lmv-lost"}, Title: "shard has lost its layout", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "A directory that a master names as its shard has no trusted.lmv. It is made anew from the master's and the number in the name.",
		Actions: []finding.ActionDoc{actRewrite, actIgnore}},
	{ID: ShardLMVWrong, Title: "layout of a shard is wrong", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "The number of the shard, of all shards, or the hash in a shard's trusted.lmv is not what the master and the shard's name say. Names in the shard then seem to be in the wrong place, and must not be moved.",
		Actions: []finding.ActionDoc{actRewrite, actIgnore}},
	{ID: ShardName, Title: "name of a shard has the wrong number or FID", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "The name of a shard in its master is FID:NUMBER. Here the shard's layout and its link EA agree on another number, or the FID is not that of the shard.",
		Actions: []finding.ActionDoc{actTrustObject, actIgnore}},
	{ID: StripeLost, Title: "master has no name for a shard", Severity: finding.Error, Shape: finding.Dangling,
		Explain: "The layout of a striped directory counts more shards than its master has names for. What is in the shard cannot be reached. If the shard itself is there it is reported as an orphan; else an empty one can be made.",
		Actions: []finding.ActionDoc{actKeep, actRecreate, actIgnore}, DependsOn: []string{Orphan, ShardName}},
}
