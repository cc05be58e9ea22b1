package lustre

// Words that several reasons have in common.
const (
	noSums      = "nothing is there without metadata_csum; with it, a wrong one is found"
	ownersTimes = "permissions, owners, times and versions have no second witness; they lead to nothing"
	accounts    = "how much space an inode takes, and what groups have free, is for e2fsck; a repair that finds it wrong sets it right or refuses"
	deletedTime = "the time of deletion of an inode in use is not read; e2fsck clears it"
	noFlags     = "flags that say how an inode is to be treated by programs of users, and not how it is read"
	highHalf    = "the upper half of a block number, which is read with the feature 64bit only"
	contents    = "what is in files of users is not looked at: on an MDT they hold nothing, or data that nobody else has"
	filesSize   = "the size of a file is asked of the OSTs"
	xattrHash   = "e2fsck compares it; neither servers nor repairs read it"
	layouts     = "layouts and other attributes of users' files do not belong to the namespace"
	unread      = "bytes that nobody reads"
	agents      = "the content of an agent, beside its LMA, is not read by anybody; what e2fsck finds there it may mend"
	pendings    = "an open file without a name is not judged: the server deletes it at its next start"
	ownFiles    = "files of the target itself are found by name; a server that misses an attribute or an index entry of one makes it anew"
	noType      = "servers up to 2.3 made names of their own that do not say the type"
	ownNames    = "the server makes the file anew when it does not find it; nothing of the namespace is in it"
	fixedNames  = ".lustre and what is in it have fixed names and FIDs, which the server makes anew"
	foreign     = "the layout belongs to another system"
	onlyE2fsck  = "ldiskfs does not read it; e2fsck corrects it"
	remoteFIDs  = "the FIDs behind names in REMOTE_PARENT_DIR are stale on healthy targets too: the name says it"
	changing    = "is read while a layout is changing only"
	hints       = "a number that only says where to look first, or what new files get"
	repairs     = "a check reads nothing that depends on it; servers and repairs refuse it by themselves"
)

