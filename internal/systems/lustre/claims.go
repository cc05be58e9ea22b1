package lustre

import (
	"encoding/binary"
	"errors"
	"fmt"

	"fettle/internal/claim"
	"fettle/internal/format/lustre"
)

// Kinds of claims. The subject of each is a FID.
const (
	kObject  claim.Kind = iota + 1 // an inode is that object. At: inode number
	kDir                           // what the blocks of the directory say. At: inode number
	kName                          // a name in the namespace leads to it. At: byte of the entry, Sub: inode number of the directory
	kAgent                         // an inode stands for it on another MDT. At: inode number
	kIndex                         // the object index has it. At: inode number, Sub: generation
	kRemote                        // an entry of /REMOTE_PARENT_DIR. At: byte of the entry, Sub: inode number
	kPending                       // an entry of /PENDING. At: byte of the entry, Sub: inode number
	kBackend                       // an entry of the target's own /lost+found. At: byte of the entry, Sub: inode number
)

// subjectOf is the subject of claims about a FID: its big-endian form, and for FIDs that mean something within one target only
// the target's index + 1 behind it. IGIFs count as the target's own; a name of the namespace means that of MDT0.
func subjectOf(f lustre.FID, mdt uint32) claim.Subject {
	return appendSubject(make([]byte, 0, lustre.FIDSize+4), f, mdt)
}

func appendSubject(b []byte, f lustre.FID, mdt uint32) []byte {
	b = f.AppendBig(b)
	if f.IsLocal() || f.IsIGIF() {
		b = binary.BigEndian.AppendUint32(b, mdt+1)
	}
	return b
}

// fidOf is the reverse of subjectOf. own is -1 for FIDs that mean the same everywhere.
func fidOf(s claim.Subject) (f lustre.FID, own int64, err error) {
	switch len(s) {
	case lustre.FIDSize:
		return lustre.BigFID(s), -1, nil
	case lustre.FIDSize + 4:
		return lustre.BigFID(s), int64(binary.BigEndian.Uint32(s[lustre.FIDSize:])) - 1, nil
	}
	return f, 0, fmt.Errorf("claim about a subject of %d bytes", len(s))
}

// linkHash identifies a name in a directory. Two names that are told apart by nothing else have one hash in 2^64. Names and FIDs are counted up by
// those who give them, and a file may have "f1" in one directory and "f2" in the next, so each word is mixed before the next one is taken in.
func linkHash(parent lustre.FID, name []byte) uint64 {
	h := mix(parent.Seq^mixA, (uint64(parent.OID)<<32|uint64(parent.Ver))^mixB)
	n := uint64(len(name))
	for len(name) >= 8 {
		h = mix(h^binary.LittleEndian.Uint64(name), mixC)
		name = name[8:]
	}
	var tail [8]byte
	copy(tail[:], name)
	h = mix(h^binary.LittleEndian.Uint64(tail[:]), mixB)
	return mix(h^mixA, n^mixC)
}

// Bits of an object's claim.
const (
	objHeld     = 1 << iota // a file of the target itself, not of the namespace
	objNoLMA                // without a readable LMA: the subject is the IGIF
	objLink                 // has a link EA with a readable header
	objCrashed              // has one that cannot be read
	objLinkOdd              // the link EA has problems: records that are insane, repeated, garbled
	objOverflow             // the link EA says that names did not fit
	objLMV                  // has an LMV, which follows
	objForeign              // has an LMV, or is a directory, of another system
)

// object is what an inode says of itself.
type object struct {
	mdt         int // place in the list of targets
	ino, gen    uint32
	mode, links uint16
	compat      uint32
	incompat    uint32
	bits        uint8
	lmv         []byte   // raw, at most LMVSize bytes
	hashes      []uint64 // of the records of the link EA
}

func (o *object) has(bit uint8) bool { return o.bits&bit != 0 }

// dirMode tells whether the object is a directory.
func dirMode(mode uint16) bool { return mode&0xf000 == 0x4000 }

func (o *object) says(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, o.gen)
	b = binary.LittleEndian.AppendUint16(b, o.mode)
	b = binary.LittleEndian.AppendUint16(b, o.links)
	b = append(b, byte(o.compat), byte(o.incompat), o.bits) // servers know no flags beyond the first eight
	if o.has(objLMV) {
		b = append(b, byte(len(o.lmv)))
		b = append(b, o.lmv...)
	}
	for _, h := range o.hashes {
		b = binary.LittleEndian.AppendUint64(b, h)
	}
	return b
}

var errShortClaim = errors.New("a claim is shorter than its kind asks for")

