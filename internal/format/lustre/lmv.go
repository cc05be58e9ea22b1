package lustre

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// LMV is the attribute trusted.lmv: how the names of a directory are spread over its shards.
type LMV struct {
	Magic uint32
	// Count is the number of shards.
	Count uint32
	// Index is the MDT of the master on a master, and the number of the shard on a shard.
	Index uint32
	// HashType is a hash in its low 16 bits and flags above.
	HashType      uint32
	LayoutVersion uint32
	// MigrateOffset and MigrateHash describe the second layout of a directory whose layout is changing, see Layouts.
	MigrateOffset, MigrateHash uint32
	// Pool is the raw field with the name of a pool, padded with zeros.
	Pool [16]byte
}

// Magic numbers of trusted.lmv.
const (
	LMVMaster  = 0x0cd20cd0
	LMVUser    = 0x0cd30cd0
	LMVShard   = 0x0cd40cd0
	LMVForeign = 0x0cd50cd0
)

// LMVSize is the length of trusted.lmv on disk, without FIDs: the shards are found by the names in the master only.
const LMVSize = 56

// LMVMaxCount is how many shards a directory can have.
const LMVMaxCount = 2000

// Hashes from names to shards.
const (
	HashUnknown = 0
	HashAllChar = 1
	HashFNV     = 2
	HashCrush   = 3
	HashCrush2  = 4
	hashMask    = 0xffff
)

// Flags above the hash type.
const (
	HashFlagOverstriped = 0x01000000
	HashFlagFixed       = 0x02000000
	HashFlagMerge       = 0x04000000
	HashFlagSplit       = 0x08000000
	HashFlagLostLMV     = 0x10000000 // LFSCK made the master's LMV anew
	HashFlagBadType     = 0x20000000 // names may be in any shard
	HashFlagMigration   = 0x80000000
	hashFlagChange      = HashFlagMerge | HashFlagSplit | HashFlagMigration
)

var hashNames = [...]string{"none", "all_char", "fnv_1a_64", "crush", "crush2"}

var hashFlagNames = []bitName{
	{HashFlagOverstriped, "overstriped"}, {HashFlagFixed, "fixed"}, {HashFlagMerge, "merge"}, {HashFlagSplit, "split"},
	{HashFlagLostLMV, "lost_lmv"}, {HashFlagBadType, "bad_type"}, {HashFlagMigration, "migration"},
}

// HashName gives hash and flags in Lustre's words, such as "fnv_1a_64,lost_lmv".
func HashName(hashType uint32) string {
	name := fmt.Sprintf("unknown-%d", hashType&hashMask)
	if h := hashType & hashMask; h < uint32(len(hashNames)) {
		name = hashNames[h]
	}
	if flags := hashType &^ hashMask; flags != 0 {
		name += "," + bitNames(flags, hashFlagNames)
	}
	return name
}

// ParseHash gives the hash of one of Lustre's words without flags.
func ParseHash(name string) (uint32, error) {
	for i, n := range hashNames[1:] {
		if n == name {
			return uint32(i + 1), nil
		}
	}
	return 0, fmt.Errorf("unknown directory hash %q: known are all_char, fnv_1a_64, crush and crush2", name)
}

// LMVMagic gives the magic of trusted.lmv, or 0 if the value has fewer than 4 bytes.
func LMVMagic(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}

// DecodeLMV reads the trusted.lmv of a master or of a shard. Bytes behind LMVSize (FIDs, as sent over the network) are ignored.
// For a foreign one see DecodeForeign. Whether the values make sense is said by Insane.
func DecodeLMV(b []byte) (LMV, error) {
	switch m := LMVMagic(b); {
	case m == LMVForeign:
		return LMV{}, fmt.Errorf("decode trusted.lmv: it is foreign and has no shards")
	case m != LMVMaster && m != LMVShard && m != LMVUser:
		return LMV{}, fmt.Errorf("decode trusted.lmv: magic 0x%08x, want 0x%08x (master) or 0x%08x (shard)", m, LMVMaster, LMVShard)
	case len(b) < LMVSize:
		return LMV{}, fmt.Errorf("decode trusted.lmv: %d bytes, want %d", len(b), LMVSize)
	}
	u := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	v := LMV{Magic: u(0), Count: u(1), Index: u(2), HashType: u(3), LayoutVersion: u(4), MigrateOffset: u(5), MigrateHash: u(6)}
	copy(v.Pool[:], b[40:])
	return v, nil
}

