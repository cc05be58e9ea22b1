package ext4

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// What is written is read back, and what does not fit is refused.
func TestPutDirent(t *testing.T) {
	fs := openTiny(t, tinyImage())
	rapid.Check(t, func(rt *rapid.T) {
		d := Dirent{Inode: rapid.Uint32Range(1, tinyInodes).Draw(rt, "inode"), Type: rapid.Uint8Range(0, 7).Draw(rt, "type"),
			Name: rapid.SliceOfN(rapid.ByteRange('0', 'z'), 1, 255).Draw(rt, "name")}
		var fid [16]byte
		if rapid.Bool().Draw(rt, "fid") {
			copy(fid[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "FID"))
			d.Flags, d.Data = DirdataLUFID, LUFIDRecord(fid)
		}
		buf := bytes.Repeat([]byte{0xEE}, tinyBS)
		d.RecLen = rapid.IntRange(0, 300).Draw(rt, "rec_len") * 4
		err := PutDirent(buf, d, tinyBS)
		if fits := d.RecLen >= DirentLen(len(d.Name), len(d.Data)) && d.RecLen <= tinyBS; (err == nil) != fits {
			rt.Fatalf("%+v: %v", d, err)
		}
		if err != nil {
			return
		}
		if d.RecLen < tinyBS {
			if err := PutDirent(buf[d.RecLen:], Dirent{Name: []byte("x"), RecLen: tinyBS - d.RecLen}, tinyBS); err != nil && tinyBS-d.RecLen >= DirentMin {
				rt.Fatal(err)
			} else if err != nil {
				return
			}
		}
		n := 0
		fs.Dirents(DirBlock{Physical: 20}, buf, func(got Dirent) bool {
			n++
			f, ok := got.LUFID()
			if got.Inode != d.Inode || got.Type != d.Type || !bytes.Equal(got.Name, d.Name) || got.RecLen != d.RecLen || !bytes.Equal(got.Data, d.Data) ||
				ok != (d.Flags != 0) || ok && !bytes.Equal(f, fid[:]) {
				rt.Errorf("wrote %+v, read %+v", d, got)
			}
			return true
		}, func(p Problem) {
			if !bytes.ContainsAny(d.Name, "/") {
				rt.Error(p)
			}
		})
		if n != 1 {
			rt.Errorf("%d entries", n)
		}
	})
	if err := PutDirent(make([]byte, 64), Dirent{Name: []byte("x"), Flags: DirdataLUFID, RecLen: 64}, tinyBS); err == nil {
		t.Error("flags without data were written")
	}
}

// Checksums put into blocks that had none make them right again.
func TestPutSums(t *testing.T) {
	img := tinyImage()
	block := func(n int) []byte { return img[n*tinyBS:][:tinyBS] }
	pristine := bytes.Clone(img)
	sums := openTiny(t, pristine).Sums()
	clear(block(22)[tinyBS-DirTailSize:])
	sums.PutDirLeaf(tinyHtree, tinyHtree*3, block(22))
	clear(block(21)[48+121*8:])
	clear(block(62)[12+84*12:])
	if err := sums.PutDirNode(tinyHtree, tinyHtree*3, block(21), 48); err != nil {
		t.Error(err)
	}
	if err := sums.PutExtentTail(tinyTree, tinyTree*3, block(62)); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(img, pristine) {
		t.Error("checksums differ from those that were there")
	}
	full := bytes.Repeat([]byte{0xFF}, tinyBS)
	if sums.PutDirNode(1, 1, full, 48) == nil || sums.PutExtentTail(1, 1, full) == nil {
		t.Error("no room, no error")
	}
}

// A descriptor is written as it was read.
func TestPutGroup(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.SampledFrom([]int{32, 64, 128}).Draw(rt, "size")
		raw := rapid.SliceOfN(rapid.Byte(), size, size).Draw(rt, "raw")
		d := DecodeGroup(raw)
		again := bytes.Clone(raw)
		for i := range again {
			again[i] ^= 0x55
		}
		d.Put(again)
		got := DecodeGroup(again)
		got.Checksum = d.Checksum
		if got != d {
			rt.Errorf("%+v, want %+v", got, d)
		}
	})
}
