package lustrelab

import (
	"fettle/internal/lab"
)

// table gathers recipes, in the order in which they are shown.
type table []recipe

func (t *table) add(class, title string, fits func(*patient, *seen) bool, do func(*patient, *seen) error) {
	*t = append(*t, recipe{Recipe: lab.Recipe{Class: class, Title: title}, fits: fits, do: do})
}

// kept adds a recipe whose damage the default actions leave: findings of the class keeps.
func (t *table) kept(keeps, class, title string, fits func(*patient, *seen) bool, do func(*patient, *seen) error) {
	t.add(class, title, fits, do)
	(*t)[len(*t)-1].keeps = keeps
}

func both(a, b func(*patient, *seen) bool) func(*patient, *seen) bool {
	return func(p *patient, s *seen) bool { return a(p, s) && b(p, s) }
}

// recipes is everything that can be done to a file system.
func recipes() []recipe {
	var t table
	t.pairs()
	t.objects()
	t.links()
	t.stripes()
	t.local()
	t = append(t, recipe{Recipe: lab.Recipe{Class: randomNames, Title: "remove names at random"}, all: (*patient).loseRandom})
	return t
}

// pairs are names and objects that do not go together.
func (t *table) pairs() {
	t.kept(danglingName, danglingName, "destroy files and keep their names", (*patient).plainFile, (*patient).dangle)
	t.kept(danglingName, danglingDir, "destroy directories and keep their names", (*patient).plainDir, (*patient).dangle)
	t.kept(danglingName, danglingRemote, "destroy directories whose name is on another MDT", (*patient).farDir, (*patient).dangle)
	t.add(orphan, "remove the names of files", both((*patient).plainFile, (*patient).linked), (*patient).lose)
	t.add(orphanUnknown, "remove names and link EAs of files", both((*patient).plainFile, (*patient).linked), (*patient).loseAll)
	t.add(orphanDir, "remove the names of directories", both((*patient).plainDir, (*patient).linked), (*patient).lose)
	t.add(orphanRemote, "remove names that lead to another MDT, with their agents", both((*patient).farDir, (*patient).linked), (*patient).lose)
	t.add(lostName, "remove one of several names", (*patient).severalNear, (*patient).loseOne)
	t.add(multipleReferenced, "let objects without a name claim that of another", both((*patient).plainFile, (*patient).linked), (*patient).claimTaken)
	t.add(unmatchedPair, "let link EAs say a name that does not exist", (*patient).once, (*patient).otherName)
	t.add(unmatchedParent, "let link EAs say another directory", both((*patient).plainFile, (*patient).once), (*patient).otherParent)
	t.add(badType, "write wrong types into names of files", (*patient).plainFile, (*patient).mistype)
	t.add(badTypeDir, "write wrong types into names of directories", (*patient).plainDir, (*patient).mistype)
	t.add(badNlink, "raise link counts of files", both((*patient).once, (*patient).plainFile), (*patient).countMore)
	t.add(nlinkLow, "lower link counts of files with several names", (*patient).severalNear, (*patient).countLess)
	t.add(nlinkDir, "raise link counts of directories", (*patient).plainDir, (*patient).countMore)
	t.add(badNameHash, "rename files within their shard, against the hash", (*patient).inShard, (*patient).misplace)
}

// objects are FIDs, inodes and '..'.
func (t *table) objects() {
	t.add(noFID, "remove FIDs from behind names", both((*patient).plainFile, (*patient).linked), (*patient).noFID)
	t.add(direntFIDMismatch, "write FIDs of others behind names", both((*patient).plainFile, (*patient).linked), (*patient).wrongFID)
	t.add(direntFIDInsane, "write impossible FIDs behind names", both((*patient).plainFile, (*patient).linked), (*patient).insaneFID)
	t.add(direntInode, "let names lead to the inode of another object", both((*patient).plainFile, (*patient).linked), (*patient).wrongInode)
	t.add(missingLMA, "remove LMAs", both((*patient).plainFile, (*patient).linked), (*patient).dropLMA)
	t.add(lmaWrong, "write FIDs of nobody into LMAs", both((*patient).plainFile, (*patient).linked), (*patient).wrongLMA)
	t.add(duplicateFID, "copy inodes with everything they say", both((*patient).plainFile, (*patient).linked), (*patient).twin)
	t.add(directoryTwice, "give directories a second name", both((*patient).plainDir, (*patient).linked), (*patient).nameTwice)
	t.add(dotdotMismatch, "let '..' lead elsewhere", both((*patient).plainDir, (*patient).linked), (*patient).wrongUp)
}

