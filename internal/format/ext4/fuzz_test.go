package ext4

import (
	"bytes"
	"context"
	"testing"
)

// FuzzOpen changes bytes of the hand-made image, with checksums made right again or not, and reads everything. The input is a list of
// {offset u24, value u8}; cut shortens the image.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{}, uint32(0), false)
	f.Add([]byte{0, 4, SBLogBlockSize, 2}, uint32(0), true)
	f.Add([]byte{0, 8, GDInodeTableLo, 4, 0, 8, GDItableUnusedLo, 255}, uint32(0), true)
	f.Add([]byte{0, 248, 6, 1, 0, 248, 16, 62}, uint32(0), true)
	f.Add([]byte{0, 208, 0, 52, 0, 208, 4, 52}, uint32(70*tinyBS), true)
	pristine := tinyImage()
	f.Fuzz(func(t *testing.T, edits []byte, cut uint32, seal bool) {
		img := bytes.Clone(pristine)
		for ; len(edits) >= 4; edits = edits[4:] {
			off := int(edits[0])<<16 | int(edits[1])<<8 | int(edits[2])
			img[off%len(img)] = edits[3]
		}
		if s, err := DecodeSuper(img[SuperOffset:]); err == nil && seal && s.InodeSize == tinyInodeSize && s.BlockSize == tinyBS && s.InodesPerGroup <= 8*tinyBS {
			sums := newSums(s)
			tinySeal(img, &sums)
		}
		img = img[:len(img)-int(cut)%len(img)]
		fs, err := New(bytes.NewReader(img), int64(len(img)), "tiny")
		if err != nil {
			return
		}
		readEverything(t, fs, SweepOptions{Workers: 2})
		readEverything(t, fs, SweepOptions{Everything: true})
	})
}

// FuzzGroups puts bitmaps and tables of four groups anywhere.
func FuzzGroups(f *testing.F) {
	f.Add([]byte{60, 40, 10, 61, 41, 80, 62, 42, 20, 63, 43, 100}, true)
	f.Add([]byte{60, 40, 10, 61, 41, 10, 62, 42, 11, 63, 43, 26}, true)   // tables in tables, over the ends of groups
	f.Add([]byte{27, 40, 50, 100, 41, 80, 62, 42, 110, 63, 43, 26}, true) // a bitmap in a table that ends in the next group, whose bitmap is full
	f.Add([]byte{0, 1, 2, 3, 60, 60, 127, 126, 125, 255, 0, 9}, false)
	f.Fuzz(func(t *testing.T, places []byte, flex bool) {
		img := tinyImage()
		sb := img[SuperOffset:]
		le.PutUint32(sb[SBBlocksPerGroup:], 32)
		le.PutUint32(sb[SBClustersPerGroup:], 32)
		le.PutUint32(sb[SBInodesCount:], 4*tinyInodes)
		le.PutUint32(sb[SBFeatureROCompat:], 0)
		if flex {
			le.PutUint32(sb[SBFeatureIncompat:], le.Uint32(sb[SBFeatureIncompat:])|IncompatFlexBG)
		}
		copy(img[100*tinyBS:], bytes.Repeat([]byte{255}, tinyBS))
		for i, p := range places[:min(len(places), 12)] {
			le.PutUint32(img[2*tinyBS+i/3*64+i%3*4:], uint32(p))
		}
		readEverything(t, openTiny(t, img), SweepOptions{})
	})
}

// FuzzDir reads one block as every kind of directory block.
func FuzzDir(f *testing.F) {
	img := tinyImage()
	for _, n := range []int{20, 21, 22} {
		f.Add(img[n*tinyBS:][:tinyBS])
	}
	f.Add(bytes.Repeat([]byte{1, 0, 0, 0, 12, 0, 4, 0xF1, 'a', 0, 1, 0}, 86))
	fs := openTiny(f, img)
	f.Fuzz(func(t *testing.T, raw []byte) {
		buf := make([]byte, tinyBS)
		copy(buf, raw)
		b := DirBlock{Physical: 20, Inode: InoRoot}
		last := -1
		fs.Dirents(b, buf, func(d Dirent) bool {
			if d.Offset <= last || d.Offset%4 != 0 || d.Offset+d.RecLen > tinyBS || len(d.Name) == 0 ||
				d.Offset+DirentHeader+len(d.Name)+len(d.Data) > d.Offset+d.RecLen || d.At != 20*tinyBS+int64(d.Offset) {
				t.Errorf("after %d: %+v", last, d)
			}
			if fid, ok := d.LUFID(); ok && (len(fid) != 16 || !bytes.Equal(fid, buf[d.LUFIDAt()-20*tinyBS:][:16])) {
				t.Errorf("FID %x of %+v", fid, d)
			}
			last = d.Offset
			return true
		}, func(Problem) {})
		for _, decode := range []func([]byte) (DxNode, error){fs.DxRoot, fs.DxInner} {
			if n, err := decode(buf); err == nil && (len(n.Entries) != n.Count || n.CountAt+n.Limit*DxEntrySize > tinyBS) {
				t.Errorf("node %+v", n)
			}
		}
		fs.VerifyDirBlock(b, buf, nil)
	})
}

// FuzzXattr reads an inode and an attribute block.
func FuzzXattr(f *testing.F) {
	img := tinyImage()
	at := tinyTable*tinyBS + (tinyAttrs-1)*tinyInodeSize
	f.Add(img[at:][:tinyInodeSize], img[80*tinyBS:][:tinyBS])
	f.Add(img[at-tinyInodeSize:][:tinyInodeSize], []byte{})
	f.Fuzz(func(t *testing.T, rawInode, rawBlock []byte) {
		img := bytes.Clone(img)
		copy(img[at:at+tinyInodeSize], rawInode)
		copy(img[80*tinyBS:81*tinyBS], rawBlock)
		fs := openTiny(t, img)
		err := fs.SweepInodes(context.Background(), SweepOptions{Start: Position{Index: tinyAttrs - 1}}, func(in *Inode) error {
			return in.Xattrs(fs, func(x Xattr) bool {
				if len(x.Value) != int(x.ValueSize) || x.ValueAt >= 0 && !bytes.Equal(img[x.ValueAt:][:len(x.Value)], x.Value) {
					t.Errorf("%+v", x)
				}
				return true
			}, func(Problem) {})
		})
		if err != nil {
			t.Error(err)
		}
	})
}
