package match

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"fettle/internal/claim"
)

// hashLevels is the number of independent hashes a subject has. Level 0 is fast
// and orders everything. The others are cryptographic and are computed only for
// different subjects whose lower levels are all equal, which takes an adversary.
const hashLevels = 3

// Three odd constants with about half their bits set (digits of pi, e and the
// square root of 2), so that short or zero subjects do not meet zero factors.
const (
	mixA = 0x243f6a8885a308d3
	mixB = 0xb7e151628aed2a6b
	mixC = 0x6a09e667f3bcc909
)

// Hash is the level-0 hash of a subject: fast, well mixed in all bits, the same
// on every host and in every version, since marks and spill files rely on it. It
// is not safe against someone who knows the seed; Groups copes with collisions.
func Hash(seed uint64, s claim.Subject) uint64 {
	n := uint64(len(s))
	// Both factors depend on the seed: a factor of zero would swallow the other one,
	// and whoever does not know the seed must not be able to bring that about.
	k := bits.RotateLeft64(seed, 32)
	h := seed ^ mixC
	for len(s) > 16 {
		h = fold(binary.LittleEndian.Uint64(s)^mixA^k, binary.LittleEndian.Uint64(s[8:])^h)
		s = s[16:]
	}
	var a, b uint64
	switch {
	case len(s) >= 8:
		a, b = binary.LittleEndian.Uint64(s), binary.LittleEndian.Uint64(s[len(s)-8:])
	case len(s) >= 4:
		a, b = uint64(binary.LittleEndian.Uint32(s)), uint64(binary.LittleEndian.Uint32(s[len(s)-4:]))
	case len(s) > 0:
		a = uint64(s[0]) | uint64(s[len(s)/2])<<8 | uint64(s[len(s)-1])<<16
	}
	h = fold(a^mixB^k, b^h)
	return fold(h^mixA^k, n^seed^mixC)
}

// fold multiplies to 128 bits and folds the halves together.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// keyAt is the hash of a subject at a level below hashLevels.
func keyAt(level int, seed uint64, s claim.Subject) uint64 {
	if level == 0 {
		return Hash(seed, s)
	}
	var buf [9 + claim.MaxSubject]byte
	binary.LittleEndian.PutUint64(buf[:], seed)
	buf[8] = byte(level)
	n := copy(buf[9:], s)
	sum := sha256.Sum256(buf[:9+n])
	return binary.BigEndian.Uint64(sum[:])
}

// PartitionOf is the partition, of a power of two many, that claims about s go to.
func PartitionOf(seed uint64, partitions int, s claim.Subject) int {
	return partitionOf(Hash(seed, s), partitionShift(partitions))
}

// partitionOf keeps the top bits of a hash. A shift of 64 gives 0.
func partitionOf(h uint64, shift uint) int { return int(h >> shift) }

// partitionShift is how far to shift a hash to keep log2(partitions) bits.
func partitionShift(partitions int) uint { return uint(64 - bits.Len(uint(partitions)-1)) }
