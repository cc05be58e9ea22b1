package ext4edit

import (
	"cmp"
	"slices"
)

// span is a run of blocks.
type span struct{ from, n uint64 }

// metadata lists, sorted, the blocks that can never belong to a file: superblocks, descriptors, bitmaps, inode tables. It fails when
// they overlap or leave the file system: then nothing may be allocated or freed.
func (e *Edit) metadata() ([]span, error) {
	if e.meta != nil {
		return e.meta, nil
	}
	if n := e.over.limit / (2 + e.sb.TableBlocks()); uint64(e.view.Groups()) > n {
		return nil, damaged("%d groups do not fit into %d blocks", e.view.Groups(), e.over.limit)
	}
	list := make([]span, 0, 4*int(e.view.Groups()))
	for g := range e.view.Groups() {
		d, err := e.view.Group(g) // places never change
		if err != nil {
			return nil, err
		}
		if n := e.sb.BaseBlocks(g); n > 0 {
			list = append(list, span{e.sb.GroupFirstBlock(g), n})
		}
		list = append(list, span{d.BlockBitmap, 1}, span{d.InodeBitmap, 1}, span{d.InodeTable, e.sb.TableBlocks()})
	}
	slices.SortFunc(list, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	end := uint64(e.sb.FirstDataBlock)
	for _, s := range list {
		if s.from < end || s.n > e.over.limit || s.from > e.over.limit-s.n {
			return nil, damaged("superblocks, descriptors, bitmaps and inode tables overlap at block %d or pass the end", s.from)
		}
		end = s.from + s.n
	}
	e.meta = list
	return list, nil
}

// isMeta says whether a block is one of those of metadata.
func (e *Edit) isMeta(block uint64) (bool, error) {
	_, meta, err := e.metaAt(block)
	return meta, err
}

// metaAt gives the run of metadata that a block is part of.
func (e *Edit) metaAt(block uint64) (s span, ok bool, err error) {
	s, err = e.metaFrom(block)
	return s, err == nil && s.from <= block && block-s.from < s.n, err
}

// metaFrom gives the first run of metadata that ends behind a block; its length is 0 if there is none.
func (e *Edit) metaFrom(block uint64) (span, error) {
	list, err := e.metadata()
	if err != nil {
		return span{}, err
	}
	i, _ := slices.BinarySearchFunc(list, block, func(s span, b uint64) int { return cmp.Compare(s.from+s.n, b+1) })
	if i == len(list) {
		return span{}, nil
	}
	return list[i], nil
}

// own checks that a block may be changed as part of a file: it lies in the file system, is no metadata, and is marked as in use.
func (e *Edit) own(block uint64) error {
	if !e.view.BlockOK(block) {
		return damaged("block %d lies outside the file system", block)
	}
	meta, err := e.isMeta(block)
	if err != nil {
		return err
	}
	if meta {
		return damaged("block %d of a file holds a bitmap, an inode table or descriptors", block)
	}
	used, err := e.blockInUse(block)
	if err == nil && !used {
		err = damaged("block %d of a file is marked as free", block)
	}
	return err
}

// change reads a block that belongs to a file, after the checks of own.
func (e *Edit) change(block uint64) ([]byte, error) {
	if err := e.own(block); err != nil {
		return nil, err
	}
	return e.over.read(block)
}
