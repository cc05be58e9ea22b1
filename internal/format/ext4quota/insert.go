package ext4quota

// Insert gives an id an entry without limits. most is how many bytes the file may have: when neither the list of free blocks nor
// the blocks behind the last one have what the tree needs, the error is ErrFull, and nothing is changed. A list of free blocks or of
// blocks with room that does not hold together is ErrDamaged.
func (f *File) Insert(id uint32, u Usage, most int) error {
	if f.Set(id, u) {
		return nil
	}
	was := append([]byte(nil), f.data...)
	blocks := f.blocks
	if err := f.insert(id, min(most, MaxSize)); err != nil {
		f.data, f.blocks = was, blocks
		return err
	}
	f.Set(id, u)
	return nil
}

func (f *File) insert(id uint32, most int) error {
	table := uint32(treeOff)
	for level := range depth - 1 {
		slot := 4 * int(id>>(8*(depth-1-level))&0xff)
		next := le.Uint32(f.block(table)[slot:])
		if next == 0 {
			var err error
			if next, err = f.newBlock(most); err != nil {
				return err
			}
			le.PutUint32(f.block(table)[slot:], next)
		}
		table = next
	}
	leaf, at, err := f.newEntry(most)
	if err != nil {
		return err
	}
	le.PutUint32(f.block(table)[4*int(id&0xff):], leaf)
	le.PutUint32(f.data[at:], id)
	f.entries[id] = at
	return nil
}

// newBlock takes a free block, or one behind the last, and clears it.
func (f *File) newBlock(most int) (uint32, error) {
	n := le.Uint32(f.data[infoFree:])
	switch {
	case n == 0:
		n = f.blocks
		if int(n+1)*BlockSize > most {
			return 0, ErrFull
		}
		for len(f.data) < int(n+1)*BlockSize {
			f.data = append(f.data, make([]byte, BlockSize)...)
		}
		f.blocks++
		le.PutUint32(f.data[infoBlocks:], f.blocks)
	case n <= treeOff || n >= f.blocks || f.known(n):
		return 0, damaged("the list of free blocks leads to block %d", n)
	default:
		next := le.Uint32(f.block(n)[leafNext:])
		if next >= f.blocks {
			return 0, damaged("the list of free blocks leads to block %d of %d", next, f.blocks)
		}
		le.PutUint32(f.data[infoFree:], next)
	}
	clear(f.block(n))
	return n, nil
}

// known says whether the tree leads to a block.
func (f *File) known(block uint32) bool {
	w := walk{f: &File{kind: f.kind, data: f.data, blocks: f.blocks, entries: map[uint32]int{}}, seen: make([]byte, f.blocks)}
	return w.table(treeOff, 0, 0) != nil || w.seen[block] != unseen
}

// newEntry takes a free entry of the first block with room, or of a new block.
func (f *File) newEntry(most int) (leaf uint32, at int, err error) {
	leaf = le.Uint32(f.data[infoRoom:])
	if leaf == 0 {
		if leaf, err = f.newBlock(most); err != nil {
			return 0, 0, err
		}
		le.PutUint32(f.data[infoRoom:], leaf)
	} else if leaf <= treeOff || leaf >= f.blocks || !f.holdsEntries(leaf) {
		return 0, 0, damaged("the list of blocks with room leads to block %d", leaf)
	}
	b := f.block(leaf)
	count := int(le.Uint16(b[leafCount:]))
	slot := 0
	for slot < perLeaf && !empty(b[leafHeader+slot*entrySize:][:entrySize]) {
		slot++
	}
	if slot == perLeaf || count >= perLeaf {
		return 0, 0, damaged("block %d has no room, though it is listed as having some", leaf)
	}
	le.PutUint16(b[leafCount:], uint16(count+1))
	if count+1 == perLeaf {
		if err := f.unlist(leaf); err != nil {
			return 0, 0, err
		}
	}
	return leaf, int(leaf)*BlockSize + leafHeader + slot*entrySize, nil
}

// holdsEntries says whether a block is one of those with entries.
func (f *File) holdsEntries(block uint32) bool {
	for _, at := range f.entries {
		if uint32(at/BlockSize) == block {
			return true
		}
	}
	return false
}

// unlist takes a block, the first of the list of blocks with room, off it.
func (f *File) unlist(block uint32) error {
	b := f.block(block)
	next := le.Uint32(b[leafNext:])
	if prev := le.Uint32(b[leafPrev:]); prev != 0 || next != 0 && (next <= treeOff || next >= f.blocks || next == block || !f.holdsEntries(next)) {
		return damaged("block %d is between blocks %d and %d in the list of those with room", block, prev, next)
	}
	if next != 0 {
		le.PutUint32(f.block(next)[leafPrev:], 0)
	}
	le.PutUint32(b[leafNext:], 0)
	le.PutUint32(f.data[infoRoom:], next)
	return nil
}
