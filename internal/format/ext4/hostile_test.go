package ext4

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// haul is what reading a whole file system gave.
type haul struct {
	inodes, names, xattrs, extents int
	problems                       map[Kind]int
	fids                           []string
}

// readEverything reads all that there is to read and checks what every answer must keep to, whatever the input.
func readEverything(t testing.TB, fs *FS, o SweepOptions) haul {
	t.Helper()
	h := haul{problems: map[Kind]int{}}
	var counting, reading sync.Mutex // several workers count into the same haul
	report := func(p Problem) {
		counting.Lock()
		defer counting.Unlock()
		h.problems[p.Kind]++
		if p.Text == "" || p.Offset < -1 {
			t.Errorf("bad problem %+v", p)
		}
	}
	for _, p := range fs.Problems() {
		report(p)
	}
	fs.Refusals()
	fs.VerifySuper(report)
	if err := fs.VerifyGroups(context.Background(), report); err != nil {
		t.Errorf("groups: %v", err)
	}
	for g := range min(fs.Groups(), 100) {
		fs.VerifyGroup(g, report)
		if _, err := fs.VerifyBitmaps(g, report); err != nil {
			report(Problem{Kind: KindBitmap, Text: err.Error()})
		}
	}
	o.Report = report
	buf := make([]byte, fs.sb.BlockSize)
	err := fs.SweepInodes(context.Background(), o, func(in *Inode) error {
		reading.Lock()
		defer reading.Unlock()
		h.inodes++
		return readInode(t, fs, in, &h, buf, report)
	})
	if err != nil {
		t.Errorf("sweep: %v", err)
	}
	return h
}

func readInode(t testing.TB, fs *FS, in *Inode, h *haul, buf []byte, report Report) error {
	fs.VerifyInode(in, report)
	if _, err := fs.VerifyMap(in, report); err != nil {
		return err
	}
	err := in.Xattrs(fs, func(x Xattr) bool {
		h.xattrs++
		if len(x.Value) != int(x.ValueSize) {
			t.Errorf("inode %d: %s has %d bytes, says %d", in.Number, x.FullName(), len(x.Value), x.ValueSize)
		}
		return true
	}, report)
	if err != nil {
		return err
	}
	if in.FileACL != 0 {
		if ok, err := fs.XattrBlock(in, buf, nil); err != nil {
			return err
		} else if ok {
			fs.VerifyXattrBlock(in, buf, report)
		}
	}
	next, blocks := uint64(0), uint64(0)
	err = in.Blocks(fs, func(e Extent) bool {
		h.extents++
		blocks += uint64(e.Length)
		if uint64(e.Logical) < next || e.Length == 0 || !fs.rangeOK(e.Physical, uint64(e.Length)) || blocks > fs.limit+16 {
			t.Errorf("inode %d: extent %+v after %d, %d blocks", in.Number, e, next, blocks)
		}
		next = uint64(e.Logical) + uint64(e.Length)
		return true
	}, report)
	if err != nil {
		return err
	}
	if _, err := fs.ReadAll(in, 1<<20); err != nil && !skippable(err) {
		return err
	}
	if !in.IsDir() {
		return nil
	}
	err = fs.Dir(in, func(d Dirent) bool {
		h.names++
		if len(d.Name) == 0 || d.RecLen > len(buf) || d.Inode == 0 && string(d.Name) != ".." || d.Block != 0 && d.Offset+DirentHeader+len(d.Name)+len(d.Data) > len(buf) {
			t.Errorf("inode %d: entry %+v", in.Number, d)
		}
		if fid, ok := d.LUFID(); ok {
			h.fids = append(h.fids, fmt.Sprintf("%s %s", d.Name, fidText(fid)))
		}
		return true
	}, report)
	if err != nil {
		return err
	}
	return fs.DirBlocks(in, func(b DirBlock) bool {
		if fs.ReadBlock(b.Physical, buf) == nil {
			fs.VerifyDirBlock(b, buf, report)
		}
		return true
	}, report)
}

