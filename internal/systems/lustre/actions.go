package lustre

import "fettle/internal/finding"

// Actions that only this system has. Those that decide between witnesses are named after the one they trust.
const (
	Keep        finding.Action = "keep"         // leave a dangling name where it is
	Remove      finding.Action = "remove"       // remove a name
	Reattach    finding.Action = "reattach"     // give an object its name back
	TrustName   finding.Action = "trust-name"   // what the name says is right
	TrustObject finding.Action = "trust-object" // what the inode says is right
	TrustLinkEA finding.Action = "trust-linkea" // what the link EA says is right
	Move        finding.Action = "move"         // move a name to the shard that its hash leads to
)

var (
	actIgnore = finding.ActionDoc{Action: finding.Ignore, Does: "leaves it as it is"}
	actKeep   = finding.ActionDoc{Action: Keep, Does: "leaves the name where it is, so that a person may still find out what it was"}
	actRemove = finding.ActionDoc{Action: Remove, Does: "removes the name, and the agent behind it; that of a shard stays",
		Loses: "the name, and with it the knowledge that there was such an object"}
	actRecreate = finding.ActionDoc{Action: finding.Recreate,
		Does:  "makes an empty object with the lost FID where the FLD wants it: a directory of mode 0700, or a file of mode 0600 without a layout",
		Loses: "nothing; what was in the object is gone already"}
	actReattach = finding.ActionDoc{Action: Reattach,
		Does: "puts the name that the link EA tells back into its directory (of a striped one into the shard that its hash leads to), with agent and entry of REMOTE_PARENT_DIR where the directory is on another MDT; " +
			"if the name is taken or the directory gone, as for quarantine"}
	actLostFound = finding.ActionDoc{Action: finding.Quarantine,
		Does: "gives the object a name in .lustre/lost+found/MDTxxxx, formed as LFSCK does: its FID, that of its parent if known, and a letter (O no place known, D directory, S shard, P parent made anew)"}
	// Not irreversible: the journal has every block that changes, and undo gives the object back as long as nothing was mounted meanwhile. What
	// is on the OSTs is not touched.
	actDestroy = finding.ActionDoc{Action: finding.Discard,
		Does: "frees the object's inode with its blocks and attributes, its entries in the object index and in REMOTE_PARENT_DIR, and its agents; a directory only if it is empty. " +
			"Its objects on the OSTs stay and leak, until lctl lfsck_start -t layout -o finds them",
		Loses: "the object; for a file also the knowledge where its data is on the OSTs"}
	actRestore = finding.ActionDoc{Action: finding.Restore,
		Does: "marks the inode as in use again that is the object, whole, and only marked as free; if none of its blocks belongs to anything else by now"}
	actTrustName = finding.ActionDoc{Action: TrustName, Does: "writes the object's record anew from its names"}
	actTrustLink = finding.ActionDoc{Action: TrustLinkEA, Does: "changes names as the link EA tells: wrong ones go, missing ones are put in",
		Loses: "the names that the link EA does not know"}
	actTrustObject = finding.ActionDoc{Action: TrustObject, Does: "writes into the name what the object itself says"}
	actRewrite     = finding.ActionDoc{Action: finding.Rewrite, Does: "writes the record again as the other witnesses prove it"}
	actMove        = finding.ActionDoc{Action: Move,
		Does: "puts the name into the shard that its hash leads to, with what a remote name needs, then takes it out of the wrong one"}
	actReport = finding.ActionDoc{Action: Keep, Does: "leaves it to a person"}
	actNewFID = finding.ActionDoc{Action: finding.Rewrite, Does: "gives the object a FID of the MDT that it is on", Loses: "the FID, by which others than its names may know it"}
	actClear  = finding.ActionDoc{Action: finding.Discard, Does: "removes the record, which stands for nothing"}
)