// Encode gives the 56 bytes that are kept on disk.
func (v LMV) Encode() []byte {
	b := make([]byte, 0, LMVSize)
	for _, u := range []uint32{v.Magic, v.Count, v.Index, v.HashType, v.LayoutVersion, v.MigrateOffset, v.MigrateHash, 0, 0, 0} {
		b = binary.LittleEndian.AppendUint32(b, u)
	}
	return append(b, v.Pool[:]...)
}

// IsMaster and IsShard tell the two halves of a striped directory apart.
func (v LMV) IsMaster() bool { return v.Magic == LMVMaster }

// IsShard reports whether this is the attribute of a shard.
func (v LMV) IsShard() bool { return v.Magic == LMVShard }

// PoolName is the name of the pool without padding.
func (v LMV) PoolName() string {
	name, _, _ := bytes.Cut(v.Pool[:], []byte{0})
	return string(name)
}

// Insane says why a server would refuse the layout, or "" if it is sane. It holds for masters and shards.
func (v LMV) Insane() string {
	switch {
	case !v.IsMaster() && !v.IsShard():
		return fmt.Sprintf("magic 0x%08x is neither a master's nor a shard's", v.Magic)
	case v.Count < 1 || v.Count > LMVMaxCount:
		return fmt.Sprintf("%d shards, possible are 1 to %d", v.Count, LMVMaxCount)
	case !knownHash(v.HashType) && v.HashType != HashUnknown|HashFlagBadType:
		return fmt.Sprintf("hash type 0x%08x is unknown", v.HashType)
	case v.IsShard() && v.Index >= v.Count:
		return fmt.Sprintf("shard number %d of %d", v.Index, v.Count)
	}
	return ""
}

// knownHash reports whether the low bits name one of the four hashes.
func knownHash(hashType uint32) bool {
	h := hashType & hashMask
	return h > HashUnknown && h <= HashCrush2
}

// String gives the layout in one line.
func (v LMV) String() string {
	kind := map[uint32]string{LMVMaster: "master", LMVShard: "shard", LMVUser: "user"}[v.Magic]
	s := fmt.Sprintf("%s count=%d index=%d hash=%s version=%d", kind, v.Count, v.Index, HashName(v.HashType), v.LayoutVersion)
	if v.Changing() || v.MigrateOffset != 0 || v.MigrateHash != 0 {
		s += fmt.Sprintf(" migrate_offset=%d migrate_hash=%s", v.MigrateOffset, HashName(v.MigrateHash))
	}
	if p := v.PoolName(); p != "" {
		s += " pool=" + p
	}
	return s
}

// Foreign is a trusted.lmv or trusted.lov whose content belongs to another system. It is to be left alone.
type Foreign struct {
	Type, Flags uint32
	Value       []byte
}

// Encode gives the attribute under the magic LMVForeign or LOVForeign.
func (f Foreign) Encode(magic uint32) []byte {
	b := make([]byte, 0, 16+len(f.Value))
	for _, u := range []uint32{magic, uint32(len(f.Value)), f.Type, f.Flags} {
		b = binary.LittleEndian.AppendUint32(b, u)
	}
	return append(b, f.Value...)
}

// DecodeForeign reads a foreign LMV or LOV: magic, length, type, flags, value. Value shares the memory of b.
func DecodeForeign(b []byte) (Foreign, error) {
	if len(b) < 16 {
		return Foreign{}, fmt.Errorf("decode foreign attribute: %d bytes, want at least 16", len(b))
	}
	u := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	if m := u(0); m != LMVForeign && m != LOVForeign {
		return Foreign{}, fmt.Errorf("decode foreign attribute: magic 0x%08x", m)
	}
	if n := u(1); uint64(n) > uint64(len(b)-16) {
		return Foreign{}, fmt.Errorf("decode foreign attribute: the value has %d bytes, the header says %d", len(b)-16, n)
	}
	return Foreign{Type: u(2), Flags: u(3), Value: b[16 : 16+u(1)]}, nil
}
