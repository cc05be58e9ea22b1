package ext4

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fullImage makes a file system as a Lustre server has it, with every inode in use: inodes of 512 bytes with two attributes, and
// directory blocks full of names with FIDs, one block per directory. It gives the path and the number of names in each block.
func fullImage(t testing.TB, inodes, dirs int) (path string, names int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "img")
	if testing.Short() {
		inodes, dirs = inodes/20, dirs/20
	}
	run(t, 0, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "512", "-N", fmt.Sprint(inodes), "-J", "size=4", "-O",
		"^64bit,^metadata_csum,^extents,^resize_inode,uninit_bg,large_dir,ea_inode", "-E", "lazy_itable_init=1", path, fmt.Sprint(inodes/2+inodes/10+dirs*4+40000)+"k")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	put := func(b []byte, at int64) {
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	// dirdata cannot be asked of mke2fs
	var word [4]byte
	if _, err := f.ReadAt(word[:], SuperOffset+SBFeatureIncompat); err != nil {
		t.Fatal(err)
	}
	le.PutUint32(word[:], le.Uint32(word[:])|IncompatDirdata)
	put(word[:], SuperOffset+SBFeatureIncompat)
	fs := openImage(t, path)
	s := fs.Super()
	block, names := dirBlockFull(int(s.BlockSize))
	next, made := s.Blocks-uint64(dirs)-1, 0 // the end is free
	for g := range fs.Groups() {
		raw, at, err := fs.RawGroup(g)
		if err != nil {
			t.Fatal(err)
		}
		d := DecodeGroup(raw)
		table := make([]byte, s.InodesPerGroup*s.InodeSize)
		for i := range s.InodesPerGroup {
			ino := g*s.InodesPerGroup + i + 1
			in := table[i*s.InodeSize:][:s.InodeSize]
			fillInode(in, ino)
			if ino > 100 && made < dirs && ino%7 == 0 {
				le.PutUint16(in[InodeMode:], ModeDir|0o755)
				le.PutUint32(in[InodeSizeLo:], s.BlockSize)
				le.PutUint32(in[InodeBlock:], uint32(next))
				put(block, fs.offset(next))
				next++
				made++
			}
		}
		if d.InodeTable+s.TableBlocks() > s.Blocks-uint64(dirs)-1 {
			t.Fatalf("the inode table of group %d lies where the directories are", g)
		}
		put(table, fs.offset(d.InodeTable))
		put(slices.Repeat([]byte{0xFF}, int(s.InodesPerGroup/8)), fs.offset(d.InodeBitmap))
		le.PutUint16(raw[GDItableUnusedLo:], 0)
		le.PutUint16(raw[GDFlags:], d.Flags&^GroupInodeUninit)
		fs.Sums().PutGroup(g, raw)
		put(raw, at)
	}
	return path, names
}

// fillInode makes a regular file with attributes trusted.lma (24 bytes) and trusted.link (60 bytes).
func fillInode(raw []byte, ino uint32) {
	le.PutUint16(raw[InodeMode:], ModeRegular|0o644)
	le.PutUint16(raw[InodeLinks:], 1)
	le.PutUint32(raw[InodeGeneration:], ino*7)
	le.PutUint16(raw[InodeExtraIsize:], 32)
	area := raw[InodeGoodOldSize+32:]
	le.PutUint32(area, XattrMagic)
	area = area[4:]
	off, end := 0, len(area)
	for _, x := range []struct {
		name string
		size int
	}{{"lma", 24}, {"link", 60}} {
		end -= XattrValueLen(x.size)
		e := area[off:]
		e[0], e[1] = byte(len(x.name)), XattrIndexTrusted
		le.PutUint16(e[2:], uint16(end))
		le.PutUint32(e[8:], uint32(x.size))
		copy(e[XattrEntrySize:], x.name)
		le.PutUint32(area[end:], ino)
		off += XattrEntryLen(len(x.name))
	}
}

// dirBlockFull makes a directory block full of entries with FIDs.
func dirBlockFull(size int) (block []byte, names int) {
	block = make([]byte, size)
	last := 0
	for off := 0; ; names++ {
		name := fmt.Sprintf("file-%06d", names)
		n := DirentLen(len(name), DirdataLUFIDLen)
		if off+n > size {
			le.PutUint16(block[last+DirentRecLen:], uint16(size-last))
			return block, names
		}
		e := block[off:]
		le.PutUint32(e, uint32(names+12))
		le.PutUint16(e[DirentRecLen:], uint16(n))
		e[DirentNameLen], e[DirentType] = byte(len(name)), TypeRegular|DirdataLUFID
		copy(e[DirentName:], name)
		e[DirentName+len(name)+1] = DirdataLUFIDLen
		e[DirentName+len(name)+2+7] = byte(names)
		last, off = off, off+n
	}
}

// cpu gives the processor time that the test has used, in seconds. Figures per second of it mean something on a busy machine too.
func cpu(t testing.TB) float64 {
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	return float64(use.Utime.Nano()+use.Stime.Nano()) / 1e9
}

const benchInodes, benchDirs = 200_000, 20_000

