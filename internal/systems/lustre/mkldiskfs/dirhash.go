package mkldiskfs

import "math/bits"

// halfMD4 is the hash that orders the names of a directory with a hash tree (ext4's "half_md4" with signed characters). The lowest
// bit is always 0.
func halfMD4(name string, seed [16]byte) uint32 {
	var h [4]uint32
	for i := range h {
		h[i] = le.Uint32(seed[4*i:])
	}
	for {
		var in [8]uint32
		packName(name, &in)
		halfMD4Step(&h, &in)
		if len(name) <= 32 {
			break
		}
		name = name[32:]
	}
	out := h[1] &^ 1
	// The largest value stands for the end of a directory.
	if out == 0xfffffffe {
		out = 0xfffffffc
	}
	return out
}

// packName packs up to 32 characters of a name into words, high byte first, and fills up with its length.
func packName(name string, out *[8]uint32) {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	n := min(len(name), 32)
	word, at := pad, 0
	for i := range n {
		word = uint32(int32(int8(name[i]))) + word<<8
		if i%4 == 3 {
			out[at], word = word, pad
			at++
		}
	}
	for ; at < len(out); at++ {
		out[at], word = word, pad
	}
}

// halfMD4Step mixes eight words into the state: three rounds of MD4, each over half of what MD4 takes.
func halfMD4Step(h *[4]uint32, in *[8]uint32) {
	f := func(x, y, z uint32) uint32 { return z ^ x&(y^z) }
	g := func(x, y, z uint32) uint32 { return x&y + (x^y)&z }
	x := func(x, y, z uint32) uint32 { return x ^ y ^ z }
	rounds := [3]struct {
		mix   func(x, y, z uint32) uint32
		add   uint32
		order [8]int
		turn  [4]int
	}{
		{f, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19}},
		{g, 0x5a827999, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13}},
		{x, 0x6ed9eba1, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15}},
	}
	a, b, c, d := h[0], h[1], h[2], h[3]
	for _, r := range rounds {
		for i := 0; i < 8; i += 4 {
			a = bits.RotateLeft32(a+r.mix(b, c, d)+in[r.order[i]]+r.add, r.turn[0])
			d = bits.RotateLeft32(d+r.mix(a, b, c)+in[r.order[i+1]]+r.add, r.turn[1])
			c = bits.RotateLeft32(c+r.mix(d, a, b)+in[r.order[i+2]]+r.add, r.turn[2])
			b = bits.RotateLeft32(b+r.mix(c, d, a)+in[r.order[i+3]]+r.add, r.turn[3])
		}
	}
	h[0], h[1], h[2], h[3] = h[0]+a, h[1]+b, h[2]+c, h[3]+d
}
