package lustre

import "fettle/internal/finding"

var targetClasses = finding.Classes{
	{ID: AgentMissing, Aliases: []string{"lustre/agent_entries_repaired"}, Title: "remote name without an agent", Severity: finding.Warning, Shape: finding.Mismatch,
		Explain: "The inode number of a name whose object is on another MDT has to lead to an agent, an inode that stands for the object. Here it leads elsewhere, or nowhere. Lustre goes by the FID and does not " +
			"notice; e2fsck would offer to remove the name.",
		Actions: []finding.ActionDoc{actRecreate, actIgnore}},
	{ID: AgentStale, Aliases: []string{"lustre/agent-orphan"}, Title: "agent that no name leads to", Severity: finding.Warning, Shape: finding.Orphan,
		Explain: "An inode stands for an object of another MDT, and no name on this MDT leads to it. e2fsck would put it into lost+found.",
		Actions: []finding.ActionDoc{actClear, actIgnore}, DependsOn: []string{Orphan, DanglingName, AgentMissing}},
	{ID: RemoteMissing, Aliases: []string{"lustre/remote-parent-entry-missing"}, Title: "remote object is not in REMOTE_PARENT_DIR", Severity: finding.Warning, Shape: finding.Mismatch,
		Explain: "An object whose names are all on other MDTs has an entry in REMOTE_PARENT_DIR of its own MDT, so that e2fsck does not take it for lost. Here there is none.",
		Actions: []finding.ActionDoc{actRecreate, actIgnore}},
	{ID: RemoteStale, Aliases: []string{"lustre/remote-parent-entry-stale"}, Title: "stale entry in REMOTE_PARENT_DIR", Severity: finding.Warning, Shape: finding.Dangling,
		Explain: "REMOTE_PARENT_DIR has an entry for an object that is gone, that is another inode, or that has names on its own MDT only.",
		Actions: []finding.ActionDoc{actClear, actIgnore}, DependsOn: []string{DanglingName}},
	{ID: RemoteFlag, Aliases: []string{"lustre/remote-parent-mark"}, Title: "LMA has a wrong mark", Severity: finding.Warning, Shape: finding.Mismatch,
		Explain: "The LMA of an object has the mark REMOTE_PARENT if and only if REMOTE_PARENT_DIR of its MDT has an entry for it. Servers look at the mark only: without it the entry is left behind when the " +
			"object is removed, and with it an entry that is not there is to be removed. " +
			"Or the LMA has the mark AGENT, and the inode is no agent: its FID belongs to the MDT that it is on, and it has permissions or a link EA. OI scrub and LFSCK pass such an object by.",
		Actions: []finding.ActionDoc{actRewrite, actIgnore}, DependsOn: []string{RemoteMissing, RemoteStale}},
	{ID: AgentType, Title: "agent of another type than its object", Severity: finding.Warning, Shape: finding.Mismatch,
		Explain: "The agent behind a name whose object is on another MDT has another type than the object. Lustre does not look at it; e2fsck takes the type of the agent for that of the name, and \"corrects\" the name.",
		Actions: []finding.ActionDoc{actRecreate, actIgnore}, DependsOn: []string{AgentMissing}},
	{ID: WrongMDT, Aliases: []string{"lustre/fld-mismatch"}, Title: "object on an MDT that does not own its FID", Severity: finding.Error, Shape: finding.Mismatch,
		Explain: "By the FLD the object's FID belongs to another MDT, where clients look for it: its names give ENOENT. It was restored or copied to the wrong target, or its LMA is wrong. rewrite gives it a FID of the MDT " +
			"that it is on, in its LMA, its names and the object index; not to directories that are in use, whose entries all tell of the old one. What else knows the FID (NFS handles, HSM, changelogs) no longer finds it.",
		Actions: []finding.ActionDoc{actReport, actNewFID, actIgnore}, DependsOn: []string{DuplicateFID, DirentFIDMismatch}},
	{ID: IndexMissing, Aliases: []string{"lustre/oi-lost"}, Title: "object index lacks an object", Severity: finding.Warning, Shape: finding.Mismatch,
		Explain: "The object index (oi.16.*), by which an MDT finds an inode by its FID, has no entry for an object. OI scrub puts it in when the object is met.",
		Actions: []finding.ActionDoc{actRewrite, actIgnore}, DependsOn: []string{DuplicateFID}},
	{ID: IndexStale, Title: "object index has a wrong entry", Severity: finding.Warning, Shape: finding.Mismatch,
		Explain: "An entry of the object index leads to an inode that is free, that is another object, or that is not where the object is.",
		Actions: []finding.ActionDoc{actRewrite, actIgnore}, DependsOn: []string{DanglingName, DuplicateFID}},
	{ID: Damage, Title: "damage below Lustre", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "The ldiskfs file system itself is damaged: a directory block, an inode, an attribute or a group descriptor cannot be read as it should. Names or objects may be hidden behind it; so is what the " +
			"second of two equal names in a directory leads to, and of these nothing is removed here. This is for e2fsck " +
			"of the Lustre distribution; that of other distributions destroys the FIDs in names.",
		Actions: []finding.ActionDoc{actIgnore}},
}