func (o *object) read(c claim.Claim) error {
	b := c.Says
	if len(b) < 11 {
		return errShortClaim
	}
	o.mdt, o.ino = int(c.Witness.Target), uint32(c.Witness.At)
	o.gen, o.mode, o.links = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:])
	o.compat, o.incompat, o.bits = uint32(b[8]), uint32(b[9]), b[10]
	b = b[11:]
	if o.has(objLMV) {
		if len(b) < 1 || len(b) < 1+int(b[0]) {
			return errShortClaim
		}
		o.lmv, b = b[1:1+int(b[0])], b[1+int(b[0]):]
	}
	for ; len(b) >= 8; b = b[8:] {
		o.hashes = append(o.hashes, binary.LittleEndian.Uint64(b))
	}
	return nil
}

// Bits of a name's claim.
const (
	nameNoFID     = 1 << iota // the entry has no FID; the subject is that of the inode it names
	nameInsane                // the entry's FID cannot be one; likewise
	nameMisplaced             // the directory is a shard that should not hold the name
	nameInMaster              // the directory is the master of a striped one: its LMV follows
	nameShardForm             // the name has the form of a shard's: the number follows
)

// name is what a directory entry says.
type name struct {
	mdt    int
	at     int64  // byte of the entry
	dir    uint32 // inode number of the directory
	ino    uint32 // inode number that the entry has
	typ    uint8
	bits   uint8
	hash   uint64
	parent lustre.FID // of directories only: what '..' must say
	index  uint32     // with nameShardForm
	master []byte     // with nameInMaster: LMV
}

func (n *name) has(bit uint8) bool { return n.bits&bit != 0 }

func (n *name) says(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, n.ino)
	b = append(b, n.typ, n.bits)
	b = binary.LittleEndian.AppendUint64(b, n.hash)
	if n.typ == 2 {
		b = n.parent.AppendBig(b)
	}
	if n.has(nameShardForm) {
		b = binary.LittleEndian.AppendUint32(b, n.index)
	}
	if n.has(nameInMaster) {
		b = append(b, n.master...)
	}
	return b
}

func (n *name) read(c claim.Claim) error {
	b := c.Says
	if len(b) < 14 {
		return errShortClaim
	}
	n.mdt, n.at, n.dir = int(c.Witness.Target), int64(c.Witness.At), uint32(c.Witness.Sub)
	n.ino, n.typ, n.bits, n.hash = binary.LittleEndian.Uint32(b), b[4], b[5], binary.LittleEndian.Uint64(b[6:])
	b = b[14:]
	if n.typ == 2 {
		if len(b) < lustre.FIDSize {
			return errShortClaim
		}
		n.parent, b = lustre.BigFID(b), b[lustre.FIDSize:]
	}
	if n.has(nameShardForm) {
		if len(b) < 4 {
			return errShortClaim
		}
		n.index, b = binary.LittleEndian.Uint32(b), b[4:]
	}
	if n.has(nameInMaster) {
		n.master = b
	}
	return nil
}

// Bits of a directory's claim.
const (
	dirUp       = 1 << iota // '..' was met
	dirUpFID                // '..' has a FID
	dirMaster               // it has a master's LMV
	dirBadShard             // of a master: shard numbers are missing or met twice
	dirUpType               // '..' has the type of something else than a directory
)

// dirSum is what the blocks of a directory say.
type dirSum struct {
	mdt       int
	ino       uint32
	bits      uint8
	subdirs   uint32 // entries of type directory
	shards    uint32 // names in the form of a shard's
	others    uint32 // other names
	misplaced uint32 // names that the directory's own LMV says belong elsewhere
	missing   uint32 // with dirBadShard: the first shard number without a name; the number of shards if none
	upIno     uint32
	up        lustre.FID
	upAt      int64
}

func (d *dirSum) has(bit uint8) bool { return d.bits&bit != 0 }

func (d *dirSum) says(b []byte) []byte {
	b = append(b, d.bits)
	for _, u := range []uint32{d.subdirs, d.shards, d.others, d.misplaced, d.missing, d.upIno} {
		b = binary.LittleEndian.AppendUint32(b, u)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(d.upAt))
	return d.up.AppendBig(b)
}

func (d *dirSum) read(c claim.Claim) error {
	b := c.Says
	if len(b) < 1+6*4+8+lustre.FIDSize {
		return errShortClaim
	}
	d.mdt, d.ino, d.bits = int(c.Witness.Target), uint32(c.Witness.At), b[0]
	for i, p := range []*uint32{&d.subdirs, &d.shards, &d.others, &d.misplaced, &d.missing, &d.upIno} {
		*p = binary.LittleEndian.Uint32(b[1+4*i:])
	}
	d.upAt = int64(binary.LittleEndian.Uint64(b[25:]))
	d.up = lustre.BigFID(b[33:])
	return nil
}
