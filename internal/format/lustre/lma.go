package lustre

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// LMA is the attribute trusted.lma, which says what object an inode is.
type LMA struct {
	Compat, Incompat uint32
	FID              FID
}

// Lengths of trusted.lma: now, and as Lustre before 2.4 wrote it (with fields that nothing reads any more).
const (
	LMASize    = 24
	LMASizeOld = 64
)

// Bits of LMA.Compat.
const (
	LMACHSM        = 0x1
	LMACNotInOI    = 0x4 // the object has no entry in the object index
	LMACFIDOnOST   = 0x8
	LMACStripeInfo = 0x10
	LMACCompInfo   = 0x20
	LMACIdxBackup  = 0x40
)

// Bits of LMA.Incompat.
const (
	LMAIReleased     = 0x1
	LMAIAgent        = 0x2  // stands for an object of another MDT
	LMAIRemoteParent = 0x4  // the directory that names the object is on another MDT
	LMAIStriped      = 0x8  // master or shard of a striped directory
	LMAIOrphan       = 0x10 // open but unlinked
	LMAIEncrypt      = 0x20
	lmaIKnown        = 0x3f
)

// DecodeLMA reads trusted.lma of either length.
func DecodeLMA(b []byte) (LMA, error) {
	if len(b) < LMASize {
		return LMA{}, fmt.Errorf("decode trusted.lma: %d bytes, want %d (or %d of an old server)", len(b), LMASize, LMASizeOld)
	}
	return LMA{
		Compat:   binary.LittleEndian.Uint32(b),
		Incompat: binary.LittleEndian.Uint32(b[4:]),
		FID:      LittleFID(b[8:]),
	}, nil
}

// Encode gives the 24 bytes that a server of today writes.
func (l LMA) Encode() []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, LMASize), l.Compat)
	b = binary.LittleEndian.AppendUint32(b, l.Incompat)
	return l.FID.AppendLittle(b)
}

// UnknownIncompat gives the incompatible bits that this package has no name for. A server refuses an object that has one.
func (l LMA) UnknownIncompat() uint32 { return l.Incompat &^ lmaIKnown }

// Has reports whether all the given incompatible bits are set.
func (l LMA) Has(incompat uint32) bool { return l.Incompat&incompat == incompat }

var lmaCompatNames = []bitName{
	{LMACHSM, "hsm"}, {LMACNotInOI, "not-in-oi"}, {LMACFIDOnOST, "fid-on-ost"},
	{LMACStripeInfo, "stripe-info"}, {LMACCompInfo, "comp-info"}, {LMACIdxBackup, "idx-backup"},
}

var lmaIncompatNames = []bitName{
	{LMAIReleased, "released"}, {LMAIAgent, "agent"}, {LMAIRemoteParent, "remote-parent"},
	{LMAIStriped, "striped"}, {LMAIOrphan, "orphan"}, {LMAIEncrypt, "encrypt"},
}

// String gives FID and flags in words.
func (l LMA) String() string {
	return fmt.Sprintf("fid=%v compat=%s incompat=%s", l.FID, bitNames(l.Compat, lmaCompatNames), bitNames(l.Incompat, lmaIncompatNames))
}

// bitName is the word for one bit of a flag word.
type bitName struct {
	bit  uint32
	name string
}

// bitNames lists the words of the set bits, unknown ones as a number, "0" for none.
func bitNames(v uint32, names []bitName) string {
	var words []string
	for _, n := range names {
		if v&n.bit != 0 {
			words = append(words, n.name)
			v &^= n.bit
		}
	}
	if v != 0 {
		words = append(words, fmt.Sprintf("0x%x", v))
	}
	if len(words) == 0 {
		return "0"
	}
	return strings.Join(words, ",")
}
