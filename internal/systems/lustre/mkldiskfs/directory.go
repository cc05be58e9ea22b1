package mkldiskfs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// Entry is a name in a directory. A zero FID means that none stands behind the name. One without an inode is not in use: a name
// that was removed from the begin of a block.
type Entry struct {
	Name string
	Ino  uint32
	Type uint8 // ext4.TypeDir and others
	FID  lustre.FID
	// Slack is how many bytes follow that the entry does not need, a multiple of 4: what is left of a removed name.
	Slack int
}

func (e *Entry) size() int {
	if e.FID.IsZero() {
		return lustre.EntrySize(len(e.Name), 0) + e.Slack
	}
	return lustre.EntrySizeFID(len(e.Name)) + e.Slack
}

// put writes an entry with a record length at the begin of b.
func (e *Entry) put(b []byte, recLen int) {
	le.PutUint32(b, e.Ino)
	le.PutUint16(b[4:], ext4.EncodeRecLen(recLen, BlockSize))
	b[6], b[7] = byte(len(e.Name)), e.Type
	copy(b[8:], e.Name)
	if !e.FID.IsZero() {
		b[7] |= lustre.DirLUFID
		lustre.AppendEntryFID(b[:8+len(e.Name)], e.FID)
	}
	if e.Slack >= ext4.DirentMin {
		gone := Entry{Name: strings.Repeat("g", min(e.Slack-8, 255)), Ino: e.Ino, Type: ext4.TypeRegular}
		gone.put(b[e.size()-e.Slack:], e.Slack)
	}
}

// Dir is a directory to be written.
type Dir struct {
	Ino, Generation uint32
	// Parent is what '..' says: its Ino and FID are used. '.' never has a FID.
	Parent  Entry
	Entries []Entry
	// MinBlocks makes the directory longer than it has to be, as lost+found is.
	MinBlocks int
}

// PutDir writes the blocks of a directory and gives its map: one block after the other, or a hash tree if there are several.
func (im *Image) PutDir(d *Dir) (Map, error) {
	w := dirWriter{im: im, d: d, seed: im.inodeSeed(d.Ino, d.Generation), room: BlockSize}
	if im.opt.MetadataCsum {
		w.room -= ext4.DirTailSize
	}
	need := 0
	for i := range d.Entries {
		need += d.Entries[i].size()
		if len(d.Entries[i].Name) == 0 || len(d.Entries[i].Name) > 255 {
			return Map{}, fmt.Errorf("directory %d: a name of %d bytes", d.Ino, len(d.Entries[i].Name))
		}
	}
	if im.opt.Linear || d.MinBlocks > 1 || need+12+w.dotdot().size() <= w.room {
		w.linear()
	} else if err := w.tree(need); err != nil {
		return Map{}, fmt.Errorf("directory %d: %w", d.Ino, err)
	}
	m, err := im.PutFile(d.Ino, d.Generation, w.data)
	m.Flags |= w.flags
	return m, err
}

// dirWriter lays out one directory in memory.
type dirWriter struct {
	im    *Image
	d     *Dir
	seed  uint32 // of checksums
	room  int    // bytes of a block that entries may use
	flags uint32
	data  []byte
}

func (w *dirWriter) dot() *Entry { return &Entry{Name: ".", Ino: w.d.Ino, Type: ext4.TypeDir} }

func (w *dirWriter) dotdot() *Entry {
	return &Entry{Name: "..", Ino: w.d.Parent.Ino, Type: ext4.TypeDir, FID: w.d.Parent.FID}
}

// leaf adds a block with entries; the last entry takes the rest of it. Without entries one that is not in use takes all.
func (w *dirWriter) leaf(entries []*Entry) {
	at := len(w.data)
	w.data = append(w.data, make([]byte, BlockSize)...)
	b := w.data[at:]
	used := 0
	for i, e := range entries {
		n := e.size()
		if i == len(entries)-1 {
			n = w.room - used
		}
		e.put(b[used:], n)
		used += n
	}
	if len(entries) == 0 {
		le.PutUint16(b[4:], ext4.EncodeRecLen(w.room, BlockSize))
	}
	w.im.sealDir(w.seed, b)
}

// sealDir puts the checksum at the end of a directory block, if there are any.
func (im *Image) sealDir(seed uint32, b []byte) {
	if !im.opt.MetadataCsum {
		return
	}
	tail := b[BlockSize-ext4.DirTailSize:]
	le.PutUint16(tail[4:], ext4.DirTailSize)
	tail[7] = ext4.DirTailType
	le.PutUint32(tail[8:], ext4.CRC32C(seed, b[:BlockSize-ext4.DirTailSize]))
}