// BenchmarkSweepInodes hands out all inodes of a full image on a warm cache: bare, with both attributes looked at, and the same
// bytes read without looking at them.
func BenchmarkSweepInodes(b *testing.B) {
	path, _ := fullImage(b, benchInodes, benchDirs)
	fs := openImage(b, path)
	bench := func(name string, work func(*Inode) error) {
		b.Run(name, func(b *testing.B) {
			n, from := 0, cpu(b)
			b.ReportAllocs()
			for b.Loop() {
				if err := fs.SweepInodes(context.Background(), SweepOptions{Report: must(b)}, func(in *Inode) error { n++; return work(in) }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/(cpu(b)-from), "inodes/cpu-s")
			b.SetBytes(int64(n/b.N) * int64(fs.sb.InodeSize))
		})
	}
	bench("bare", func(*Inode) error { return nil })
	attrs := 0
	see := func(x Xattr) bool { attrs += len(x.Value); return true }
	bench("xattrs", func(in *Inode) error { in.InodeXattrs(see, nil); return nil })
	bench("xattrs+dirblocks", func(in *Inode) error {
		in.InodeXattrs(see, nil)
		if !in.IsDir() {
			return nil
		}
		return fs.DirBlocks(in, func(d DirBlock) bool { attrs += int(d.Physical); return true }, nil)
	})
	bench("verify", func(in *Inode) error { fs.VerifyInode(in, nil); return nil })
	b.Run("plain-read", func(b *testing.B) {
		buf := make([]byte, sweepRead)
		n, from := int64(0), cpu(b)
		for b.Loop() {
			for g := range fs.Groups() {
				d, err := fs.Group(g)
				if err != nil {
					b.Fatal(err)
				}
				left := int64(fs.sb.InodesPerGroup) * int64(fs.sb.InodeSize)
				for at := fs.offset(d.InodeTable); left > 0; {
					k, err := fs.r.ReadAt(buf[:min(int64(len(buf)), left)], at)
					if err != nil {
						b.Fatal(err)
					}
					at, left, n = at+int64(k), left-int64(k), n+int64(k)
				}
			}
		}
		b.ReportMetric(float64(n)/float64(fs.sb.InodeSize)/(cpu(b)-from), "inodes/cpu-s")
		b.SetBytes(n / int64(b.N))
	})
}

// BenchmarkSweepDirs reads all directory blocks sorted by place, parses their names and FIDs; and the same bytes without parsing.
func BenchmarkSweepDirs(b *testing.B) {
	path, names := fullImage(b, benchInodes, benchDirs)
	fs := openImage(b, path)
	var blocks []DirBlock
	err := fs.SweepInodes(context.Background(), SweepOptions{}, func(in *Inode) error {
		if !in.IsDir() {
			return nil
		}
		return fs.DirBlocks(in, func(d DirBlock) bool { blocks = append(blocks, d); return true }, must(b))
	})
	if err != nil {
		b.Fatal(err)
	}
	slices.SortFunc(blocks, func(x, y DirBlock) int { return int(int64(x.Physical) - int64(y.Physical)) })
	bench := func(name string, work func(DirBlock, []byte) error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			from := cpu(b)
			for b.Loop() {
				i := 0
				next := func() (DirBlock, bool) {
					if i == len(blocks) {
						return DirBlock{}, false
					}
					i++
					return blocks[i-1], true
				}
				if err := fs.SweepDirBlocks(context.Background(), next, work, must(b)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(len(blocks)*names)/(cpu(b)-from), "names/cpu-s")
			b.SetBytes(int64(len(blocks)) * int64(fs.sb.BlockSize))
		})
	}
	sum := 0
	see := func(d Dirent) bool {
		if fid, ok := d.LUFID(); ok {
			sum += int(fid[7])
		}
		return true
	}
	bench("parse", func(d DirBlock, buf []byte) error { fs.Dirents(d, buf, see, must(b)); return nil })
	bench("read", func(DirBlock, []byte) error { return nil })
	if sum == 0 || !strings.HasPrefix(fs.Name(), "/") {
		b.Fatal("no FIDs were seen")
	}
}

// The sweep allocates nothing per inode: inodes, attributes, block maps and names of a whole image take but a few.
func TestSweepAllocations(t *testing.T) {
	path, names := fullImage(t, 10000, 500)
	fs := openImage(t, path)
	count, seen := 0, 0
	see := func(d Dirent) bool {
		if _, ok := d.LUFID(); ok {
			seen++
		}
		return true
	}
	value := func(x Xattr) bool { return len(x.Value) > 0 }
	buf := make([]byte, fs.sb.BlockSize)
	block := func(b DirBlock) bool { return fs.ReadBlock(b.Physical, buf) == nil && fs.Dirents(b, buf, see, nil) }
	got := testing.AllocsPerRun(1, func() {
		count, seen = 0, 0
		err := fs.SweepInodes(context.Background(), SweepOptions{Report: must(t)}, func(in *Inode) error {
			count++
			in.InodeXattrs(value, nil)
			if in.IsDir() {
				return fs.DirBlocks(in, block, nil)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	if count < 9000/20 || got > 100 || seen == 0 || seen%names != 0 {
		t.Errorf("%d inodes and %d names took %.0f allocations", count, seen, got)
	}
}
