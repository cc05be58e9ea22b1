package lustre

import "fettle/internal/finding"

var targetClasses = finding.Classes{
	{ID: AgentMissing, Aliases: []string{"lustre/agent_entries_repaired"}, Title: "remote name without an agent", Severity: finding.Warning, Shape: finding.Mismatch,
		Explain: "The inode number of a name whose object is on another MDT has to lead to an agent, an inode that stands for the object. Here it leads elsewhere, or nowhere. Lustre goes by the FID and does not " +
			"notice; e2fsck would offer to remove the name.",
		Actions: []finding.ActionDoc{actRecreate, actIgnore}},
	{ID: AgentStale, Title: "agent that no name leads to", Severity: finding.Warning, Shape: finding.Orphan,
		Explain: "An inode stands for an object of another MDT, and no name on this MDT leads to it. e2fsck would put it into lost+found.",
		Actions: []finding.ActionDoc{actClear, actIgnore}, DependsOn: []string{Orphan, DanglingName, AgentMissing}},
	{ID: RemoteMissing, Aliases: []string{"lustre/remote-parent-entry-missing"}, Title: "remote object is not in REMOTE_PARENT_DIR", Severity: finding.Warning, Shape: finding.Mismatch,
		Explain: "An object whose names are all on other MDTs has an entry in REMOTE_PARENT_DIR of its own MDT, so that e2fsck does not take it for lost. Here there is none.",
		Actions: []finding.ActionDoc{actRecreate, actIgnore}},
	{ID: RemoteStale, Aliases: []string{"lustre/remote-parent-entry-stale"}, Title: "stale entry in REMOTE_PARENT_DIR", Severity: finding.Warning, Shape: finding.Dangling,
		Explain: "REMOTE_PARENT_DIR has an entry for an object that is gone, that is another inode, or that has names on its own MDT only.",
		Actions: []finding.ActionDoc{actClear, actIgnore}, DependsOn: []string{DanglingName}},
	{ID: IndexMissing, Title: "object index lacks an object", Severity: finding.Warning, Shape: finding.Mismatch,
		Explain: "The object index (oi.16.*), by which an MDT finds an inode by its FID, has no entry for an object. OI scrub puts it in when the object is met.",
		Actions: []finding.ActionDoc{actRewrite, actIgnore}, DependsOn: []string{DuplicateFID}},
	{ID: IndexStale, Title: "object index has a wrong entry", Severity: finding.Warning, Shape: finding.Mismatch,
		Explain: "An entry of the object index leads to an inode that is free, that is another object, or that is not where the object is.",
		Actions: []finding.ActionDoc{actRewrite, actIgnore}, DependsOn: []string{DanglingName, DuplicateFID}},
	{ID: Damage, Title: "damage below Lustre", Severity: finding.Error, Shape: finding.Corrupt,
		Explain: "The ldiskfs file system itself is damaged: a directory block, an inode, an attribute or a group descriptor cannot be read as it should. Names or objects may be hidden behind it. This is for e2fsck " +
			"of the Lustre distribution; that of other distributions destroys the FIDs in names.",
		Actions: []finding.ActionDoc{actIgnore}},
}
