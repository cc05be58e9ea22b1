package devmapper

// Words that several reasons have in common.
const (
	times     = "times are shown to people and order nothing; containerd takes any that can be decoded, and none"
	notOurs   = "what runs in a container is not kept in these layers; its snapshot is still held and whole"
	userGone  = "that is how the layers look after somebody has removed or renamed it: nothing says that it ought to be there"
	imageOnly = "about the content of an image, not its snapshots; containerd pulls it again"
	counted   = "usage statistics, which are shown and never used"
	reserved  = "reserved bytes, which the kernel does not read"
	copies    = "too high a time, or too old a mapping, only makes the kernel copy a block that it need not copy; too low ones are found"
	noWitness = "not harmless, but nothing in any layer tells which is right: only the file system on the device could"
	freeID    = "a free id that the sequence is past: it is not given out again; those of devices and records are missed"
	otherMeta = "the meta page of the older transaction, which stays valid: it is overwritten by the next"
)

// harmless are the cells that give no finding.
var harmless = []reason{
	{what: "container createdat", why: times}, {what: "container updatedat", why: times},
	{what: "content createdat", why: times, unproven: true}, {what: "content updatedat", why: times, unproven: true},
	{what: "entry createdat", why: times}, {what: "entry updatedat", why: times},
	{what: "image createdat", why: times}, {what: "image updatedat", why: times},
	{what: "lease createdat", why: times},
	{what: "snapshot createdat", why: times}, {what: "snapshot updatedat", why: times},

	{what: "container image", why: notOurs}, {what: "container label", why: notOurs}, {what: "container runtime name", why: notOurs}, {what: "container spec", why: notOurs},
	{what: "container snapshotKey", ops: "swap duplicate", why: noWitness, unproven: true},
	{what: "container key", why: userGone, unproven: true},
	{what: "image key", why: userGone, unproven: true}, {what: "lease key", why: userGone}, {what: "lease snapshots key", why: userGone}, {what: "namespace key", why: userGone, unproven: true},
	{what: "content key", why: imageOnly, unproven: true}, {what: "content size", why: imageOnly}, {what: "content labels key", why: imageOnly, unproven: true},
	{what: "content snapshot label", why: imageOnly, unproven: true},
	{what: "image digest", why: imageOnly, unproven: true}, {what: "image mediatype", why: imageOnly}, {what: "image size", why: imageOnly},

	{what: "device id key", ops: "duplicate one", why: "one more id that is never given out, or is free and not in use"},
	{what: "device id key", ops: "drop", why: freeID}, {what: "device id state", ops: "drop", why: freeID},
	{what: "device id key", ops: "swap", why: "both ids have the same state"},
	{what: "device record error", why: "text of the last failure, which is shown and never used"},
	{what: "device record parent_name", ops: "drop", why: "without a parent the field is empty anyway"},
	{what: "device record state", ops: "duplicate swap", why: "both states are ones in which a layer's device may rest: containerd activates it when it is needed"},
	{what: "entry label ref", why: "tells the puller that a layer is there; without it the layer is unpacked again"},
	{what: "snapshot labels key", why: "labels beside that of the file system are only shown"},
	{what: "snapshot label fstype", ops: "zero drop", why: "a layer without the label counts as ext4"},
	{what: "snapshot inodes", why: counted}, {what: "snapshot size", why: counted},
	{what: "snapshot kind", at: "/extract-", ops: "duplicate", why: "what an unpack that was cut short left behind, as a layer that nothing uses: the puller unpacks again under another key"},
	{what: "snapshot kind", ops: "one", why: "a view: the same device, mounted for reading; whether it was made so is written nowhere else", unproven: true},
	{what: "sequence device_ids", ops: "swap random", why: "ids are skipped"}, {what: "sequence v1/snapshots", why: "numbers are skipped"},
	{what: "sequence entries", why: "containerd counts in the bucket of the namespace; nothing reads this one"},
	{what: "version key", why: "containerd takes it for a database of the first version and migrates it, which changes nothing in what these layers keep"},
	{what: "version number", why: "the same, or containerd refuses a version from the future at once and by name", unproven: true},

	{what: "thin bitmap unused", why: reserved}, {what: "thin index padding", why: reserved}, {what: "thin data index padding", why: reserved},
	{what: "thin data counts padding", why: reserved}, {what: "thin details padding", why: reserved}, {what: "thin device tree padding", why: reserved},
	{what: "thin mapping padding", why: reserved}, {what: "thin metadata counts padding", why: reserved},
	{what: "thin superblock data rest of root", why: reserved}, {what: "thin superblock metadata rest of root", why: reserved},
	{what: "thin superblock uuid", why: "a name that the kernel does not read"},
	{what: "thin superblock compat", why: "flags of features that are no obstacle by definition"},
	{what: "thin superblock metadata size", ops: "one random", why: "not raised when a pool grows, so it may be too low; the space map's size counts"},
	{what: "thin superblock time", ops: "one random", why: copies},
	{what: "thin data index free", ops: "max random one duplicate", why: "too many free: the kernel looks in vain, and goes on"},
	{what: "thin index free", ops: "max random one", why: "too many free: the kernel looks in vain, and goes on"},
	{what: "thin index none free before", why: "thin_restore leaves it too high in healthy metadata; blocks before it are used once they were freed"},
	{what: "thin data index none free before", ops: "zero one duplicate", why: "too low: the kernel looks where nothing is free, and goes on"},
	{what: "thin data counts entry", ops: "duplicate", why: "counts of blocks of which the bitmap knows the count are not looked at"},
	{what: "thin metadata counts entries", ops: "one", why: "counts of blocks of which the bitmap knows the count are not looked at"},
	{what: "thin metadata counts max entries", ops: "zero", why: "an empty node, which the kernel makes anew when it inserts", unproven: true},
	{what: "thin details creation time", why: copies}, {what: "thin details snapshot time", ops: "duplicate swap max random one", why: copies},
	{what: "thin details transaction id", why: "LVM's, which the kernel only hands out"},
	{what: "thin mapping time", why: copies},
	{what: "thin mapping data block", ops: "swap", why: noWitness, unproven: true}, {what: "thin mapping entry", ops: "swap", why: noWitness, unproven: true},

	{what: "bolt leaf bucket sequence", why: "numbers are skipped; too low or used-up ones of the buckets that count are found"},
	{what: "bolt meta count", why: "a meta page has no elements; bolt does not look"}, {what: "bolt meta overflow", why: "a meta page has no overflow; bolt does not look"},
	{what: "bolt meta meta flags", why: "bolt does not look"}, {what: "bolt meta root sequence", why: "the root bucket gives out no numbers"},
	{what: "bolt meta freelist", why: otherMeta + "; meta.db keeps no list", unproven: true}, {what: "bolt meta high water", why: otherMeta, unproven: true},
	{what: "bolt meta root", why: otherMeta, unproven: true}, {what: "bolt meta txid", why: otherMeta, unproven: true},
	{what: "bolt leaf element flags", ops: "zero", why: "a bucket that looks like a value: found wherever a value does not belong", unproven: true},
}