// Several workers read what one reads, group by group.
func TestManyGroups(t *testing.T) {
	img := tinyImage()
	le.PutUint32(img[SuperOffset+SBBlocksCountLo:], 4*8192) // three more groups, whose descriptors are zero
	le.PutUint32(img[SuperOffset+SBInodesCount:], 4*tinyInodes)
	fs := openTiny(t, img)
	one, four := readEverything(t, fs, SweepOptions{}), readEverything(t, fs, SweepOptions{Workers: 4})
	if one.names != 17 || four.names != one.names || fs.Groups() != 4 || four.problems[KindGroupDesc] != one.problems[KindGroupDesc] || one.problems[KindGroupDesc] == 0 {
		t.Errorf("%d groups, %+v, %+v", fs.Groups(), one, four)
	}
}

// Nothing is missing from the hand-made image, and nothing is wrong with it.
func TestTinyImage(t *testing.T) {
	fs := openTiny(t, tinyImage())
	h := readEverything(t, fs, SweepOptions{})
	if len(h.problems) > 0 || h.inodes != 17 || h.names != 8+5+4 || h.xattrs != 4 || h.extents != 1+1+3+3+1 {
		t.Errorf("%+v", h)
	}
	slices.Sort(h.fids)
	long := strings.Repeat("a", 255)
	want := []string{".. [0x40000:0x2:0x0]", "htree [0x40000:0xc:0x0]", "in [0x40000:0x12:0x0]", "link [0x40000:0x12:0x0]",
		"mapped [0x40000:0xd:0x0]", "one [0x40000:0xd:0x0]", "three [0x40000:0x10:0x0]", "two [0x40000:0xe:0x0]", long + " [0x40000:0x10:0x0]"}
	slices.Sort(want)
	if !slices.Equal(h.fids, want) {
		t.Errorf("FIDs %q\nwant %q", h.fids, want)
	}
	buf := make([]byte, tinyBS)
	if err := fs.ReadBlock(21, buf); err != nil {
		t.Fatal(err)
	}
	root, err := fs.DxRoot(buf)
	if err != nil || root.InfoAt != 40 || root.Limit != 121 || !slices.Equal(root.Entries, []DxEntry{{0, 1}, {0x80000000, 2}}) {
		t.Errorf("root %+v, %v", root, err)
	}
	for ino, want := range map[uint32]string{tinyLink: "target", tinyMapped: strings.Repeat("l", tinyBS) + "|", tinyTree: "ten"} {
		off := map[uint32]int64{tinyMapped: 11 * tinyBS, tinyTree: 10 * tinyBS}[ino]
		got := make([]byte, len(want))
		if n, err := fs.ReadFile(ino, off, got); err != nil || n != len(want) || string(got) != strings.ReplaceAll(want, "|", "\x00") {
			t.Errorf("inode %d: %q, %v", ino, got[:n], err)
		}
	}
}

// Every bit of every metadata byte turned over: no panic, no broken promise, and the checksums or the walk see it.
func TestEveryByte(t *testing.T) {
	pristine := tinyImage()
	img := slices.Clone(pristine)
	step := 1
	if testing.Short() {
		step = 17
	}
	for off := SuperOffset; off < 86*tinyBS; off += step {
		if block := off / tinyBS; block >= 13 && block < 20 || block >= 24 && block < 52 || block >= 53 && block < 62 || block >= 63 && block < 80 {
			off += tinyBS - off%tinyBS - step // nothing but content
			continue
		}
		for _, v := range []byte{pristine[off] ^ 0xFF, pristine[off] ^ 1, byte(off&1) - 1} {
			img[off] = v
			fs, err := New(bytes.NewReader(img), int64(len(img)), "tiny")
			if err != nil {
				if off >= SuperOffset+SuperSize {
					t.Fatalf("byte %d = %#x: %v", off, v, err)
				}
				continue
			}
			readEverything(t, fs, SweepOptions{Everything: v == 0})
		}
		img[off] = pristine[off]
		if t.Failed() {
			t.Fatalf("at byte %d", off)
		}
	}
}

