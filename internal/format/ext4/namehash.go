package ext4

import "math/bits"

// NameHash gives hash and minor hash of a name, by which hash-tree directories are ordered (kernel: ext4fs_dirhash). version is that
// of the root (HashLegacy to HashTEAUnsigned) or comes from DirHashVersion; the seed is that of the superblock. ok is false for other
// versions and for no name. Directories that fold case hash the folded name, which is not done here.
func NameHash(version uint8, seed [4]uint32, name []byte) (hash, minor uint32, ok bool) {
	if len(name) == 0 {
		return 0, 0, false
	}
	state := [4]uint32{0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476}
	if seed != [4]uint32{} {
		state = seed
	}
	signed := version <= HashTEA
	switch version {
	case HashLegacy, HashLegacyUnsigned:
		hash = legacyHash(name, signed)
	case HashHalfMD4, HashHalfMD4Unsigned:
		var in [8]uint32
		for p := name; ; p = p[32:] {
			packName(p, in[:], signed)
			halfMD4(&state, &in)
			if len(p) <= 32 {
				break
			}
		}
		hash, minor = state[1], state[2]
	case HashTEA, HashTEAUnsigned:
		var in [4]uint32
		for p := name; ; p = p[16:] {
			packName(p, in[:], signed)
			teaMix(&state, &in)
			if len(p) <= 16 {
				break
			}
		}
		hash, minor = state[0], state[1]
	default:
		return 0, 0, false
	}
	hash &^= 1
	if hash == 0xFFFFFFFE { // stands for the end of a directory
		hash = 0xFFFFFFFC
	}
	return hash, minor, true
}

// DirHashVersion gives the version that applies to a root: that on disk, in its unsigned form when the superblock says so.
func (s *Superblock) DirHashVersion(onDisk uint8) uint8 {
	if onDisk <= HashTEA && !s.SignedHash() {
		return onDisk + HashLegacyUnsigned
	}
	return onDisk
}

// char widens one byte as C would.
func char(b byte, signed bool) uint32 {
	if signed {
		return uint32(int32(int8(b)))
	}
	return uint32(b)
}

// packName packs the next bytes of a name into words, most significant byte first, filled up with the length that is left.
func packName(p []byte, words []uint32, signed bool) {
	pad := uint32(len(p)) | uint32(len(p))<<8
	pad |= pad << 16
	for i := range words {
		val := pad
		for k := 4 * i; k < 4*i+4 && k < len(p); k++ {
			val = char(p[k], signed) + val<<8
		}
		words[i] = val
	}
}

// legacyHash is the oldest hash.
func legacyHash(name []byte, signed bool) uint32 {
	h0, h1 := uint32(0x12A3FE2D), uint32(0x37ABE8F9)
	for _, b := range name {
		h := h1 + (h0 ^ char(b, signed)*7152373)
		if h&0x80000000 != 0 {
			h -= 0x7FFFFFFF
		}
		h0, h1 = h, h0
	}
	return h0 << 1
}

// teaMix mixes four words into the state with 16 rounds of TEA.
func teaMix(state, in *[4]uint32) {
	x, y, sum := state[0], state[1], uint32(0)
	for range 16 {
		sum += 0x9E3779B9
		x += (y<<4 + in[0]) ^ (y + sum) ^ (y>>5 + in[1])
		y += (x<<4 + in[2]) ^ (x + sum) ^ (x>>5 + in[3])
	}
	state[0] += x
	state[1] += y
}

// md4Order says for each of the three rounds which word comes in each of its eight steps, md4Shift by how much each of four steps
// turns.
var (
	md4Order = [3][8]int{{0, 1, 2, 3, 4, 5, 6, 7}, {1, 3, 5, 7, 0, 2, 4, 6}, {3, 7, 2, 6, 1, 5, 0, 4}}
	md4Shift = [3][4]int{{3, 7, 11, 19}, {3, 5, 9, 13}, {3, 9, 11, 15}}
	md4Const = [3]uint32{0, 0x5A827999, 0x6ED9EBA1}
)

// halfMD4 mixes eight words into the state with a cut-down MD4.
func halfMD4(state *[4]uint32, in *[8]uint32) {
	a, b, c, d := state[0], state[1], state[2], state[3]
	for round := range 3 {
		for i, word := range md4Order[round] {
			var f uint32
			switch round {
			case 0:
				f = d ^ b&(c^d)
			case 1:
				f = b&c + (b^c)&d
			default:
				f = b ^ c ^ d
			}
			n := bits.RotateLeft32(a+f+in[word]+md4Const[round], md4Shift[round][i%4])
			a, b, c, d = d, n, b, c
		}
	}
	state[0] += a
	state[1] += b
	state[2] += c
	state[3] += d
}