// linear fills one block after the other, in the order of the entries.
func (w *dirWriter) linear() {
	now, used := []*Entry{w.dot(), w.dotdot()}, 12+w.dotdot().size()
	for i := range w.d.Entries {
		e := &w.d.Entries[i]
		if used+e.size() > w.room {
			w.leaf(now)
			now, used = nil, 0
		}
		now, used = append(now, e), used+e.size()
	}
	w.leaf(now)
	for len(w.data) < w.d.MinBlocks*BlockSize {
		w.leaf(nil)
	}
}

// dxEntry says from which hash on names are in a block.
type dxEntry struct {
	hash  uint32
	block uint32
}

// tree makes a hash tree of one or two levels. Leaves are filled to three quarters.
func (w *dirWriter) tree(need int) error {
	w.flags |= ext4.FlagIndex
	all := make([]hashed, len(w.d.Entries))
	for i := range all {
		e := &w.d.Entries[i]
		all[i] = hashed{halfMD4(e.Name, w.im.hash), e}
	}
	slices.SortFunc(all, func(a, b hashed) int { return cmp.Compare(a.hash, b.hash) })
	w.data = make([]byte, BlockSize, (need/(w.room*3/4)+4)*BlockSize)
	return w.index(w.leaves(all))
}

// hashed is an entry with the hash of its name.
type hashed struct {
	hash uint32
	e    *Entry
}

// leaves writes entries, which are in the order of their hashes, into leaves.
func (w *dirWriter) leaves(all []hashed) (index []dxEntry) {
	for at := 0; at < len(all); {
		first, hash, used := at, all[at].hash, 0
		var now []*Entry
		for ; at < len(all); at++ {
			n := all[at].e.size()
			if used+n > w.room || used > w.room*3/4 && all[at].hash != all[at-1].hash {
				break
			}
			now, used = append(now, all[at].e), used+n
		}
		if first > 0 && all[first-1].hash == hash {
			hash |= 1 // names of this hash begin in the leaf before
		}
		index = append(index, dxEntry{hash, uint32(len(w.data) / BlockSize)})
		w.leaf(now)
	}
	index[0].hash = 0
	return index
}

// index writes the root, block 0, and inner nodes if it needs them.
func (w *dirWriter) index(index []dxEntry) error {
	rootAt := 12 + w.dotdot().size() + ext4.DxInfoSize
	limit := (BlockSize - rootAt) / ext4.DxEntrySize
	inner := (BlockSize - 8) / ext4.DxEntrySize
	if w.im.opt.MetadataCsum {
		limit, inner = limit-1, inner-1
	}
	levels := 0
	if len(index) > limit {
		levels = 1
		var above []dxEntry
		for len(index) > 0 {
			n := min(len(index), inner)
			above = append(above, dxEntry{index[0].hash, uint32(len(w.data) / BlockSize)})
			w.data = append(w.data, make([]byte, BlockSize)...)
			node := w.data[len(w.data)-BlockSize:]
			le.PutUint16(node[4:], ext4.EncodeRecLen(BlockSize, BlockSize))
			w.putIndex(node, 8, inner, index[:n])
			index = index[n:]
		}
		index = above
	}
	if len(index) > limit {
		return fmt.Errorf("%d blocks are too many for a hash tree", len(w.data)/BlockSize)
	}
	root := w.data[:BlockSize]
	w.dot().put(root, 12)
	w.dotdot().put(root[12:], BlockSize-12)
	info := root[rootAt-ext4.DxInfoSize:]
	info[ext4.DxInfoVersion], info[ext4.DxInfoLength], info[ext4.DxInfoLevels] = ext4.HashHalfMD4, ext4.DxInfoSize, byte(levels)
	w.putIndex(root, rootAt, limit, index)
	return nil
}

// putIndex writes limit, count and entries of a root or inner node, with its checksum.
func (w *dirWriter) putIndex(b []byte, at, limit int, index []dxEntry) {
	for i, e := range index {
		le.PutUint32(b[at+8*i:], e.hash)
		le.PutUint32(b[at+8*i+4:], e.block)
	}
	le.PutUint16(b[at:], uint16(limit))
	le.PutUint16(b[at+2:], uint16(len(index)))
	if w.im.opt.MetadataCsum {
		tail := b[at+8*limit:]
		crc := ext4.CRC32C(w.seed, b[:at+8*len(index)])
		le.PutUint32(tail[4:], ext4.CRC32C(crc, make([]byte, 8)))
	}
}