// Single damages are reported as what they are, and everything else is still read.
func TestDamage(t *testing.T) {
	inode := func(ino, off int) int { return tinyTable*tinyBS + (ino-1)*tinyInodeSize + off }
	put := func(off int, v any) func([]byte) {
		return func(img []byte) {
			b := &bytes.Buffer{}
			if err := binary.Write(b, le, v); err != nil {
				panic(err)
			}
			copy(img[off:], b.Bytes())
		}
	}
	const names, xattrs = 17, 4
	cases := []struct {
		name     string
		damage   func([]byte)
		kind     Kind
		names    int // names still read
		xattrs   int
		unsealed bool // leave checksums as they are
	}{
		{"rec_len 0", put(20*tinyBS+24+4, uint16(0)), KindDirentRecLen, names - 6, xattrs, false},
		{"rec_len past the end", put(20*tinyBS+12+4, uint16(1016)), KindDirentRecLen, names - 7, xattrs, false},
		{"rec_len odd", put(20*tinyBS+12+4, uint16(14)), KindDirentRecLen, names - 7, xattrs, false},
		{"leaf of a hash tree", put(22*tinyBS+4, uint16(4)), KindDirentRecLen, names - 2, xattrs, false},
		{"name longer than entry", put(22*tinyBS+6, uint8(200)), KindDirentName, names, xattrs, false},
		{"name of length 0", put(22*tinyBS+6, uint8(0)), KindDirentName, names - 1, xattrs, false},
		{"slash in a name", put(22*tinyBS+8, uint8('/')), KindDirentName, names, xattrs, false},
		{"inode number", put(22*tinyBS, uint32(99)), KindDirentInode, names, xattrs, false},
		{"LUFID too long", put(22*tinyBS+12, uint8(33)), KindDirdata, names, xattrs, false},
		{"LUFID of length 0", put(22*tinyBS+12, uint8(0)), KindDirdata, names, xattrs, false},
		{"second data record missing", put(22*tinyBS+7, uint8(TypeRegular|0x50)), KindDirdata, names, xattrs, false},
		{"directory leaf checksum", put(23*tinyBS+9, uint8('H')), KindChecksum, names, xattrs, true},
		{"hash-tree root checksum", put(21*tinyBS+57, uint8(1)), KindChecksum, names, xattrs, true},
		{"directory block outside", put(inode(tinyHtree, InodeBlock+12+8), uint32(5000)), KindBlockRange, names - 5, xattrs, false},
		{"extent of length 0", put(inode(tinyHtree, InodeBlock+12+4), uint16(0)), KindExtentLength, names - 5, xattrs, false},
		{"extent magic", put(inode(tinyHtree, InodeBlock), uint16(0)), KindExtentHeader, names - 5, xattrs, false},
		{"extent count", put(inode(tinyHtree, InodeBlock+2), uint16(9)), KindExtentHeader, names - 5, xattrs, false},
		{"extent depth", put(62*tinyBS+6, uint16(1)), KindExtentHeader, names, xattrs, false},
		{"extent tree cycle", func(img []byte) {
			put(62*tinyBS+6, uint16(1))(img)
			put(inode(tinyTree, InodeBlock+6), uint16(2))(img)
			put(62*tinyBS+16, uint64(62))(img)
		}, KindBlockCycle, names, xattrs, false},
		{"extents backwards", put(62*tinyBS+12+12, uint32(1)), KindExtentOrder, names, xattrs, false},
		{"extent tree checksum", put(62*tinyBS+9, uint8(1)), KindChecksum, names, xattrs, true},
		{"direct block outside", put(inode(tinyMapped, InodeBlock), uint32(1<<31)), KindBlockRange, names, xattrs, false},
		{"indirect block outside", put(inode(tinyMapped, InodeBlock+48), uint32(128)), KindBlockRange, names, xattrs, false},
		{"double indirect is its own ancestor", func(img []byte) {
			put(inode(tinyMapped, InodeBlock+52), uint32(52))(img)
			put(52*tinyBS+12, uint32(52))(img)
		}, KindBlockCycle, names, xattrs, false},
		{"map with more blocks than there are", func(img []byte) { put(52*tinyBS, slices.Repeat([]uint32{90}, 256))(img) }, KindBlockCycle, names, xattrs, false},
		{"directory hole", put(inode(tinyHtree, InodeBlock+12), uint32(1)), KindDirSize, names, xattrs, false},
		{"directory too long", put(inode(tinyHtree, InodeSizeLo), uint32(1<<31)), KindDirSize, names, xattrs, false},
		{"directory too short", put(inode(tinyHtree, InodeSizeLo), uint32(tinyBS)), KindDirSize, names, xattrs, false},
		{"xattr block magic", put(80*tinyBS, uint32(1)), KindXattrHeader, names, xattrs - 1, false},
		{"xattr block outside", put(inode(tinyAttrs, InodeFileACLLo), uint32(1<<30)), KindBlockRange, names, xattrs - 1, false},
		{"xattr block checksum", put(80*tinyBS+700, uint8(77)), KindChecksum, names, xattrs, true},
		{"xattr entry", put(inode(tinyAttrs, InodeGoodOldSize+36), uint8(255)), KindXattrEntry, names, xattrs - 2, false},
		{"xattr value too long", put(inode(tinyAttrs, InodeGoodOldSize+36+8), uint32(1<<30)), KindXattrValue, names, xattrs - 1, false},
		{"xattr value among entries", put(inode(tinyAttrs, InodeGoodOldSize+36+2), uint16(4)), KindXattrValue, names, xattrs - 1, false},
		{"xattr inode missing", put(inode(tinyAttrs, InodeGoodOldSize+36+20+4), uint32(77)), KindXattrInode, names, xattrs - 1, false},
		{"xattr inode is another", put(inode(tinyAttrs, InodeGoodOldSize+36+20+4), uint32(tinyTree)), KindXattrInode, names, xattrs - 1, false},
		{"xattr inode size", put(inode(tinyValue, InodeSizeLo), uint32(1<<24)), KindXattrInode, names, xattrs - 1, false},
		{"extra size", put(inode(tinyAttrs, InodeExtraIsize), uint16(130)), KindInode, names, xattrs - 2, false},
		{"inode checksum", put(inode(tinyLink, InodeMtime), uint32(5)), KindChecksum, names, xattrs, true},
		{"group checksum", put(2*tinyBS+GDFreeInodesLo, uint16(5)), KindChecksum, names, xattrs, true},
		{"inode bitmap", put(4*tinyBS+1, uint8(0)), KindChecksum, names, xattrs, true},
		{"inode bitmap outside", func(img []byte) { put(2*tinyBS+GDInodeBitmapLo, uint32(9999))(img); reseal(img) }, KindBitmap, names, xattrs, true},
		{"superblock checksum", put(SuperOffset+SBVolumeName, uint8('T')), KindChecksum, names, xattrs, true},
		{"inode count", put(SuperOffset+SBInodesCount, uint32(1<<31)), KindSuper, names, xattrs, false},
		{"unused inodes", func(img []byte) { put(2*tinyBS+GDItableUnusedLo, uint16(60000))(img) }, KindGroupDesc, names, xattrs, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			img := tinyImage()
			c.damage(img)
			if !c.unsealed {
				s, err := DecodeSuper(img[SuperOffset:])
				if err != nil {
					t.Fatal(err)
				}
				sums := newSums(s)
				tinySeal(img, &sums)
			}
			h := readEverything(t, openTiny(t, img), SweepOptions{})
			if h.problems[c.kind] == 0 || h.names != c.names || h.xattrs != c.xattrs {
				t.Errorf("want %s, %d names, %d attributes; got %d names, %d attributes, problems %v", c.kind, c.names, c.xattrs, h.names, h.xattrs, h.problems)
			}
		})
	}
}

