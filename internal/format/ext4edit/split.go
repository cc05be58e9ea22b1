package ext4edit

import (
	"cmp"
	"slices"

	"fettle/internal/format/ext4"
)

// putFrame writes limit, count, entries and checksum of a hash-tree block. The bytes of unused entries become zero.
func (e *Edit) putFrame(in *ext4.Inode, f *frame) error {
	limit, at := e.sb.DxLimit(f.dx.CountAt), f.dx.CountAt
	if len(f.dx.Entries) > limit || len(f.dx.Entries) == 0 {
		return ErrNeedsSplit
	}
	f.dx.Limit, f.dx.Count = limit, len(f.dx.Entries)
	if f.dx.Root {
		f.buf[f.dx.InfoAt+ext4.DxInfoLevels] = f.dx.Levels
	}
	clear(f.buf[at : at+limit*ext4.DxEntrySize])
	for i, x := range f.dx.Entries {
		le.PutUint32(f.buf[at+i*ext4.DxEntrySize:], x.Hash)
		le.PutUint32(f.buf[at+i*ext4.DxEntrySize+4:], x.Block)
	}
	le.PutUint16(f.buf[at:], uint16(limit)) // in the place of the first hash
	le.PutUint16(f.buf[at+2:], uint16(f.dx.Count))
	if err := e.sums.PutDirNode(in.Number, in.Generation, f.buf, at); err != nil {
		return err
	}
	e.ofDir[f.block] = true
	return e.over.write(f.block, f.buf)
}

// newFrame adds a block to a directory and makes it an inner node with the given entries.
func (e *Edit) newFrame(in *ext4.Inode, entries []ext4.DxEntry) (frame, error) {
	logical, block, err := e.appendBlock(in)
	if err != nil {
		return frame{}, err
	}
	f := frame{logical: logical, block: block, buf: make([]byte, e.over.size)}
	e.setRecLen(f.buf, e.over.size)
	f.dx = ext4.DxNode{CountAt: ext4.DirentHeader, Entries: slices.Clone(entries)}
	return f, e.putFrame(in, &f)
}

// addChild enters a block into the node at a level of a path, behind the entry that was followed. Full nodes are split, a full root
// gets a level below it.
func (e *Edit) addChild(in *ext4.Inode, path []frame, level int, x ext4.DxEntry) error {
	f := &path[level]
	all := slices.Insert(slices.Clone(f.dx.Entries), f.at+1, x)
	if len(all) <= f.dx.Limit {
		f.dx.Entries = all
		return e.putFrame(in, f)
	}
	if level == 0 {
		if int(f.dx.Levels) >= e.maxLevels() {
			return ErrNeedsSplit
		}
		below, err := e.newFrame(in, f.dx.Entries)
		if err != nil {
			return err
		}
		below.at = f.at
		f.dx.Entries = []ext4.DxEntry{{Block: below.logical}}
		f.dx.Levels++
		f.at = 0
		if err := e.putFrame(in, f); err != nil {
			return err
		}
		path = append([]frame{*f, below}, path[1:]...)
		return e.addChild(in, path, 1, x)
	}
	k := len(all) / 2
	right, err := e.newFrame(in, all[k:])
	if err != nil {
		return err
	}
	f.dx.Entries = all[:k]
	if err := e.putFrame(in, f); err != nil {
		return err
	}
	return e.addChild(in, path, level-1, ext4.DxEntry{Hash: all[k].Hash, Block: right.logical})
}

// hashed is a whole entry with the hash of its name.
type hashed struct {
	hash uint32
	raw  []byte
}

// insertIndexed puts an entry into the leaf of a hash tree where it belongs, and splits that if it has no room.
func (e *Edit) insertIndexed(in *ext4.Inode, p *place, d ext4.Dirent) (At, error) {
	path, hash, err := e.probe(in, p, d.Name)
	if err != nil {
		return At{}, err
	}
	l, err := e.leaf(in, p, leafOf(path))
	if err != nil {
		return At{}, err
	}
	if i := l.room(ext4.DirentLen(len(d.Name), len(d.Data))); i >= 0 {
		return e.insertHere(in, l, i, d)
	}
	list, mine, err := e.hashes(l, path[0].dx.HashVersion, d, hash)
	if err != nil {
		return At{}, err
	}
	k, err := e.divide(list)
	if err != nil {
		return At{}, err
	}
	logical, block, err := e.appendBlock(in)
	if err != nil {
		return At{}, err
	}
	upper := &leaf{logical: logical, block: block}
	if l.buf, err = e.packHashed(list[:k]); err != nil {
		return At{}, err
	}
	if upper.buf, err = e.packHashed(list[k:]); err != nil {
		return At{}, err
	}
	if err := firstOf(e.putLeaf(in, l), e.putLeaf(in, upper)); err != nil {
		return At{}, err
	}
	x := ext4.DxEntry{Hash: list[k].hash, Block: logical}
	if list[k-1].hash == x.Hash {
		x.Hash |= 1 // the leaf before ends with the same hash
	}
	if err := e.addChild(in, path, len(path)-1, x); err != nil {
		return At{}, err
	}
	at, from := At{Logical: l.logical}, 0
	if mine >= k {
		at.Logical, from = logical, k
	}
	for _, h := range list[from:mine] {
		at.Offset += len(h.raw)
	}
	return at, nil
}

// hashes gives the entries of a leaf and a new one, sorted by hash, and the place of the new one among them.
func (e *Edit) hashes(l *leaf, version uint8, d ext4.Dirent, hash uint32) (list []hashed, mine int, err error) {
	for _, s := range l.slots {
		if s.ino == 0 {
			continue
		}
		h, err := e.hash(version, l.name(s))
		if err != nil {
			return nil, 0, err
		}
		list = append(list, hashed{h, l.raw(s)})
	}
	slices.SortStableFunc(list, func(a, b hashed) int { return cmp.Compare(a.hash, b.hash) })
	raw, err := e.encode(d)
	if err != nil {
		return nil, 0, err
	}
	for mine < len(list) && list[mine].hash <= hash {
		mine++
	}
	return slices.Insert(list, mine, hashed{hash, raw}), mine, nil
}

// divide finds where to cut a sorted list so that both parts fit into a leaf and are as equal in size as can be.
func (e *Edit) divide(list []hashed) (int, error) {
	total := 0
	for _, h := range list {
		total += len(h.raw)
	}
	best, score, sum := 0, total+1, 0
	for i := 1; i < len(list); i++ {
		sum += len(list[i-1].raw)
		if diff := max(sum, total-sum); diff <= e.leafEnd() && diff < score {
			best, score = i, diff
		}
	}
	if best == 0 {
		return 0, ErrNeedsSplit
	}
	return best, nil
}

func (e *Edit) packHashed(list []hashed) ([]byte, error) {
	entries := make([][]byte, len(list))
	for i, h := range list {
		entries[i] = h.raw
	}
	return e.pack(entries)
}
