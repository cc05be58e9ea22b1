package ext4

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// tool finds a program of e2fsprogs and skips the test when it is missing.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/sbin", "/usr/sbin") {
		if path := filepath.Join(dir, name); exec.Command(path, "-V").Run() == nil {
			return path
		}
	}
	t.Skipf("%s of e2fsprogs is not installed", name)
	return ""
}

// run runs a tool; exit codes up to most are fine.
func run(t testing.TB, most int, name string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(tool(t, name), args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() > most) {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// tree is a set of files by path: content of regular files, "->target" of symbolic links; directories follow from the paths.
type tree map[string]string

// write makes the files below dir.
func (tr tree) write(t testing.TB, dir string) {
	t.Helper()
	for name, content := range tr {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, ok := strings.CutPrefix(content, "->"); ok && err == nil {
			err = os.Symlink(target, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// sampleTree has small and large files, long names, nested and large directories.
func sampleTree(large int) tree {
	tr := tree{"empty/x/y/z/file": "deep", "small": "hello", "link": "->small", "longlink": "->" + strings.Repeat("a/", 90),
		"blob": strings.Repeat("0123456789abcdef", 5000), strings.Repeat("n", 255): "long name"}
	for i := range large {
		tr[fmt.Sprintf("large/file-with-number-%05d", i)] = ""
	}
	for i := range 3 {
		tr[fmt.Sprintf("tiny/%d", i)] = "x"
	}
	return tr
}

// holes is the content of a sparse file with many extents: every other block of 4 KiB, and none at its end (mke2fs cuts a hole there off when inline_data is on).
const holesName, holesCount = "holes", 700

func writeHoles(t testing.TB, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, holesName))
	if err != nil {
		t.Fatal(err)
	}
	for i := range holesCount {
		if _, err := f.WriteAt(bytes.Repeat([]byte{byte(i) | 1}, 4096), int64(i)*8192); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(holesCount*8192-4096), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// makeImage makes a file system with mke2fs and the sample tree, gives it attributes through debugfs, and turns large directories
// into hash trees.
func makeImage(t testing.TB, size string, large int, args ...string) (path, dir string, tr tree) {
	t.Helper()
	tool(t, "mke2fs")
	dir = filepath.Join(t.TempDir(), "tree")
	tr = sampleTree(large)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tr.write(t, dir)
	writeHoles(t, dir)
	path = filepath.Join(t.TempDir(), "img")
	run(t, 0, "mke2fs", append(append([]string{"-q", "-F", "-d", dir}, args...), path, size)...)
	return path, dir, tr
}

// setXattr sets an attribute with debugfs.
func setXattr(t testing.TB, img, file, name string, value []byte) {
	t.Helper()
	val := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(val, value, 0o644); err != nil {
		t.Fatal(err)
	}
	if out := run(t, 0, "debugfs", "-w", "-R", "ea_set -f "+val+" "+file+" "+name, img); strings.Contains(out, "ea_set:") {
		t.Fatal(out)
	}
}

// variants are file systems of all shapes. large is the number of names in the large directory, big the largest attribute.
var variants = []struct {
	name, size string
	args       string
	large, big int
}{
	{"ext2-1k-128", "60M", "-t ext2 -b 1024 -I 128", 400, 700},
	{"ext3-2k-256", "60M", "-t ext3 -b 2048 -I 256", 400, 1500},
	{"ext4-4k-256", "60M", "-t ext4 -b 4096 -I 256", 400, 3000},
	{"ext4-1k-256", "60M", "-t ext4 -b 1024 -I 256", 2600, 700},
	{"gdt-csum-512", "60M", "-t ext4 -b 4096 -I 512 -O ^64bit,^metadata_csum,uninit_bg", 400, 3000},
	{"ldiskfs-like-1024", "60M", "-t ext4 -b 4096 -I 1024 -O ^64bit,^metadata_csum,^extents,uninit_bg,large_dir,ea_inode,^resize_inode -J size=4", 400, 4095},
	{"inline-256", "60M", "-t ext4 -b 4096 -I 256 -O inline_data", 400, 3000},
	{"inline-1024", "60M", "-t ext4 -b 1024 -I 1024 -O inline_data", 300, 600},
	{"ea-inode-512", "60M", "-t ext4 -b 4096 -I 512 -O ea_inode", 100, 4095},
	{"meta-bg-1k", "150M", "-t ext4 -b 1024 -I 256 -O meta_bg,^resize_inode", 300, 600},
	{"no-flex-sparse2", "90M", "-t ext4 -b 1024 -O ^flex_bg,sparse_super2,^resize_inode", 300, 600},
	{"csum-seed-project", "60M", "-t ext4 -b 4096 -I 512 -O metadata_csum_seed,project,quota,large_dir", 300, 3000},
	{"mmp", "60M", "-t ext4 -b 4096 -O mmp", 30, 3000},
	{"casefold", "60M", "-t ext4 -b 4096 -O casefold -E encoding=utf8", 30, 3000},
	{"64k", "300M", "-t ext4 -b 65536 -I 256 -N 8000", 2600, 3000},
	{"many-inodes-4k-4096", "60M", "-t ext4 -b 4096 -I 4096 -N 2000", 300, 3000},
}

// Whatever the shape, what is read is what was put in, debugfs agrees on every directory, and all checksums are right.
func TestMke2fs(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			img, dir, tr := makeImage(t, v.size, v.large, strings.Fields(v.args)...)
			attrs := map[string][]byte{"user.small": []byte("v"), "trusted.lma": bytes.Repeat([]byte{7}, 24), "user.big": bytes.Repeat([]byte("xyz"), v.big/3)}
			for _, name := range slices.Sorted(maps.Keys(attrs)) {
				setXattr(t, img, "/small", name, attrs[name])
			}
			run(t, 1, "e2fsck", "-fyD", img)
			fs := openImage(t, img)
			for _, p := range fs.Problems() {
				t.Error(p)
			}
			if list := fs.Refusals(); len(list) > 0 {
				t.Errorf("refused: %v", list[0])
			}
			checkContent(t, fs, dir, tr)
			checkAttrs(t, fs, attrs)
			checkDebugfs(t, fs, img)
			checkAllSums(t, fs)
			checkDirSweep(t, fs)
			fs.desc = nil // as if the table were too large to keep
			checkDirSweep(t, fs)
		})
	}
}

// lookup walks a path from the root.
func lookup(t testing.TB, fs *FS, path string) *Inode {
	t.Helper()
	in, err := fs.Inode(InoRoot)
	for _, part := range strings.Split(path, "/") {
		if part == "" || err != nil {
			continue
		}
		next := uint32(0)
		err = fs.Dir(in, func(d Dirent) bool {
			if string(d.Name) == part {
				next = d.Inode
			}
			return next == 0
		}, must(t))
		if next == 0 {
			t.Fatalf("%s: no %q, %v", path, part, err)
		}
		in, err = fs.Inode(next)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return in
}

func checkContent(t *testing.T, fs *FS, dir string, tr tree) {
	for name, want := range tr {
		if strings.HasPrefix(name, "large/") {
			continue
		}
		want, _ = strings.CutPrefix(want, "->")
		got, err := fs.ReadAll(lookup(t, fs, name), 1<<20)
		if err != nil || string(got) != want {
			t.Errorf("%s: %d bytes %.40q, want %d, %v", name, len(got), got, len(want), err)
		}
	}
	want, err := os.ReadFile(filepath.Join(dir, holesName))
	if err != nil {
		t.Fatal(err)
	}
	f, err := fs.File(lookup(t, fs, holesName), must(t))
	if err != nil || f.Size() != int64(len(want)) {
		t.Fatalf("%s: size %d, want %d, %v", holesName, f.Size(), len(want), err)
	}
	got := make([]byte, 100000)
	for off := int64(0); off < f.Size(); off += 99999 {
		n, err := f.ReadAt(got, off)
		if err != nil && err != io.EOF || !bytes.Equal(got[:n], want[off:off+int64(n)]) {
			t.Fatalf("%s: content differs at %d, %v", holesName, off, err)
		}
	}
	names := 0
	in := lookup(t, fs, "large")
	if err := fs.Dir(in, func(d Dirent) bool {
		if _, ok := tr["large/"+string(d.Name)]; ok {
			names++
		}
		return true
	}, must(t)); err != nil || names != strings.Count(strings.Join(slices.Collect(maps.Keys(tr)), "\n"), "large/") {
		t.Errorf("large directory has %d names, %v", names, err)
	}
}

func checkAttrs(t *testing.T, fs *FS, attrs map[string][]byte) {
	in, seen, where := lookup(t, fs, "small"), 0, map[Where]int{}
	err := in.Xattrs(fs, func(x Xattr) bool {
		want, ok := attrs[x.FullName()]
		if x.FullName() == "system.data" {
			return true
		}
		if !ok || !bytes.Equal(x.Value, want) {
			t.Errorf("attribute %s has %d bytes, want %d", x.FullName(), len(x.Value), len(want))
		}
		if x.ValueInode == 0 && x.Hash != 0 && x.Hash != XattrEntryHash(x.Name, x.Value) {
			t.Errorf("attribute %s: hash %#x, computed %#x", x.FullName(), x.Hash, XattrEntryHash(x.Name, x.Value))
		}
		if x.ValueInode != 0 && x.Hash != fs.Sums().XattrEntryHashInode(x.Name, x.Value) {
			t.Errorf("attribute %s in inode: hash %#x", x.FullName(), x.Hash)
		}
		seen++
		where[x.Where]++
		return true
	}, must(t))
	if err != nil || seen != len(attrs) {
		t.Errorf("%d attributes of %d, %v", seen, len(attrs), err)
	}
	if fs.sb.InodeSize >= 256 && where[InInode] == 0 || where[InBlock] > 0 != (in.FileACL != 0) {
		t.Errorf("places of attributes: %v", where)
	}
	big, ok, err := fs.Xattr(in, XattrIndexUser, "big")
	if err != nil || !ok || !bytes.Equal(big, attrs["user.big"]) {
		t.Errorf("user.big: %d bytes, %v, %v", len(big), ok, err)
	}
}

// checkDebugfs compares every directory with debugfs, and the blocks of all files.
func checkDebugfs(t *testing.T, fs *FS, img string) {
	var asked []*Inode
	cmds := ""
	err := fs.SweepInodes(context.Background(), SweepOptions{Report: must(t)}, func(in *Inode) error {
		if in.IsDir() {
			asked = append(asked, in.Clone())
			cmds += fmt.Sprintf("ls -p <%d>\n", in.Number)
		} else if in.IsRegular() && in.Size > 0 && in.Number >= fs.sb.FirstIno && !in.IsInline() && in.Flags&FlagEAInode == 0 {
			asked = append(asked, in.Clone())
			cmds += fmt.Sprintf("blocks <%d>\n", in.Number)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cmds")
	if err := os.WriteFile(file, []byte(cmds), 0o644); err != nil {
		t.Fatal(err)
	}
	answers := strings.Split(run(t, 0, "debugfs", "-f", file, img), "debugfs: ")[1:]
	if len(answers) != len(asked) {
		t.Fatalf("debugfs answered %d of %d", len(answers), len(asked))
	}
	for i, in := range asked {
		_, answer, _ := strings.Cut(answers[i], "\n")
		if in.IsDir() {
			compareListing(t, fs, in, answer)
			continue
		}
		var got []string
		all := func(b uint64) bool { got = append(got, fmt.Sprint(b)); return true }
		err := in.Blocks(fs, func(e Extent) bool {
			for k := range e.Length {
				all(e.Physical + uint64(k))
			}
			return true
		}, must(t))
		if err == nil {
			err = in.MapBlocks(fs, all, must(t))
		}
		want := strings.Fields(answer)
		slices.Sort(got)
		slices.Sort(want)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("inode %d: blocks %v, want %v, %v", in.Number, got, want, err)
		}
	}
}

// compareListing compares a directory with the answer of "ls -p": /inode/mode/uid/gid/name/size/ per line.
func compareListing(t *testing.T, fs *FS, in *Inode, answer string) {
	var want, got []string
	for line := range strings.Lines(answer) {
		if f := strings.Split(line, "/"); len(f) >= 6 && f[1] != "0" {
			want = append(want, f[1]+" "+f[2]+" "+f[5])
		}
	}
	err := fs.Dir(in, func(d Dirent) bool {
		child, err := fs.Inode(d.Inode)
		if err != nil {
			t.Error(err)
			return false
		}
		if d.Type != DirentTypeOf(child.Mode) || !child.Allocated {
			t.Errorf("entry %q has type %d, inode %d has mode %o", d.Name, d.Type, d.Inode, child.Mode)
		}
		got = append(got, fmt.Sprintf("%d %06o %s", d.Inode, child.Mode, d.Name))
		return true
	}, must(t))
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("directory %d: %d entries, debugfs has %d, %v", in.Number, len(got), len(want), err)
	}
}

// checkAllSums verifies every checksum there is, and the hash trees.
func checkAllSums(t *testing.T, fs *FS) {
	report := must(t)
	fs.VerifySuper(report)
	for g := range fs.Groups() {
		if ok, err := fs.VerifyBitmaps(g, report); !ok || err != nil || !fs.VerifyGroup(g, report) {
			t.Errorf("group %d: %v", g, err)
		}
	}
	if err := fs.VerifyGroups(t.Context(), report); err != nil {
		t.Error(err)
	}
	buf := make([]byte, fs.sb.BlockSize)
	var mu sync.Mutex
	trees := 0
	err := fs.SweepInodes(context.Background(), SweepOptions{Report: report, Workers: 3}, func(in *Inode) error {
		mu.Lock()
		defer mu.Unlock()
		if in.Mode == 0 {
			return nil
		}
		fs.VerifyInode(in, report)
		if ok, err := fs.VerifyMap(in, report); !ok || err != nil {
			t.Errorf("inode %d: map, %v", in.Number, err)
		}
		if in.FileACL != 0 {
			if ok, err := fs.XattrBlock(in, buf, report); !ok || err != nil || !fs.VerifyXattrBlock(in, buf, report) {
				t.Errorf("inode %d: attribute block, %v", in.Number, err)
			}
		}
		if !in.IsDir() {
			return nil
		}
		if in.Flags&FlagIndex != 0 {
			trees++
			checkTree(t, fs, in)
		}
		return fs.DirBlocks(in, func(b DirBlock) bool {
			if err := fs.ReadBlock(b.Physical, buf); err != nil {
				t.Error(err)
			}
			fs.VerifyDirBlock(b, buf, report)
			return true
		}, report)
	})
	if err != nil {
		t.Error(err)
	}
	if large := lookup(t, fs, "large"); large.Size > 2*uint64(fs.sb.BlockSize) && trees == 0 && fs.sb.HasCompat(CompatDirIndex) {
		t.Error("no hash tree was met")
	}
}

// checkDirSweep reads all directory blocks sorted by place and finds the names that Dir finds; and counts inodes in use.
func checkDirSweep(t *testing.T, fs *FS) {
	var blocks []DirBlock
	want, got := map[string]int{}, map[string]int{}
	used := uint32(0)
	err := fs.SweepInodes(context.Background(), SweepOptions{Report: must(t)}, func(in *Inode) error {
		used++
		if !in.IsDir() || in.IsInline() {
			return nil
		}
		if err := fs.DirBlocks(in, func(b DirBlock) bool { blocks = append(blocks, b); return true }, must(t)); err != nil {
			return err
		}
		return fs.Dir(in, func(d Dirent) bool { want[fmt.Sprintf("%d %d %s", in.Number, d.At, d.Name)]++; return true }, must(t))
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(blocks, func(a, b DirBlock) int { return cmp.Compare(a.Physical, b.Physical) })
	next, stop := iter.Pull(slices.Values(blocks))
	defer stop()
	err = fs.SweepDirBlocks(context.Background(), next, func(b DirBlock, buf []byte) error {
		fs.Dirents(b, buf, func(d Dirent) bool { got[fmt.Sprintf("%d %d %s", b.Inode, d.At, d.Name)]++; return true }, must(t))
		return nil
	}, must(t))
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%d names in the sweep, %d by directory, %v", len(got), len(want), err)
	}
	bitmap, set, free := make([]byte, fs.sb.BlockSize), 0, uint32(0)
	for g := range fs.Groups() {
		d, err := fs.Group(g)
		if err == nil {
			err = fs.InodeBitmap(g, bitmap)
		}
		if err != nil {
			t.Fatal(err)
		}
		free += d.FreeInodes
		for _, b := range bitmap[:fs.sb.InodesPerGroup/8] {
			set += bits.OnesCount8(b)
		}
	}
	// reserved inodes without content are marked as in use
	if uint32(set) != used || fs.Inodes()-free != used || free != fs.sb.FreeInodes {
		t.Errorf("%d inodes in the sweep, %d in bitmaps, %d by descriptors, %d by the superblock", used, set, fs.Inodes()-free, fs.Inodes()-fs.sb.FreeInodes)
	}
}

// checkTree descends a hash tree: every leaf is met once, and hashes ascend.
func checkTree(t *testing.T, fs *FS, in *Inode) {
	f, err := fs.File(in, must(t))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, fs.sb.BlockSize)
	seen := map[uint32]bool{0: true}
	var version uint8
	// leaf checks that the names of a leaf have hashes from lo up to hi.
	leaf := func(block, lo, hi uint32) {
		if _, err := f.ReadAt(buf, int64(block)*int64(len(buf))); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		fs.Dirents(DirBlock{Physical: 1, Inode: in.Number, Logical: block}, buf, func(d Dirent) bool {
			h, _, ok := NameHash(version, fs.sb.HashSeed, d.Name)
			if !ok || h < lo&^1 || h > hi {
				t.Errorf("inode %d: %q has hash %#x, its leaf %#x to %#x", in.Number, d.Name, h, lo, hi)
			}
			return true
		}, must(t))
	}
	var descend func(n DxNode, levels uint8, hi uint32)
	descend = func(n DxNode, levels uint8, hi uint32) {
		if n.Limit != fs.sb.DxLimit(n.CountAt) {
			t.Errorf("inode %d: limit %d, want %d", in.Number, n.Limit, fs.sb.DxLimit(n.CountAt))
		}
		for i, e := range n.Entries {
			if i > 0 && e.Hash < n.Entries[i-1].Hash || seen[e.Block] {
				t.Errorf("inode %d: entry %d is %+v", in.Number, i, e)
			}
			seen[e.Block] = true
			end := hi
			if i+1 < len(n.Entries) {
				end = n.Entries[i+1].Hash
			}
			if levels == 0 {
				if in.Flags&FlagCasefold == 0 {
					leaf(e.Block, e.Hash, end)
				}
				continue
			}
			if _, err := f.ReadAt(buf, int64(e.Block)*int64(len(buf))); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			inner, err := fs.DxInner(buf)
			if err != nil {
				t.Errorf("inode %d: %v", in.Number, err)
				continue
			}
			descend(inner, levels-1, end)
		}
	}
	if _, err := f.ReadAt(buf, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	root, err := fs.DxRoot(buf)
	if err != nil || root.InfoAt != 24 || root.HashVersion != fs.sb.HashVersion {
		t.Fatalf("inode %d: %+v, %v", in.Number, root, err)
	}
	version = fs.sb.DirHashVersion(root.HashVersion)
	descend(root, root.Levels, 1<<32-1)
	if len(seen) != int(f.Size())/len(buf) {
		t.Errorf("inode %d: %d blocks in the tree, %d in all", in.Number, len(seen), int(f.Size())/len(buf))
	}
}

// Name hashes are those that debugfs computes.
func TestNameHash(t *testing.T) {
	names := []string{"a", "hello", strings.Repeat("x", 16), strings.Repeat("y", 17), strings.Repeat("z", 32), strings.Repeat("w", 33), strings.Repeat("long", 60),
		"caf\xc3\xa9-\xff\x80"}
	kinds := map[string]uint8{"legacy": HashLegacy, "half_md4": HashHalfMD4, "tea": HashTEA, "3": HashLegacyUnsigned,
		"4": HashHalfMD4Unsigned, "5": HashTEAUnsigned}
	seeds := map[string][4]uint32{"": {}, "01020304-0506-0708-090a-0b0c0d0e0f10": {0x04030201, 0x08070605, 0x0C0B0A09, 0x100F0E0D}}
	var cmds strings.Builder
	var want []string
	for kind, version := range kinds {
		for text, seed := range seeds {
			for _, name := range names {
				fmt.Fprintf(&cmds, "dx_hash -h %s %s %s\n", kind, strings.TrimSuffix("-s "+text, "-s "), name)
				hash, minor, ok := NameHash(version, seed, []byte(name))
				if !ok {
					t.Errorf("%s: no hash", kind)
				}
				want = append(want, fmt.Sprintf("%s: Hash of %s is %#x (minor %#x)", kind, name, hash, minor))
			}
		}
	}
	file := filepath.Join(t.TempDir(), "cmds")
	if err := os.WriteFile(file, []byte(cmds.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(run(t, 0, "debugfs", "-f", file)) {
		if !strings.HasPrefix(line, "Hash of ") {
			continue
		}
		if kind, _, _ := strings.Cut(want[n], ":"); want[n] != kind+": "+strings.TrimSpace(line) {
			t.Errorf("computed %s\ndebugfs says %s", want[n], line)
		}
		n++
	}
	if n != len(want) {
		t.Errorf("%d answers, %d questions", n, len(want))
	}
	if _, _, ok := NameHash(HashSipHash, [4]uint32{}, []byte("x")); ok {
		t.Error("siphash has an answer")
	}
}