// reseal writes the checksum of the group descriptor only.
func reseal(img []byte) {
	s, err := DecodeSuper(img[SuperOffset:])
	if err != nil {
		panic(err)
	}
	sums := newSums(s)
	sums.PutGroup(0, img[2*tinyBS:][:64])
}

// A truncated input is opened, reported, and read as far as it goes.
func TestTruncated(t *testing.T) {
	img := tinyImage()
	for size := 0; size <= len(img); size += 512 {
		fs, err := New(bytes.NewReader(img[:size]), int64(size), "tiny")
		if err != nil {
			if size >= SuperOffset+SuperSize {
				t.Fatalf("%d bytes: %v", size, err)
			}
			continue
		}
		h := readEverything(t, fs, SweepOptions{})
		if (size < len(img)) != (h.problems[KindTruncated] > 0) {
			t.Errorf("%d bytes: problems %v", size, h.problems)
		}
		if size == 40*tinyBS && h.names != 17 {
			t.Errorf("%d bytes: %d names", size, h.names)
		}
	}
}

// badSector is an input with one unreadable block.
type badSector struct {
	io.ReaderAt
	from, to int64
	err      error
}

func (b badSector) ReadAt(p []byte, off int64) (int, error) {
	if off < b.to && off+int64(len(p)) > b.from {
		return 0, b.err
	}
	return b.ReaderAt.ReadAt(p, off)
}

