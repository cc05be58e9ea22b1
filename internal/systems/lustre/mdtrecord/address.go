package mdtrecord

import (
	"fmt"
	"strconv"
	"strings"

	"fettle/internal/format/lustre"
)

// Kinds of records about the namespace, which are the begin of their addresses. Numbers are those of inodes of the target. Contents are JSON,
// except for nlink.
//
//	dirent/DIR/NAME   a name: inode, type, FID. NAME is quoted as Go does where text cannot hold it
//	dotdot/DIR        '..' of a directory
//	link/INODE        trusted.link: the names that an object knows
//	lma/INODE         trusted.lma: which object it is
//	lmv/INODE         trusted.lmv: how a directory is striped
//	lov/INODE         trusted.lov: where the data of a file is
//	nlink/INODE       link count
//	oi/FID            entry of the object index
//	inode/INODE       an inode that is made or freed
//	object/INODE      an object that is destroyed, with all that it has on the target
//	seq/seq_srv       sequences that the target has still to give
//
// Link, LMA, LMV and LOV are the names of the attributes as well.
const (
	KindDirent = "dirent"
	KindDotdot = "dotdot"
	KindLink   = "link"
	KindLMA    = "lma"
	KindLMV    = "lmv"
	KindLOV    = "lov"
	KindNlink  = "nlink"
	KindOI     = "oi"
	KindInode  = "inode"
	KindObject = "object"
	KindSeq    = "seq"
)

// seqFile is the file in the root of a target that says which sequences it has to give.
const seqFile = "seq_srv"

// SeqAddr is the address of the sequences that a target has still to give.
const SeqAddr = KindSeq + "/" + seqFile

// InodeAddr is the address of a record about an inode.
func InodeAddr(kind string, ino uint32) string {
	return kind + "/" + strconv.FormatUint(uint64(ino), 10)
}

// NameAddr is the address of a name in a directory.
func NameAddr(dir uint32, name string) string {
	if lustre.NameText(name) != name || strings.HasPrefix(name, `"`) {
		name = strconv.Quote(name)
	}
	return InodeAddr(KindDirent, dir) + "/" + name
}

// OIAddr is the address of an entry of the object index.
func OIAddr(f lustre.FID) string { return KindOI + "/" + f.String() }

// KindOf is the kind of record that an address is of.
func KindOf(addr string) string {
	kind, _, _ := strings.Cut(addr, "/")
	return kind
}

// parsed is an address taken apart.
type parsed struct {
	kind string
	ino  uint32
	name string
	fid  lustre.FID
}

func parseAddress(addr string) (p parsed, err error) {
	bad := fmt.Errorf("bad address of a record: %q", addr)
	kind, rest, ok := strings.Cut(addr, "/")
	if p.kind = kind; !ok {
		return p, bad
	}
	switch kind {
	case KindOI:
		p.fid, err = lustre.ParseFID(rest)
		return p, err
	case KindSeq:
		if rest != seqFile {
			return p, bad
		}
		return p, nil
	case KindDirent:
		num, name, ok := strings.Cut(rest, "/")
		if !ok || name == "" {
			return p, bad
		}
		if strings.HasPrefix(name, `"`) {
			if name, err = strconv.Unquote(name); err != nil || name == "" {
				return p, bad
			}
		}
		rest, p.name = num, name
	case KindDotdot, KindLink, KindLMA, KindLMV, KindLOV, KindNlink, KindInode, KindObject:
	default:
		return p, bad
	}
	n, err := strconv.ParseUint(rest, 10, 32)
	if err != nil || n == 0 {
		return p, bad
	}
	p.ino = uint32(n)
	return p, nil
}
