package ext4

// DxEntrySize is the size of an entry of a hash-tree block: {hash u32, block u32}. The first one holds {limit u16, count u16, block}.
const DxEntrySize = 8