// A bad sector in an inode table or directory costs what lies in it; another error ends the sweep.
func TestBadSector(t *testing.T) {
	img := tinyImage()
	at := int64(tinyTable+3) * tinyBS // inodes 13 to 16
	fs, err := New(badSector{bytes.NewReader(img), at, at + tinyBS, unix.EIO}, int64(len(img)), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	seen, problems := 0, 0
	err = fs.SweepInodes(context.Background(), SweepOptions{Report: func(p Problem) {
		problems++
		if p.Kind != KindRead || p.Offset != at {
			t.Error(p)
		}
	}}, func(*Inode) error { seen++; return nil })
	if err != nil || seen != 17-4 || problems != 1 {
		t.Errorf("%d inodes, %d problems, %v", seen, problems, err)
	}
	gone := errors.New("device is gone")
	fs, err = New(badSector{bytes.NewReader(img), at, at + tinyBS, gone}, int64(len(img)), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.SweepInodes(context.Background(), SweepOptions{}, func(*Inode) error { return nil }); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	// bad sectors in maps, attribute blocks and directories
	for block, want := range map[int64]haul{20: {names: 17 - 8, xattrs: 4, extents: 9}, 52: {names: 17, xattrs: 4, extents: 7}, 62: {names: 17, xattrs: 4, extents: 6},
		80: {names: 17, xattrs: 3, extents: 9}} {
		bad := badSector{bytes.NewReader(img), block * tinyBS, (block + 1) * tinyBS, unix.EIO}
		if fs, err = New(bad, int64(len(img)), "tiny"); err != nil {
			t.Fatal(err)
		}
		h := readEverything(t, fs, SweepOptions{})
		if h.names != want.names || h.xattrs != want.xattrs || h.extents != want.extents || h.problems[KindRead] == 0 {
			t.Errorf("block %d: %+v", block, h)
		}
		bad.err = gone
		if fs, err = New(bad, int64(len(img)), "tiny"); err != nil {
			t.Fatal(err)
		}
		err := fs.SweepInodes(context.Background(), SweepOptions{}, func(in *Inode) error {
			if err := in.Xattrs(fs, func(Xattr) bool { return true }, nil); err != nil || !in.IsDir() {
				return errors.Join(err, in.Blocks(fs, func(Extent) bool { return true }, nil))
			}
			return fs.Dir(in, func(Dirent) bool { return true }, nil)
		})
		if !errors.Is(err, gone) {
			t.Errorf("block %d: %v", block, err)
		}
	}
	dir := int64(22) * tinyBS
	fs, err = New(badSector{bytes.NewReader(img), dir, dir + tinyBS, unix.EIO}, int64(len(img)), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []DirBlock
	for b := range uint64(3) {
		blocks = append(blocks, DirBlock{Physical: 21 + b, Inode: tinyHtree, Logical: uint32(b)})
	}
	var got []uint64
	problems = 0
	next := func() (b DirBlock, ok bool) {
		if len(blocks) == 0 {
			return b, false
		}
		b, blocks = blocks[0], blocks[1:]
		return b, true
	}
	err = fs.SweepDirBlocks(context.Background(), next, func(b DirBlock, _ []byte) error { got = append(got, b.Physical); return nil }, func(Problem) { problems++ })
	if err != nil || !slices.Equal(got, []uint64{21, 23}) || problems != 1 {
		t.Errorf("blocks %v, %d problems, %v", got, problems, err)
	}
}

// A file system stays readable through a copy of its superblock.
func TestBackupSuper(t *testing.T) {
	img, _, tr := makeImage(t, "20M", 50, "-t", "ext4", "-b", "1024")
	fs := openImage(t, img)
	before := readEverything(t, fs, SweepOptions{})
	fs, err := New(badSuper{fs.r}, fs.size, "img")
	if err != nil {
		t.Fatal(err)
	}
	after := readEverything(t, fs, SweepOptions{})
	if after.problems[KindSuperBackup] != 1 || after.names != before.names || before.names < len(tr) || len(after.problems) != 1 {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// badSuper reads as zero where the primary superblock is.
type badSuper struct{ io.ReaderAt }

func (b badSuper) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.ReaderAt.ReadAt(p, off)
	if off == SuperOffset {
		clear(p)
	}
	return n, err
}

// Wherever a sweep is cut, the rest comes when it is started again at the position, with any number of workers.
func TestResume(t *testing.T) {
	img, _, _ := makeImage(t, "40M", 50, "-t", "ext4", "-b", "1024")
	fs := openImage(t, img)
	var all []uint32
	if err := fs.SweepInodes(context.Background(), SweepOptions{}, func(in *Inode) error { all = append(all, in.Number); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(all) || len(all) < 60 || fs.Groups() < 5 {
		t.Fatalf("%d inodes in %d groups", len(all), fs.Groups())
	}
	rapid.Check(t, func(rt *rapid.T) {
		p := Position{Group: rapid.Uint32Range(0, fs.Groups()).Draw(rt, "group"), Index: rapid.Uint32Range(0, fs.sb.InodesPerGroup).Draw(rt, "index")}
		o := SweepOptions{Start: p, Workers: rapid.IntRange(0, 4).Draw(rt, "workers")}
		last := Position{}
		o.Done = func(p Position) {
			if p.Group < last.Group || p.Group == last.Group && p.Index < last.Index {
				rt.Errorf("position went back from %v to %v", last, p)
			}
			last = p
		}
		found := make(chan uint32, len(all))
		if err := fs.SweepInodes(context.Background(), o, func(in *Inode) error { found <- in.Number; return nil }); err != nil {
			rt.Fatal(err)
		}
		close(found)
		var got []uint32
		for n := range found {
			got = append(got, n)
		}
		slices.Sort(got)
		first := p.Group*fs.sb.InodesPerGroup + p.Index + 1
		i, _ := slices.BinarySearch(all, first)
		if !slices.Equal(got, all[i:]) {
			rt.Errorf("from %v: %d inodes, want %d", p, len(got), len(all[i:]))
		}
		if p.Group < fs.Groups() && last.Group != fs.Groups() {
			rt.Errorf("ended at %v", last)
		}
	})
}
