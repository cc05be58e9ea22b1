package lustre

import (
	"fmt"
	"strconv"
	"strings"
)

// ShardName is the name of a shard in the master of its striped directory: [FID]:INDEX.
func ShardName(shard FID, index int) string {
	return shard.String() + ":" + strconv.Itoa(index)
}

// ParseShardName takes such a name apart. ok is false when a server would not have written it exactly so.
func ParseShardName(name string) (shard FID, index int, ok bool) {
	fid, number, found := cutLast(name, ':')
	if !found || !strings.HasPrefix(fid, "[") {
		return FID{}, 0, false
	}
	shard, err := ParseFID(fid)
	if err != nil {
		return FID{}, 0, false
	}
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil || ShardName(shard, int(n)) != name {
		return FID{}, 0, false
	}
	return shard, int(n), true
}

// RemoteParentName is the name of an object in /REMOTE_PARENT_DIR: its FID without brackets.
func RemoteParentName(object FID) string { return object.Bare() }

// ParseRemoteParentName gives the FID that a name in /REMOTE_PARENT_DIR says. ok is false for any other name.
func ParseRemoteParentName(name string) (object FID, ok bool) {
	f, err := ParseFID(name)
	return f, err == nil && f.Bare() == name
}

// PendingName is the name that a server of today gives an open but unlinked object in /PENDING.
func PendingName(object FID) string { return object.Bare() }

// ParsePendingName gives the FID of a name in /PENDING in today's form, or the old one, "0000000200000bd0:00000001:00000000: 0".
func ParsePendingName(name string) (object FID, ok bool) {
	if f, ok := ParseRemoteParentName(name); ok {
		return f, true
	}
	parts := strings.Split(name, ":")
	if len(parts) < 3 || len(parts) > 4 || len(parts[0]) != 16 || len(parts[1]) != 8 || len(parts[2]) != 8 {
		return FID{}, false
	}
	var n [3]uint64
	for i := range n {
		v, err := strconv.ParseUint(parts[i], 16, 64)
		if err != nil {
			return FID{}, false
		}
		n[i] = v
	}
	return FID{n[0], uint32(n[1]), uint32(n[2])}, true
}

// MDTName is the name of an MDT's directory in .lustre/lost+found: MDT0001.
func MDTName(index uint32) string { return fmt.Sprintf("MDT%04x", index) }

// parseMDTName gives the index of such a name.
func parseMDTName(name string) (index uint32, ok bool) {
	hex, found := strings.CutPrefix(name, "MDT")
	n, err := strconv.ParseUint(hex, 16, 32)
	return uint32(n), found && err == nil && MDTName(uint32(n)) == name
}

// TargetLabel splits a volume label such as "t32fs-MDT0001". Before a target is registered the mark between the parts may be
// ':' (new) or '=' (to be rewritten) instead of '-'.
func TargetLabel(label string) (fsname string, index uint32, ok bool) {
	if len(label) < 9 {
		return "", 0, false
	}
	fsname, mark, mdt := label[:len(label)-8], label[len(label)-8], label[len(label)-7:]
	if mark != '-' && mark != ':' && mark != '=' {
		return "", 0, false
	}
	index, ok = parseMDTName(mdt)
	return fsname, index, ok
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
