package lustre

// NameHash gives the shard that a name belongs in, of count (> 0). ok is false for an unknown hash. Flags in hashType are
// ignored. The functions are part of Lustre's network protocol and will not change (lustre_lmv.h).
func NameHash(hashType uint32, name string, count uint32) (shard uint32, ok bool) {
	if count == 0 {
		return 0, false
	}
	switch hashType & hashMask {
	case HashAllChar:
		sum := uint32(0)
		for i := 0; i < len(name); i++ {
			sum += uint32(name[i])
		}
		return sum % count, true
	case HashFNV:
		return uint32(FNV1a(name) % uint64(count)), true
	case HashCrush:
		return crush(name, count, false), true
	case HashCrush2:
		return crush(name, count, true), true
	}
	return 0, false
}

// FNV1a is the 64-bit FNV-1a hash of a name.
func FNV1a(name string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := 0; i < len(name); i++ {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	return h
}

// crushGroups is the number of placement groups that names are first spread over.
const crushGroups = 4096

// crush draws a straw per shard; the first of the longest ones wins. Temporary and backup names go where their file goes.
func crush(name string, count uint32, second bool) uint32 {
	group := uint32(FNV1a(crushStem(name, second)) % crushGroups)
	var longest, shard uint32
	for i := range count {
		if straw := crushHash(group, i); straw > longest {
			longest, shard = straw, i
		}
	}
	return shard
}

// crushHash is Robert Jenkins' hash of two words, as CRUSH uses it.
func crushHash(a, b uint32) uint32 {
	h := 1315423911 ^ a ^ b
	x, y := uint32(231232), uint32(1232)
	crushMix(&a, &b, &h)
	crushMix(&x, &a, &h)
	crushMix(&b, &y, &h)
	return h
}

func crushMix(pa, pb, pc *uint32) {
	a, b, c := *pa, *pb, *pc
	a = (a - b - c) ^ c>>13
	b = (b - c - a) ^ a<<8
	c = (c - a - b) ^ b>>13
	a = (a - b - c) ^ c>>12
	b = (b - c - a) ^ a<<16
	c = (c - a - b) ^ b>>5
	a = (a - b - c) ^ c>>3
	b = (b - c - a) ^ a<<10
	c = (c - a - b) ^ b>>15
	*pa, *pb, *pc = a, b, c
}

// crushStem strips what marks a temporary file of rsync (.NAME.XXXXXX) or dcp (NAME.XXXXXXXX), or else a backup file.
func crushStem(name string, second bool) string {
	switch {
	case isTemporary(name, true, 6, second):
		return name[1 : len(name)-7]
	case isTemporary(name, false, 8, second):
		return name[:len(name)-9]
	}
	return name[:len(name)-backupSuffix(name)]
}

// isTemporary reports whether the name ends in '.' and a suffix that looks like one of mktemp. crush and crush2 differ: the
// first lets any byte into the suffix, and takes digits the wrong way round.
func isTemporary(name string, dot bool, suffix int, second bool) bool {
	prefix := 0
	if dot {
		prefix = 1
		if name == "" || name[0] != '.' {
			return false
		}
	}
	n := len(name)
	if n < prefix+suffix+2 || name[n-suffix-1] != '.' {
		return false
	}
	var lower, upper, digit int
	for _, c := range []byte(name[n-suffix:]) {
		switch {
		case isLower(c):
			lower++
		case isUpper(c):
			upper++
		case isDigit(c):
			digit++
		case second:
			return false
		}
	}
	if upper == suffix || lower == suffix {
		return false
	}
	if digit >= suffix-1 {
		// crush2 refuses suffixes that begin with a digit, crush those that do not.
		return isDigit(name[n-suffix]) != second
	}
	return true
}

// backupSuffix is how many bytes at the end mark a backup file: "~", .bak, .sav, .orig.
func backupSuffix(name string) int {
	n := len(name)
	switch {
	case n > 1 && name[n-1] == '~' && name[n-2] != '.':
		return 1
	case n > 4 && (foldEqual(name[n-4:], ".bak") || foldEqual(name[n-4:], ".sav")):
		return 4
	case n > 5 && foldEqual(name[n-5:], ".orig"):
		return 5
	}
	return 0
}

// foldEqual compares with ASCII letters of either case; lower is in lower case and as long as s.
func foldEqual(s, lower string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// The kernel's ctype counts the letters of Latin-1 as letters: 0xc0 to 0xde upper without 0xd7, 0xdf to 0xff lower without 0xf7.
func isLower(c byte) bool { return c >= 'a' && c <= 'z' || c >= 0xdf && c != 0xf7 }
func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' || c >= 0xc0 && c <= 0xde && c != 0xd7 }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