func (t *table) links() {
	t.add(linkMissing, "remove link EAs", (*patient).once, (*patient).dropLink)
	t.add(linkCrashed, "write link EAs with a wrong magic", (*patient).once, (*patient).crashLink)
	t.add(linkGarbled, "write link EAs with impossible records", (*patient).once, (*patient).garbleLink)
	t.add(linkInvalidParent, "write impossible parents into link EAs", (*patient).once, (*patient).insaneParent)
	t.add(linkInsaneRecord, "add records with an impossible parent", (*patient).once, (*patient).insaneRecord)
	t.add(linkRedundant, "add records of names that do not exist", (*patient).once, (*patient).surplusRecord)
	t.add(linkRepeated, "add a record a second time", (*patient).once, (*patient).repeatRecord)
	t.add(linkOverflow, "let link EAs say that names did not fit", (*patient).once, (*patient).staleOverflow)
}

func (t *table) stripes() {
	t.add(masterLMVMissing, "remove LMVs of striped directories", (*patient).master, (*patient).dropLMV)
	t.add(masterLMVWrong, "write impossible LMVs of striped directories", (*patient).master, (*patient).garbleMaster)
	t.add(masterCount, "let striped directories say that they have one more shard", (*patient).master, (*patient).countMaster)
	t.add(masterName, "move names of files from a shard to the striped directory itself", (*patient).inShard, (*patient).intoMaster)
	t.add(shardLMVMissing, "remove LMVs of shards", (*patient).shard, (*patient).dropLMV)
	t.add(shardLMVWrong, "let shards say another number", (*patient).shard, (*patient).wrongIndex)
	t.add(shardLMVHash, "let shards say another hash", (*patient).shard, (*patient).wrongHash)
	t.add(shardName, "let names of shards say another number", (*patient).shard, (*patient).renumber)
	t.kept(stripeLost, stripeLost, "destroy shards with their names", (*patient).shard, (*patient).loseStripe)
	t.kept(danglingName, stripeDangling, "destroy shards and keep their names", (*patient).shard, (*patient).dangle)
}

// local is what every MDT keeps for itself.
func (t *table) local() {
	t.add(agentMissing, "free the inodes behind names that lead to another MDT", (*patient).farDir, (*patient).dropAgent)
	t.add(agentWrong, "let agents stand for nobody", (*patient).farDir, (*patient).wrongAgent)
	t.add(agentStale, "add agents without a name", (*patient).farDir, (*patient).strayAgent)
	t.add(remoteMissing, "remove entries of REMOTE_PARENT_DIR", (*patient).anyFar, (*patient).loseRemote)
	t.add(remoteStale, "add entries of REMOTE_PARENT_DIR for objects that have their name nearby", (*patient).plainFile, (*patient).staleRemote)
	t.add(remoteFlag, "mark objects as having a remote parent that have none", (*patient).plainFile, (*patient).turnFlag)
	t.add(remoteFlagLost, "take the mark of a remote parent from objects that have one", (*patient).anyFar, (*patient).turnFlag)
	t.add(agentType, "make agents of directories files", (*patient).farDir, (*patient).mistypeAgent)
	t.kept(wrongMDT, wrongMDT, "give files FIDs that belong to another MDT", both((*patient).once, (*patient).plainFile), (*patient).goAstray)
	t.add(indexMissing, "remove entries of the object index", (*patient).inIndex, (*patient).loseIndex)
	t.add(indexStale, "let the object index say another inode", (*patient).inIndex, (*patient).staleIndex)
	t.add(indexDead, "add entries of the object index for objects that do not exist", (*patient).inIndex, (*patient).deadIndex)
}

// Recipes lists what Damage can do.
func Recipes() []lab.Recipe {
	var out []lab.Recipe
	for _, r := range recipes() {
		out = append(out, r.Recipe)
	}
	return out
}
