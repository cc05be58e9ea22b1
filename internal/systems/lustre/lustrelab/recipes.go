package lustrelab

import (
	"fettle/internal/lab"
)

// recipes is the table of everything that can be done to a file system, in the order in which it is shown.
func recipes() (table []recipe) {
	both := func(a, b func(*patient, *seen) bool) func(*patient, *seen) bool {
		return func(p *patient, s *seen) bool { return a(p, s) && b(p, s) }
	}
	add := func(class, title string, fits func(*patient, *seen) bool, do func(*patient, *seen) error) {
		table = append(table, recipe{Recipe: lab.Recipe{Class: class, Title: title}, fits: fits, do: do})
	}
	kept := func(class, title string, fits func(*patient, *seen) bool, do func(*patient, *seen) error) {
		add(class, title, fits, do)
		table[len(table)-1].keeps = "dangling names are kept unless told otherwise"
	}
	file, dir, far, linked := (*patient).plainFile, (*patient).plainDir, (*patient).farDir, (*patient).linked
	once, several, shard := (*patient).once, (*patient).severalNear, (*patient).shard

	kept(danglingName, "destroy files and keep their names", file, (*patient).dangle)
	kept(danglingDir, "destroy directories and keep their names", dir, (*patient).dangle)
	kept(danglingRemote, "destroy directories whose name is on another MDT", far, (*patient).dangle)
	add(orphan, "remove the names of files", both(file, linked), (*patient).lose)
	add(orphanUnknown, "remove names and link EAs of files", both(file, linked), (*patient).loseAll)
	add(orphanDir, "remove the names of directories", both(dir, linked), (*patient).lose)
	add(orphanRemote, "remove names that lead to another MDT, with their agents", both(far, linked), (*patient).lose)
	add(lostName, "remove one of several names", several, (*patient).loseOne)
	add(multipleReferenced, "let objects without a name claim that of another", both(file, linked), (*patient).claimTaken)
	add(unmatchedPair, "let link EAs say a name that does not exist", once, (*patient).otherName)
	add(unmatchedParent, "let link EAs say another directory", both(file, once), (*patient).otherParent)
	add(badType, "write wrong types into names of files", file, (*patient).mistype)
	add(badTypeDir, "write wrong types into names of directories", dir, (*patient).mistype)
	add(badNlink, "raise link counts of files", both(once, file), (*patient).countMore)
	add(nlinkLow, "lower link counts of files with several names", several, (*patient).countLess)
	add(nlinkDir, "raise link counts of directories", dir, (*patient).countMore)
	add(badNameHash, "rename files within their shard, against the hash", (*patient).inShard, (*patient).misplace)

	add(noFID, "remove FIDs from behind names", both(file, linked), (*patient).noFID)
	add(direntFIDMismatch, "write FIDs of others behind names", both(file, linked), (*patient).wrongFID)
	add(direntFIDInsane, "write impossible FIDs behind names", both(file, linked), (*patient).insaneFID)
	add(direntInode, "let names lead to the inode of another object", both(file, linked), (*patient).wrongInode)
	add(missingLMA, "remove LMAs", both(file, linked), (*patient).dropLMA)
	add(lmaWrong, "write FIDs of nobody into LMAs", both(file, linked), (*patient).wrongLMA)
	add(duplicateFID, "copy inodes with everything they say", both(file, linked), (*patient).twin)
	add(directoryTwice, "give directories a second name", both(dir, linked), (*patient).nameTwice)
	add(dotdotMismatch, "let '..' lead elsewhere", both(dir, linked), (*patient).wrongUp)

	add(linkMissing, "remove link EAs", once, (*patient).dropLink)
	add(linkCrashed, "write link EAs with a wrong magic", once, (*patient).crashLink)
	add(linkGarbled, "write link EAs with impossible records", once, (*patient).garbleLink)
	add(linkInvalidParent, "write impossible parents into link EAs", once, (*patient).insaneParent)
	add(linkInsaneRecord, "add records with an impossible parent", once, (*patient).insaneRecord)
	add(linkRedundant, "add records of names that do not exist", once, (*patient).surplusRecord)
	add(linkRepeated, "add a record a second time", once, (*patient).repeatRecord)
	add(linkOverflow, "let link EAs say that names did not fit", once, (*patient).staleOverflow)

	add(masterLMVMissing, "remove LMVs of striped directories", (*patient).master, (*patient).dropLMV)
	add(masterLMVWrong, "write impossible LMVs of striped directories", (*patient).master, (*patient).garbleMaster)
	add(masterCount, "let striped directories say that they have one more shard", (*patient).master, (*patient).countMaster)
	add(masterName, "move names of files from a shard to the striped directory itself", (*patient).inShard, (*patient).intoMaster)
	add(shardLMVMissing, "remove LMVs of shards", shard, (*patient).dropLMV)
	add(shardLMVWrong, "let shards say another number", shard, (*patient).wrongIndex)
	add(shardLMVHash, "let shards say another hash", shard, (*patient).wrongHash)
	add(shardName, "let names of shards say another number", shard, (*patient).renumber)
	add(stripeLost, "destroy shards with their names", shard, (*patient).loseStripe)
	kept(stripeDangling, "destroy shards and keep their names", shard, (*patient).dangle)

	add(agentMissing, "free the inodes behind names that lead to another MDT", far, (*patient).dropAgent)
	add(agentWrong, "let agents stand for nobody", far, (*patient).wrongAgent)
	add(agentStale, "add agents without a name", far, (*patient).strayAgent)
	add(remoteMissing, "remove entries of REMOTE_PARENT_DIR", (*patient).anyFar, (*patient).loseRemote)
	add(remoteStale, "add entries of REMOTE_PARENT_DIR for objects that have their name nearby", file, (*patient).staleRemote)
	add(indexMissing, "remove entries of the object index", (*patient).inIndex, (*patient).loseIndex)
	add(indexStale, "let the object index say another inode", (*patient).inIndex, (*patient).staleIndex)
	add(indexDead, "add entries of the object index for objects that do not exist", (*patient).inIndex, (*patient).deadIndex)
	table = append(table, recipe{Recipe: lab.Recipe{Class: randomNames, Title: "remove names at random"}, all: (*patient).loseRandom})
	return table
}

// Recipes lists what Damage can do.
func Recipes() []lab.Recipe {
	var out []lab.Recipe
	for _, r := range recipes() {
		out = append(out, r.Recipe)
	}
	return out
}
