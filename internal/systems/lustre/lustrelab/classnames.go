package lustrelab

// Ids of the classes that the truth speaks of. They are written out here because the truth must not depend on package lustre; a test
// holds them against its table.
const (
	danglingName       = "lustre/dangling-name"
	orphan             = "lustre/orphan-object"
	lostName           = "lustre/lost-name"
	multipleReferenced = "lustre/multiple-referenced-name"
	unmatchedPair      = "lustre/unmatched-pair"
	badType            = "lustre/bad-type"
	badNlink           = "lustre/bad-nlink"
	badNameHash        = "lustre/bad-name-hash"

	noFID             = "lustre/no-fid-in-dirent"
	direntFIDMismatch = "lustre/dirent-fid-mismatch"
	direntFIDInsane   = "lustre/dirent-fid-insane"
	direntInode       = "lustre/dirent-inode-mismatch"
	missingLMA        = "lustre/missing-lma"
	duplicateFID      = "lustre/duplicate-fid"
	directoryTwice    = "lustre/directory-linked-twice"
	dotdotMismatch    = "lustre/dotdot-mismatch"

	linkMissing       = "lustre/linkea-missing"
	linkCrashed       = "lustre/linkea-crashed"
	linkInvalidParent = "lustre/linkea-invalid-parent"
	linkRedundant     = "lustre/linkea-redundant"
	linkRepeated      = "lustre/linkea-repeated"
	linkOverflow      = "lustre/linkea-overflow"

	masterLMVMissing = "lustre/master-lmv-missing"
	masterLMVWrong   = "lustre/master-lmv-mismatch"
	masterName       = "lustre/master-holds-name"
	shardLMVMissing  = "lustre/shard-lmv-missing"
	shardLMVWrong    = "lustre/shard-lmv-mismatch"
	shardName        = "lustre/shard-name-index"
	stripeLost       = "lustre/stripe-lost"

	agentMissing  = "lustre/agent-missing"
	agentStale    = "lustre/agent-stale"
	remoteMissing = "lustre/remote-parent-missing"
	remoteStale   = "lustre/remote-parent-stale"
	remoteFlag    = "lustre/remote-parent-flag"
	agentType     = "lustre/agent-type"
	wrongMDT      = "lustre/wrong-mdt"
	indexMissing  = "lustre/oi-missing"
	indexStale    = "lustre/oi-stale"
)

// Recipes that are not named after a class, because there are several for one class or because they make findings of several classes.
const (
	danglingDir      = "lustre/dangling-directory"
	danglingRemote   = "lustre/dangling-remote"
	orphanUnknown    = "lustre/orphan-unknown"
	orphanDir        = "lustre/orphan-directory"
	orphanRemote     = "lustre/orphan-remote"
	unmatchedParent  = "lustre/unmatched-parent"
	badTypeDir       = "lustre/bad-type-directory"
	nlinkLow         = "lustre/nlink-low"
	nlinkDir         = "lustre/nlink-directory"
	lmaWrong         = "lustre/lma-wrong"
	linkGarbled      = "lustre/linkea-garbled"
	linkInsaneRecord = "lustre/linkea-insane-record"
	masterCount      = "lustre/master-lmv-count"
	shardLMVHash     = "lustre/shard-lmv-hash"
	stripeDangling   = "lustre/stripe-dangling"
	agentWrong       = "lustre/agent-wrong"
	indexDead        = "lustre/oi-dead"
	remoteFlagLost   = "lustre/remote-parent-flag-lost"
	randomNames      = "lustre/random-names"
)