// harmless are the cells that give no finding.
var harmless = []pardon{
	{kinds: "* inode", field: "checksum", why: noSums}, {kinds: "* inode", field: "checksum high", why: noSums},
	{kinds: "* block", field: "checksum", why: noSums}, {kinds: "superblock", field: "checksum", why: noSums}, {kinds: "superblock", field: "checksum seed", why: noSums},
	{kinds: "superblock", field: "checksum type", why: noSums},
	{kinds: "group", field: "block bitmap checksum", why: noSums}, {kinds: "group", field: "inode bitmap checksum", why: noSums},
	{kinds: "* tail", field: "type", why: onlyE2fsck}, {kinds: "* tail", field: "inode", why: onlyE2fsck},

	{kinds: "* inode", field: "uid", why: ownersTimes}, {kinds: "* inode", field: "gid", why: ownersTimes}, {kinds: "* inode", field: "project", why: ownersTimes},
	{kinds: "* inode", field: "ctime", why: ownersTimes}, {kinds: "* inode", field: "version", why: ownersTimes},
	{kinds: "* inode", field: "mode", ops: "plus minus flip other", why: ownersTimes},
	{kinds: "* inode", field: "dtime", why: deletedTime}, {kinds: "* inode", field: "sectors", why: accounts},
	{kinds: "* inode", field: "flags", ops: "plus minus flip", why: noFlags},
	{kinds: "* inode", field: "attribute block high", why: highHalf},
	{kinds: "* entry", field: "hash", why: xattrHash}, {kinds: "* attribute block", field: "hash", why: xattrHash},
	{kinds: "* attribute block", field: "references", why: "says how many inodes share the block, which those of Lustre never do; e2fsck counts them"},
	{kinds: "* link", field: "padding", why: unread},
	{kinds: "* lma", field: "compat", why: "says how other parts keep data of the object; that it is not in the object index is compared when it is not"},
	{kinds: "* lma", field: "incompat", ops: "plus minus zero other", why: "released is the word of HSM; striped and remote-parent follow from layout and names, by which servers go, and LFSCK and repairs set them"},
	{kinds: "* lmv", field: "version", why: "counts changes of the layout; nobody compares it"}, {kinds: "* lmv", field: "padding", why: unread}, {kinds: "* lmv", field: "pool", why: hints},
	{kinds: "* lmv", field: "migrate hash", why: changing}, {kinds: "* lmv", field: "migrate offset", why: changing},
	{kinds: "* extents", field: "generation", why: unread}, {kinds: "* node extents", field: "generation", why: unread},

	{kinds: "*", field: "zero", why: "the byte between name and FID is skipped, whatever it is"},
	{kinds: "* entry .", field: "type", why: onlyE2fsck}, {kinds: "* entry ..", field: "type", ops: "plus minus zero ones other flip", why: onlyE2fsck},
	{kinds: "* root entry", field: "type", why: onlyE2fsck}, {kinds: "* root dotdot", field: "type", why: onlyE2fsck},
	{kinds: "large directory inode", field: "flags", why: "without the flag the directory is read block by block, and the blocks of its tree look empty"},
	{kinds: "* extents", field: "max", ops: "minus", why: "less room than there is is never too much"},
	{kinds: "* hash tree", field: "flags", why: "with an odd value the tree is not used, which costs time only; other bits are not read"},
	{kinds: "* hash tree", field: "hash", ops: "plus minus flip", why: "the lowest bit says that a search goes on in the next block, and finds nothing there"},
	{kinds: "FLD record", field: "end", ops: "plus", why: "the range of IGIFs, which belong to MDT0000 by rule; one that ends in another range overlaps and is told"},
	{kinds: "FLD leaf", field: "count", ops: "minus", why: "the last range is that of an OST, and what is on OSTs is not looked at; objects without a range are told"},
	{kinds: "shard inode", field: "links", ops: "minus", why: "1 is the count of a directory with more sub-directories than can be counted, for ever"},
	{kinds: "* lmv entry", field: "value size", ops: "plus", why: unread},
	{kinds: "superblock", field: "first inode", ops: "plus", why: "inode 11, lost+found, then counts as reserved: it is not given out anyway"},
	{kinds: "superblock", field: "blocks", ops: "minus", why: "the last block then lies outside: what is in it would be told, and nothing is"},
	{kinds: "mountdata", field: "flags", ops: "flip other", why: "flags that do not say that it is an MDT are of its registration, which the server repeats"},
	{kinds: "mountdata", field: "file system", ops: "flip", why: "the byte behind the end of the name is not read"},
	{kinds: "* directory inode", field: "links", ops: "minus", why: "1 is the count of a directory with more sub-directories than can be counted, for ever"},

	{kinds: "file lov", why: layouts}, {kinds: "*file lov", why: layouts}, {kinds: "*file with block lov", why: layouts}, {kinds: "*lov entry", why: layouts}, {kinds: "* lov", why: layouts},
	{kinds: "*file inode", field: "size", why: filesSize}, {kinds: "*file inode", field: "size high", why: filesSize},
	{kinds: "file with block inode", field: "size", why: filesSize}, {kinds: "file with block inode", field: "size high", why: filesSize},
	{kinds: "*file map", why: contents}, {kinds: "file with block map", why: contents}, {kinds: "*file extents", why: contents}, {kinds: "file with block extents", why: contents},
	{kinds: "*file extent", why: contents},

	{kinds: "agent map", why: agents}, {kinds: "agent extents", why: agents}, {kinds: "agent extent", why: agents}, {kinds: "agent tail", why: agents},
	{kinds: "agent entry .", why: agents}, {kinds: "agent entry ..", why: agents}, {kinds: "agent root entry", why: agents},
	{kinds: "agent inode", field: "size", why: agents}, {kinds: "agent inode", field: "size high", why: agents}, {kinds: "agent inode", field: "links", why: agents},
	{kinds: "agent inode", field: "generation", why: agents}, {kinds: "agent inode", field: "mode", why: agents}, {kinds: "agent inode", field: "flags", why: agents},
	{kinds: "agent lma", field: "incompat", why: agents},

	{kinds: "orphan link", why: pendings}, {kinds: "orphan link entry", why: pendings}, {kinds: "orphan map", why: pendings}, {kinds: "orphan extents", why: pendings}, {kinds: "orphan extent", why: pendings},
	{kinds: "orphan inode", why: pendings}, {kinds: "orphan lma", field: "incompat", why: pendings},
	{kinds: "PENDING name", field: "type", why: pendings}, {kinds: "PENDING name", field: "FID length", why: pendings}, {kinds: "PENDING name", field: "FID sequence", why: pendings},
	{kinds: "PENDING name", field: "FID object", why: pendings}, {kinds: "PENDING name", field: "FID version", why: pendings},
	{kinds: "PENDING name", field: "name", why: pendings}, {kinds: "PENDING name", field: "name end", why: pendings}, {kinds: "PENDING name", field: "name length", why: pendings},

	{kinds: "FLD inode", why: ownFiles}, {kinds: "FLD lma", why: ownFiles}, {kinds: "FLD lma entry", why: ownFiles}, {kinds: "FLD attributes", why: ownFiles},
	{kinds: "object index inode", why: ownFiles}, {kinds: "object index lma", why: ownFiles}, {kinds: "object index lma entry", why: ownFiles}, {kinds: "object index attributes", why: ownFiles},
	{kinds: "PENDING lma", why: ownFiles}, {kinds: "PENDING lma entry", why: ownFiles}, {kinds: "PENDING attributes", why: ownFiles}, {kinds: "PENDING inode", why: ownFiles},
	{kinds: "REMOTE_PARENT_DIR lma", why: ownFiles}, {kinds: "REMOTE_PARENT_DIR lma entry", why: ownFiles}, {kinds: "REMOTE_PARENT_DIR attributes", why: ownFiles}, {kinds: "REMOTE_PARENT_DIR inode", why: ownFiles},
	{kinds: "local lma", why: ownFiles}, {kinds: "local lma entry", why: ownFiles}, {kinds: "local attributes", why: ownFiles}, {kinds: "local inode", why: ownFiles},
	{kinds: "REMOTE_PARENT_DIR directory name", field: "type", why: onlyE2fsck}, {kinds: "REMOTE_PARENT_DIR name", field: "type", why: onlyE2fsck},
	{kinds: "REMOTE_PARENT_DIR name", field: "FID length", why: remoteFIDs}, {kinds: "REMOTE_PARENT_DIR directory name", field: "FID length", why: remoteFIDs},
	{kinds: "REMOTE_PARENT_DIR name", field: "FID sequence", why: remoteFIDs}, {kinds: "REMOTE_PARENT_DIR name", field: "FID object", why: remoteFIDs}, {kinds: "REMOTE_PARENT_DIR name", field: "FID version", why: remoteFIDs},
	{kinds: "REMOTE_PARENT_DIR directory name", field: "FID sequence", why: remoteFIDs}, {kinds: "REMOTE_PARENT_DIR directory name", field: "FID object", why: remoteFIDs}, {kinds: "REMOTE_PARENT_DIR directory name", field: "FID version", why: remoteFIDs},
	{kinds: "object index root pointer", field: "key", why: "the key of the first pointer is not used in a search"}, {kinds: "FLD root pointer", field: "key", why: "the key of the first pointer is not used in a search"},
	{kinds: "REMOTE_PARENT_DIR name", field: "inode", ops: "other", why: "of a file with names on both sides an entry may be there or not"},
	{kinds: "directory inode", field: "links", ops: "minus", why: "1 is the count of a directory with more sub-directories than can be counted, for ever"},
	{kinds: "FLD record", field: "end", ops: "minus flip", why: "sequences that nobody has belong to nobody; objects and free ones that have them are told"},
	{kinds: "REMOTE_PARENT_DIR name", field: "inode", ops: "zero", why: "of a file with names on both sides an entry may be there or not"},
	{kinds: "FLD record", field: "flags", why: "two bits count: whether it is an MDT or an OST"}, {kinds: "FLD root", field: "idle", why: hints}, {kinds: "object index root", field: "idle", why: hints},
	{kinds: "* map", field: "block 0", ops: "other", why: contents},

	{kinds: "local name BATCHID", why: ownNames}, {kinds: "local name CATALOGS", why: ownNames}, {kinds: "local name LFSCK", why: ownNames}, {kinds: "local name OI_scrub", why: ownNames},
	{kinds: "local name changelog_catalog", why: ownNames}, {kinds: "local name changelog_users", why: ownNames}, {kinds: "local name hsm_actions", why: ownNames},
	{kinds: "local name lfsck_bookmark", why: ownNames}, {kinds: "local name lfsck_namespace", why: ownNames}, {kinds: "local name lost+found", why: ownNames},
	{kinds: "local name lfsck_layout", why: ownNames}, {kinds: "local name nodemap", why: ownNames}, {kinds: "local name NIDTBL_VERSIONS", why: ownNames},
	{kinds: "local name lov_objid", why: ownNames}, {kinds: "local name lov_objseq", why: ownNames}, {kinds: "local name quota_master", why: ownNames}, {kinds: "local name quota_slave", why: ownNames},
	{kinds: "local name reply_data", why: ownNames}, {kinds: "local name update_log", why: ownNames}, {kinds: "local name update_log_dir", why: ownNames},
	{kinds: "local name *", field: "type", ops: "zero minus", why: noType},
	{kinds: "local name .", field: "type", why: onlyE2fsck}, {kinds: "local name ..", field: "type", why: onlyE2fsck},
	{kinds: "last_rcvd", field: "transno", why: "counts what clients did; the server takes the highest that it meets"}, {kinds: "last_rcvd", field: "index", why: "of old releases; the UUID tells it"},
	{kinds: "last_rcvd", field: "incompat", why: repairs}, {kinds: "seq_srv", field: "index", why: "the server writes its own"}, {kinds: "seq_ctl", field: "index", why: "the server writes its own"},
	{kinds: "seq_ctl", field: "start", why: "less is left than there is: nothing is given twice"}, {kinds: "seq_ctl", field: "end", why: "where it ends says how much can be given, not what was"},
	{kinds: "seq_srv", field: "start", why: "sequences that nobody has are left out, or given out again"}, {kinds: "seq_srv", field: "end", ops: "minus", why: "a sequence is left out"},
	{kinds: "seq_srv", field: "flags", why: "the server writes its own"}, {kinds: "seq_ctl", field: "flags", why: "the server writes its own"},

	{kinds: ".lustre directory name", why: fixedNames}, {kinds: ".lustre entry ..", why: fixedNames}, {kinds: ".lustre link", why: fixedNames}, {kinds: ".lustre link entry", why: fixedNames},
	{kinds: "ROOT directory name", why: fixedNames}, {kinds: "ROOT entry ..", why: "the parent of ROOT is ROOT, whatever is written there"},
	{kinds: "foreign directory lmv", why: foreign}, {kinds: "foreign directory lmv entry", why: foreign},

	{kinds: "block bitmap", field: "bits", why: accounts}, {kinds: "inode bitmap", field: "bits", why: "an inode that counts as used and holds nothing"},
	{kinds: "group", field: "free blocks", why: accounts}, {kinds: "group", field: "free inodes", why: accounts}, {kinds: "group", field: "directories", why: accounts},
	{kinds: "group", field: "free inodes high", why: accounts}, {kinds: "group", field: "directories high", why: accounts},
	{kinds: "group", field: "unused inodes", why: "too few unused: more is read than is needed"}, {kinds: "group", field: "flags", why: "says what was written with zeros"},
	{kinds: "superblock", field: "free blocks", why: accounts}, {kinds: "superblock", field: "free inodes", why: accounts}, {kinds: "superblock", field: "free blocks high", why: accounts},
	{kinds: "superblock", field: "reserved blocks", why: accounts}, {kinds: "superblock", field: "cluster size", why: "is read with bigalloc only, which is refused"},
	{kinds: "superblock", field: "write time", why: ownersTimes}, {kinds: "superblock", field: "mount count", why: ownersTimes}, {kinds: "superblock", field: "errors", why: hints},
	{kinds: "superblock", field: "error count", why: hints}, {kinds: "superblock", field: "flex groups", why: hints}, {kinds: "superblock", field: "hash version", why: hints},
	{kinds: "superblock", field: "min extra size", why: hints}, {kinds: "superblock", field: "want extra size", why: hints}, {kinds: "superblock", field: "reserved descriptors", why: hints},
	{kinds: "superblock", field: "revision", why: "0 is refused or read as what is not there; others are the same"}, {kinds: "superblock", field: "group number", why: "of the primary copy nobody reads it"},
	{kinds: "superblock", field: "compat", why: "flags of features that are no obstacle by definition"}, {kinds: "superblock", field: "ro_compat", why: repairs},
	{kinds: "superblock", field: "journal inode", why: repairs}, {kinds: "superblock", field: "last orphan", why: repairs}, {kinds: "superblock", field: "state", why: repairs},
	{kinds: "superblock", field: "mmp block", why: "is read with the feature mmp only"}, {kinds: "superblock", field: "first meta group", why: "is read with the feature meta_bg only"},
	{kinds: "superblock", field: "blocks high", why: highHalf}, {kinds: "superblock", field: "descriptor size", why: "is read with the feature 64bit only"},
	{kinds: "superblock", field: "flags", why: "how characters above 127 are hashed; names where a search does not find them are told"}, {kinds: "superblock", field: "hash seed", why: "where there are no hash trees; else names where a search does not find them are told"},
	{kinds: "superblock", field: "label", why: "mountdata and last_rcvd tell the same"}, {kinds: "superblock", field: "label end", why: unread},
	{kinds: "superblock", field: "user quota", why: repairs}, {kinds: "superblock", field: "project quota", why: repairs}, {kinds: "superblock", field: "uuid", why: "without checksums it leads to nothing"},
	{kinds: "superblock", field: "first data block", why: repairs},
}
