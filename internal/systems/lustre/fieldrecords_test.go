package lustre

import (
	"encoding/binary"
	"os"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// field is a field of a kind of record: so many bytes from the record's begin.
type field struct {
	name string
	off  int64
	size int
	big  bool // big-endian
}

// rec is a record of the images. seal makes the checksum over it right again, nil where there is none.
type rec struct {
	kind   string
	mdt    int
	at     int64
	fields []field
	seal   func(f *os.File) error
}

// fieldsOf lists little-endian fields: name, offset, size.
func fieldsOf(list ...any) []field {
	var out []field
	for i := 0; i < len(list); i += 3 {
		out = append(out, field{name: list[i].(string), off: int64(list[i+1].(int)), size: list[i+2].(int)})
	}
	return out
}

func bigFields(list ...any) []field {
	out := fieldsOf(list...)
	for i := range out {
		out[i].big = true
	}
	return out
}

// Fields with fixed places.
var (
	superFields = fieldsOf("inodes", ext4.SBInodesCount, 4, "blocks", ext4.SBBlocksCountLo, 4, "reserved blocks", ext4.SBReservedBlocksLo, 4,
		"free blocks", ext4.SBFreeBlocksLo, 4, "free inodes", ext4.SBFreeInodes, 4, "first data block", ext4.SBFirstDataBlock, 4,
		"block size", ext4.SBLogBlockSize, 4, "cluster size", ext4.SBLogClusterSize, 4, "blocks per group", ext4.SBBlocksPerGroup, 4,
		"inodes per group", ext4.SBInodesPerGroup, 4, "write time", ext4.SBWriteTime, 4, "mount count", ext4.SBMountCount, 2, "magic", ext4.SBMagic, 2,
		"state", ext4.SBState, 2, "errors", ext4.SBErrors, 2, "revision", ext4.SBRevLevel, 4, "first inode", ext4.SBFirstIno, 4,
		"inode size", ext4.SBInodeSize, 2, "group number", ext4.SBBlockGroupNr, 2, "compat", ext4.SBFeatureCompat, 4, "incompat", ext4.SBFeatureIncompat, 4,
		"ro_compat", ext4.SBFeatureROCompat, 4, "uuid", ext4.SBUUID, 8, "label", ext4.SBVolumeName, 8, "label end", ext4.SBVolumeName+8, 4,
		"reserved descriptors", ext4.SBReservedGDTBlocks, 2, "journal inode", ext4.SBJournalInum, 4, "last orphan", ext4.SBLastOrphan, 4,
		"hash seed", ext4.SBHashSeed, 4, "hash version", ext4.SBDefHashVersion, 1, "descriptor size", ext4.SBDescSize, 2,
		"first meta group", ext4.SBFirstMetaBG, 4, "blocks high", ext4.SBBlocksCountHi, 4, "free blocks high", ext4.SBFreeBlocksHi, 4,
		"min extra size", ext4.SBMinExtraIsize, 2, "want extra size", ext4.SBWantExtraIsize, 2, "flags", ext4.SBFlags, 4,
		"mmp block", ext4.SBMMPBlock, 8, "flex groups", ext4.SBLogGroupsPerFlex, 1, "checksum type", ext4.SBChecksumType, 1,
		"error count", ext4.SBErrorCount, 4, "user quota", ext4.SBUserQuotaInum, 4, "project quota", ext4.SBProjectQuotaInum, 4, "checksum seed", ext4.SBChecksumSeed, 4, "checksum", ext4.SBChecksum, 4)

	groupFields = fieldsOf("block bitmap", ext4.GDBlockBitmapLo, 4, "inode bitmap", ext4.GDInodeBitmapLo, 4, "inode table", ext4.GDInodeTableLo, 4,
		"free blocks", ext4.GDFreeBlocksLo, 2, "free inodes", ext4.GDFreeInodesLo, 2, "directories", ext4.GDUsedDirsLo, 2, "flags", ext4.GDFlags, 2,
		"block bitmap checksum", ext4.GDBlockBitmapCSLo, 2, "inode bitmap checksum", ext4.GDInodeBitmapCSLo, 2, "unused inodes", ext4.GDItableUnusedLo, 2, "checksum", ext4.GDChecksum, 2)
	groupHigh = fieldsOf("block bitmap high", ext4.GDBlockBitmapHi, 4, "inode bitmap high", ext4.GDInodeBitmapHi, 4, "inode table high", ext4.GDInodeTableHi, 4,
		"free inodes high", ext4.GDFreeInodesHi, 2, "directories high", ext4.GDUsedDirsHi, 2, "unused inodes high", ext4.GDItableUnusedHi, 2)

	inodeFields = fieldsOf("mode", ext4.InodeMode, 2, "uid", ext4.InodeUIDLo, 2, "size", ext4.InodeSizeLo, 4, "ctime", ext4.InodeCtime, 4, "dtime", ext4.InodeDtime, 4,
		"gid", ext4.InodeGIDLo, 2, "links", ext4.InodeLinks, 2, "sectors", ext4.InodeBlocksLo, 4, "flags", ext4.InodeFlags, 4, "version", ext4.InodeVersionLo, 4,
		"generation", ext4.InodeGeneration, 4, "attribute block", ext4.InodeFileACLLo, 4, "size high", ext4.InodeSizeHi, 4, "attribute block high", ext4.InodeFileACLHi, 2,
		"checksum", ext4.InodeChecksumLo, 2, "extra size", ext4.InodeExtraIsize, 2, "checksum high", ext4.InodeChecksumHi, 2, "project", ext4.InodeProjID, 4)
	blockMap = fieldsOf("block 0", ext4.InodeBlock, 4, "block 1", ext4.InodeBlock+4, 4, "indirect", ext4.InodeBlock+48, 4, "double indirect", ext4.InodeBlock+52, 4, "triple indirect", ext4.InodeBlock+56, 4)
	extents  = fieldsOf("magic", 0, 2, "entries", 2, 2, "max", 4, 2, "depth", 6, 2, "generation", 8, 4)
	leafOf   = fieldsOf("logical", 12, 4, "length", 16, 2, "physical high", 18, 2, "physical", 20, 4)
	indexOf  = fieldsOf("index logical", 12, 4, "index block", 16, 4, "index block high", 20, 2)

	xattrFields   = fieldsOf("name length", 0, 1, "name index", 1, 1, "value offset", 2, 2, "value inode", 4, 4, "value size", 8, 4, "hash", 12, 4, "name", 16, 1)
	xattrBlock    = fieldsOf("magic", 0, 4, "references", 4, 4, "blocks", 8, 4, "hash", 12, 4, "checksum", 16, 4)
	lmaFields     = fieldsOf("compat", 0, 4, "incompat", 4, 4, "sequence", 8, 8, "object", 16, 4, "version", 20, 4)
	linkFields    = fieldsOf("magic", 0, 4, "records", 4, 4, "length", 8, 8, "overflow", 16, 4, "padding", 20, 4)
	linkRecFields = bigFields("record length", 24, 2, "parent sequence", 26, 8, "parent object", 34, 4, "parent version", 38, 4, "name", 42, 1)
	lmvFields     = fieldsOf("magic", 0, 4, "count", 4, 4, "index", 8, 4, "hash", 12, 4, "version", 16, 4, "migrate offset", 20, 4, "migrate hash", 24, 4, "padding", 28, 4, "pool", 40, 4)
	lovFields     = fieldsOf("magic", 0, 4, "pattern", 4, 4)

	dxFields     = fieldsOf("reserved", 0, 4, "hash version", 4, 1, "info length", 5, 1, "levels", 6, 1, "flags", 7, 1, "limit", 8, 2, "count", 10, 2, "first block", 12, 4, "hash", 16, 4, "block", 20, 4)
	tailFields   = fieldsOf("inode", 0, 4, "length", 4, 2, "name length", 6, 1, "type", 7, 1, "checksum", 8, 4)
	iamRoot      = fieldsOf("magic", 0, 8, "key size", 8, 2, "record size", 10, 2, "pointer size", 12, 2, "levels", 14, 1, "limit", 16, 2, "count", 18, 2, "idle", 20, 4)
	iamLeaf      = fieldsOf("magic", 0, 2, "count", 2, 2)
	oiRecFields  = bigFields("sequence", 0, 8, "object", 8, 4, "version", 12, 4, "inode", 16, 4, "generation", 20, 4)
	fldRecFields = bigFields("key", 0, 8, "start", 8, 8, "end", 16, 8, "index", 24, 4, "flags", 28, 4)
	rangeFields  = fieldsOf("start", 0, 8, "end", 8, 8, "index", 16, 4, "flags", 20, 4)
	mountFields  = fieldsOf("magic", 0, 4, "flags", 20, 4, "index", 24, 4, "file system", 32, 8, "service", 96, 8)
	rcvdFields   = fieldsOf("uuid", 0, 8, "transno", 40, 8, "incompat", 72, 4, "index", 140, 4)
)

// anatomy lists the records of images.
type anatomy struct {
	p    *patient
	most int // records of a kind
	have map[string]int
	recs []rec
}

func dissect(p *patient, most int) []rec {
	a := &anatomy{p: p, most: most, have: map[string]int{}}
	for m := range p.u.targets {
		a.filesystem(m)
		a.locals(m)
		a.objects(m)
	}
	return a.recs
}

func (a *anatomy) fs(m int) *ext4.FS { return a.p.u.targets[m].fs }

func (a *anatomy) add(r rec) {
	if r.at <= 0 || a.have[r.kind] >= a.most+1 { // one more, as the other record of its kind
		return
	}
	a.have[r.kind]++
	a.recs = append(a.recs, r)
}

func (a *anatomy) filesystem(m int) {
	fs := a.fs(m)
	a.add(rec{"superblock", m, ext4.SuperOffset, superFields, a.region(ext4.SuperOffset, ext4.SuperSize, func(b []byte) { fs.Sums().PutSuper(b) })})
	for g := range fs.Groups() {
		raw, at, err := fs.RawGroup(g)
		if err != nil {
			a.p.t.Fatal(err)
		}
		fields := groupFields
		if len(raw) >= 64 {
			fields = append(fields[:len(fields):len(fields)], groupHigh...)
		}
		a.add(rec{"group", m, at, fields, a.region(at, len(raw), func(b []byte) { fs.Sums().PutGroup(g, b) })})
		d, err := fs.Group(g)
		if err != nil {
			a.p.t.Fatal(err)
		}
		a.add(rec{"inode bitmap", m, int64(d.InodeBitmap)*4096 + 1, fieldsOf("bits", 0, 4), nil})
		a.add(rec{"block bitmap", m, int64(d.BlockBitmap)*4096 + 1, fieldsOf("bits", 0, 4), nil})
	}
}

// region makes a seal of bytes of the file.
func (a *anatomy) region(at int64, n int, put func([]byte)) func(*os.File) error {
	return func(f *os.File) error {
		b := make([]byte, n)
		if _, err := f.ReadAt(b, at); err != nil {
			return err
		}
		put(b)
		_, err := f.WriteAt(b, at)
		return err
	}
}

// block makes a seal of a block of an inode.
func (a *anatomy) block(m int, block uint64, put func([]byte)) func(*os.File) error {
	size := int(a.fs(m).Super().BlockSize)
	return a.region(int64(block)*int64(size), size, put)
}

func (a *anatomy) sealInode(m int, in *ext4.Inode) func(*os.File) error {
	return a.region(in.Offset, len(in.Raw), func(b []byte) { a.fs(m).Sums().PutInode(in.Number, b) })
}

func (a *anatomy) inode(kind string, m int, in *ext4.Inode) {
	seal := a.sealInode(m, in)
	a.add(rec{kind + " inode", m, in.Offset, inodeFields, seal})
	at := in.Offset + ext4.InodeBlock
	switch {
	case in.IsSymlink():
	case in.Flags&ext4.FlagExtents == 0:
		a.add(rec{kind + " map", m, in.Offset, blockMap, seal})
	default:
		a.extentNode(kind, m, at, in.BlockField(), seal)
	}
	a.mapBlocks(kind, m, in)
	a.attributes(kind, m, in)
	if in.IsDir() {
		a.directory(kind, m, in)
	}
}

func (a *anatomy) extentNode(kind string, m int, at int64, node []byte, seal func(*os.File) error) {
	a.add(rec{kind + " extents", m, at, extents, seal})
	switch {
	case binary.LittleEndian.Uint16(node[2:]) == 0:
	case binary.LittleEndian.Uint16(node[6:]) == 0:
		a.add(rec{kind + " extent", m, at, leafOf, seal})
	default:
		a.add(rec{kind + " extent index", m, at, indexOf, seal})
	}
}

// mapBlocks takes the blocks of a map in.
func (a *anatomy) mapBlocks(kind string, m int, in *ext4.Inode) {
	fs := a.fs(m)
	buf := make([]byte, fs.Super().BlockSize)
	err := in.MapBlocks(fs, func(block uint64) bool {
		at := int64(block) * int64(len(buf))
		if in.Flags&ext4.FlagExtents == 0 {
			a.add(rec{kind + " indirect", m, at, fieldsOf("pointer", 0, 4, "next pointer", 4, 4, "unused pointer", 4092, 4), nil})
			return true
		}
		if fs.ReadBlock(block, buf) == nil {
			a.extentNode(kind+" node", m, at, buf, a.block(m, block, func(b []byte) {
				_ = fs.Sums().PutExtentTail(in.Number, in.Generation, b) // a header that leaves no room is one of the cases
			}))
		}
		return true
	}, nil)
	if err != nil {
		a.p.t.Fatal(err)
	}
}

// attributes takes the attributes in.
func (a *anatomy) attributes(kind string, m int, in *ext4.Inode) {
	fs := a.fs(m)
	a.add(rec{kind + " attributes", m, in.Offset + ext4.InodeGoodOldSize + int64(in.ExtraIsize), fieldsOf("magic", 0, 4), a.sealInode(m, in)})
	err := in.Xattrs(fs, func(x ext4.Xattr) bool {
		seal, place := a.sealInode(m, in), " "
		if x.Where == ext4.InBlock {
			block := in.FileACL
			seal, place = a.block(m, block, func(b []byte) { fs.Sums().PutXattrBlock(block, b) }), " block "
			a.add(rec{kind + " attribute block", m, int64(block) * 4096, xattrBlock, seal})
		}
		name := kind + place + string(x.Name)
		a.add(rec{name + " entry", m, x.EntryAt, xattrFields, seal})
		var fields []field
		switch string(x.Name) {
		case "lma":
			fields = lmaFields
		case "link":
			fields = append(linkFields[:len(linkFields):len(linkFields)], linkRecFields...)
		case "lmv":
			fields = lmvFields
		case "lov":
			fields = lovFields
		}
		if fields != nil && x.ValueInode == 0 {
			a.add(rec{name, m, x.ValueAt, fields, seal})
		}
		return true
	}, nil)
	if err != nil {
		a.p.t.Fatal(err)
	}
}

// directory takes entries, hash tree and tails in.
func (a *anatomy) directory(kind string, m int, in *ext4.Inode) {
	fs := a.fs(m)
	sums := fs.Sums()
	buf := make([]byte, fs.Super().BlockSize)
	err := fs.DirBlocks(in, func(b ext4.DirBlock) bool {
		if fs.ReadBlock(b.Physical, buf) != nil {
			return true
		}
		at := int64(b.Physical) * int64(len(buf))
		seal := a.block(m, b.Physical, func(raw []byte) {
			if sums.Metadata {
				sums.PutDirLeaf(in.Number, in.Generation, raw)
			}
		})
		if root, err := fs.DxRoot(buf); err == nil && b.Logical == 0 {
			countAt := root.CountAt
			seal = a.block(m, b.Physical, func(raw []byte) {
				if sums.Metadata {
					_ = sums.PutDirNode(in.Number, in.Generation, raw, countAt) // a count that leaves no room is one of the cases
				}
			})
			a.add(rec{kind + " hash tree", m, at + int64(root.InfoAt), dxFields, seal})
			a.add(rec{kind + " root entry", m, at, direntFields(".", 0), seal})
			a.add(rec{kind + " root dotdot", m, at + 12, direntFields("..", 17), seal})
			return true
		}
		fs.Dirents(b, buf, func(e ext4.Dirent) bool {
			what := a.nameKind(m, e)
			if kind == "local" {
				what = "name " + string(e.Name)
				if _, ok := lustre.ParseOIName(string(e.Name)); ok {
					what = "name oi.16.N"
				}
			}
			a.add(rec{kind + " " + what, m, e.At, direntFields(string(e.Name), len(e.Data)), seal})
			return true
		}, nil)
		if sums.Metadata {
			a.add(rec{kind + " tail", m, at + int64(len(buf)) - ext4.DirTailSize, tailFields, seal})
		}
		return true
	}, nil)
	if err != nil {
		a.p.t.Fatal(err)
	}
}

// nameKind says what an entry is.
func (a *anatomy) nameKind(m int, e ext4.Dirent) string {
	switch text := string(e.Name); {
	case text == "." || text == "..":
		return "entry " + text
	case text[0] == '[':
		return "shard name"
	}
	in, err := a.fs(m).Inode(e.Inode)
	if err != nil {
		return "name"
	}
	var x attrs
	if err := x.read(a.fs(m), in, nil); err == nil && x.known && x.lma.Has(lustre.LMAIAgent) {
		return "remote name"
	}
	if in.IsDir() {
		return "directory name"
	}
	return "name"
}

// direntFields are those of an entry with a name and so many bytes of data.
func direntFields(name string, data int) []field {
	fields := fieldsOf("inode", 0, 4, "length", 4, 2, "name length", 6, 1, "type", 7, 1, "name", 8, 1)
	if len(name) > 1 {
		fields = append(fields, field{"name end", 8 + int64(len(name)) - 1, 1, false})
	}
	if data >= 17 {
		at := 8 + int64(len(name))
		fields = append(fields, field{"zero", at, 1, false}, field{"FID length", at + 1, 1, false}, field{"FID sequence", at + 2, 8, true},
			field{"FID object", at + 10, 4, true}, field{"FID version", at + 14, 4, true})
	}
	return fields
}

// foreign tells whether the layout of a directory is that of another system.
func (a *anatomy) foreign(m int, in *ext4.Inode) bool {
	var x attrs
	return x.read(a.fs(m), in, nil) == nil && x.bits&objForeign != 0
}

// objects takes one of each sort of object.
func (a *anatomy) objects(m int) {
	for i := range a.p.all {
		b := &a.p.all[i]
		if b.mdt != m {
			continue
		}
		kind := "file"
		switch {
		case b.lma.FID.IsRoot():
			kind = "ROOT"
		case b.lma.FID.IsDotLustre():
			kind = ".lustre"
		case b.in.IsDir() && a.foreign(m, b.in):
			kind = "foreign directory"
		case b.lmv != nil && b.lmv.IsMaster():
			kind = "master"
		case b.lmv != nil:
			kind = "shard"
		case b.in.IsDir() && len(b.names) > 0 && b.names[0].mdt != m:
			kind = "remote directory"
		case b.in.IsDir() && b.in.Flags&ext4.FlagIndex != 0:
			kind = "large directory"
		case b.in.IsDir():
			kind = "directory"
		case b.in.IsSymlink():
			kind = "symbolic link"
		case len(b.names) == 0:
			kind = "orphan"
		case b.in.FileACL != 0:
			kind = "file with block"
		case len(b.names) > 1:
			kind = "linked file"
		}
		a.inode(kind, m, b.in)
	}
	err := a.fs(m).SweepInodes(a.p.t.Context(), ext4.SweepOptions{}, func(in *ext4.Inode) error {
		var x attrs
		if err := x.read(a.fs(m), in, nil); err != nil {
			return err
		}
		if x.known && x.lma.Has(lustre.LMAIAgent) {
			a.inode("agent", m, in.Clone())
		}
		return nil
	})
	if err != nil {
		a.p.t.Fatal(err)
	}
}

// locals takes the target's own files in.
func (a *anatomy) locals(m int) {
	fs, marks := a.fs(m), &a.p.u.targets[m].marks
	inode := func(ino uint32) *ext4.Inode {
		in, err := fs.Inode(ino)
		if err != nil {
			a.p.t.Fatal(err)
		}
		return in
	}
	a.inode("local", m, inode(ext4.InoRoot))
	for kind, ino := range map[string]uint32{"REMOTE_PARENT_DIR": marks.remote, "PENDING": marks.pending} {
		if ino != 0 {
			a.inode(kind, m, inode(ino))
		}
	}
	for i, ino := range marks.oi {
		if i < 4 || a.most > 8 {
			if ino != 0 {
				a.index("object index", m, inode(ino), lustre.ShapeOI, oiRecFields)
			}
		}
	}
	if marks.fld != 0 {
		a.index("FLD", m, inode(marks.fld), lustre.ShapeFLD, fldRecFields)
	}
	a.content("mountdata", m, marks.mountdata, mountFields)
	a.content("last_rcvd", m, marks.lastRcvd, rcvdFields)
	for _, name := range []string{"seq_srv", "seq_ctl"} {
		if r, ok := a.p.w.find(place{m, ext4.InoRoot}, name); ok {
			a.content(name, m, r.ino, rangeFields)
		}
	}
}

// content takes the begin of a file in.
func (a *anatomy) content(kind string, m int, ino uint32, fields []field) {
	in, err := a.fs(m).Inode(ino)
	if ino == 0 || err != nil {
		return
	}
	a.first(in, m, func(block int64, _ []byte) { a.add(rec{kind, m, block, fields, nil}) })
}

// first gives the first block of a file.
func (a *anatomy) first(in *ext4.Inode, m int, fn func(at int64, b []byte)) {
	a.each(in, m, func(logical uint32, at int64, b []byte) {
		if logical == 0 {
			fn(at, b)
		}
	})
}

func (a *anatomy) each(in *ext4.Inode, m int, fn func(logical uint32, at int64, b []byte)) {
	fs := a.fs(m)
	buf := make([]byte, fs.Super().BlockSize)
	err := in.Blocks(fs, func(x ext4.Extent) bool {
		for i := range x.Length {
			if fs.ReadBlock(x.Physical+uint64(i), buf) == nil {
				fn(x.Logical+i, int64(x.Physical+uint64(i))*int64(len(buf)), buf)
			}
		}
		return true
	}, nil)
	if err != nil {
		a.p.t.Fatal(err)
	}
}

// index takes an IAM file in.
func (a *anatomy) index(kind string, m int, in *ext4.Inode, shape lustre.IAMShape, record []field) {
	a.inode(kind, m, in)
	size := int64(shape.Key + shape.Record)
	a.each(in, m, func(logical uint32, at int64, b []byte) {
		switch lustre.IAMBlockKind(b) {
		case lustre.IAMRootBlock:
			a.add(rec{kind + " root", m, at, iamRoot, nil})
			slot := int64(shape.Key + shape.Pointer)
			a.add(rec{kind + " root pointer", m, at + 16 + slot, []field{{"key", 0, min(shape.Key, 8), true}, {"block", int64(shape.Key), 4, false}}, nil})
		case lustre.IAMLeafBlock:
			a.add(rec{kind + " leaf", m, at, iamLeaf, nil})
			n := int64(binary.LittleEndian.Uint16(b[2:]))
			for k := range n {
				if k > 0 || n == 1 {
					a.add(rec{kind + " record", m, at + 4 + k*size, record, nil})
				}
			}
		}
	})
}
