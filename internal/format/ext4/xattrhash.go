package ext4

// XattrEntryHash gives the hash kept in an entry whose value lies beside it (kernel: ext4_xattr_hash_entry). Entries in inodes may
// hold 0 instead. Bytes of the name count as unsigned.
func XattrEntryHash(name, value []byte) uint32 {
	h := xattrNameHash(name)
	for len(value) >= 4 {
		h = h<<16 ^ h>>16 ^ le.Uint32(value)
		value = value[4:]
	}
	if len(value) > 0 {
		var last [4]byte
		copy(last[:], value)
		h = h<<16 ^ h>>16 ^ le.Uint32(last[:])
	}
	return h
}

// XattrEntryHashInode gives the hash kept in an entry whose value lies in an inode of its own.
func (c *Sums) XattrEntryHashInode(name, value []byte) uint32 {
	h := xattrNameHash(name)
	return h<<16 ^ h>>16 ^ CRC32C(c.Seed, value)
}

func xattrNameHash(name []byte) uint32 {
	var h uint32
	for _, b := range name {
		h = h<<5 ^ h>>27 ^ uint32(b)
	}
	return h
}

// XattrBlockHash gives the hash of an attribute block's header from the hashes of its entries in order: 0 if one of them is 0.
func XattrBlockHash(entries []uint32) uint32 {
	var h uint32
	for _, e := range entries {
		if e == 0 {
			return 0
		}
		h = h<<16 ^ h>>16 ^ e
	}
	return h
}
