package ext4edit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"fettle/internal/format/ext4"
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

// run runs a tool and gives its exit code and output.
func run(t testing.TB, name string, args ...string) (int, string) {
	t.Helper()
	out, err := exec.Command(tool(t, name), args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	if exit != nil {
		return exit.ExitCode(), string(out)
	}
	return 0, string(out)
}

// variant is a form of file system.
type variant struct {
	name, size, args string
	dirdata          bool
}

// inodesAreBlocks is the variant whose inodes are as large as its blocks.
const inodesAreBlocks = "ext4-2k-2048"

// variants are file systems of all shapes that can be written.
var variants = []variant{
	{"ext2-1k-128", "30M", "-t ext2 -b 1024 -I 128", false},
	{"ext3-2k-256", "30M", "-t ext3 -b 2048 -I 256 -J size=2", false},
	{"ext4-4k-256", "40M", "-t ext4 -b 4096 -I 256", false},
	{"ext4-1k-256", "40M", "-t ext4 -b 1024 -I 256", false},
	{inodesAreBlocks, "40M", "-t ext4 -b 2048 -I 2048 -N 1000", false},
	{"gdt-csum-512", "40M", "-t ext4 -b 4096 -I 512 -O ^64bit,^metadata_csum,uninit_bg", false},
	{"gdt-csum-64bit", "40M", "-t ext4 -b 1024 -O 64bit,^metadata_csum,uninit_bg", false},
	{"csum-32bit-desc", "40M", "-t ext4 -b 1024 -O ^64bit,metadata_csum", false},
	{"lazy-many-groups", "150M", "-t ext4 -b 1024 -I 256 -g 1024 -N 2400 -E lazy_itable_init=1,packed_meta_blocks=0", false},
	{"meta-bg-no-flex", "90M", "-t ext4 -b 1024 -O meta_bg,^resize_inode,^flex_bg", false},
	{"sparse-super2", "40M", "-t ext4 -b 1024 -O sparse_super2,^resize_inode", false},
	{"seed-project-quota", "40M", "-t ext4 -b 4096 -I 512 -O metadata_csum_seed,project,quota,large_dir,ea_inode", false},
	{"mmp", "40M", "-t ext4 -b 4096 -O mmp", false},
	{"inline-512", "40M", "-t ext4 -b 4096 -I 512 -O inline_data", false},
	{"no-dir-index", "40M", "-t ext4 -b 1024 -O ^dir_index", false},
	{"ldiskfs-1024", "40M", "-t ext4 -b 4096 -I 1024 -O ^64bit,^metadata_csum,^extents,uninit_bg,large_dir,ea_inode,^resize_inode -J size=4", true},
	{"ldiskfs-512-quota", "40M", "-t ext4 -b 1024 -I 512 -O ^64bit,^metadata_csum,^extents,uninit_bg,quota,^resize_inode -J size=4", true},
	{"dirdata-csum-1k", "40M", "-t ext4 -b 1024 -I 512", true},
	{"dirdata-csum-4k-large", "40M", "-t ext4 -b 4096 -I 1024 -O large_dir,project,quota", true},
	{"dirdata-none-2k", "40M", "-t ext3 -b 2048 -I 256 -J size=2", true},
}

// imageDir holds every image that mke2fs made, because mke2fs waits for the disk.
var (
	imageDir  string
	imageLock sync.Mutex
	images    = map[string]string{}
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ext4edit-")
	if err != nil {
		panic(err)
	}
	imageDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// makeImage gives a copy of a file system made with mke2fs.
func makeImage(t testing.TB, v variant, extra ...string) string {
	t.Helper()
	args := append([]string{"-q", "-F", "-U", "01234567-89ab-cdef-0123-456789abcdef", "-E", "hash_seed=11111111-2222-3333-4444-555555555555"}, extra...)
	args = append(args, strings.Fields(v.args)...)
	if strings.Contains(v.args, "-E ") { // only one -E counts
		args = append(args[:4], args[6:]...)
	}
	key := fmt.Sprint(args, v.size)
	imageLock.Lock()
	defer imageLock.Unlock()
	made, ok := images[key]
	if !ok {
		made = filepath.Join(imageDir, fmt.Sprint(len(images)))
		if code, out := run(t, "mke2fs", append(args, made, v.size)...); code != 0 {
			t.Fatalf("mke2fs %v: %s", args, out)
		}
		images[key] = made
	}
	path := filepath.Join(t.TempDir(), "img")
	copySparse(t, made, path)
	if v.dirdata {
		setDirdata(t, path, true)
	}
	return path
}

// setDirdata sets or clears the feature in the primary superblock.
func setDirdata(t testing.TB, path string, on bool) {
	t.Helper()
	fs := openFS(t, path)
	raw := bytes.Clone(fs.Super().Raw)
	bits := le.Uint32(raw[ext4.SBFeatureIncompat:]) &^ ext4.IncompatDirdata
	if on {
		bits |= ext4.IncompatDirdata
	}
	le.PutUint32(raw[ext4.SBFeatureIncompat:], bits)
	fs.Sums().PutSuper(raw)
	writeAt(t, path, raw, ext4.SuperOffset)
}

func writeAt(t testing.TB, path string, data []byte, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(data, off)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func openFS(t testing.TB, path string) *ext4.FS {
	t.Helper()
	fs, err := ext4.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return fs
}

// openEdit opens an image and begins an edit.
func openEdit(t testing.TB, path string) *Edit {
	t.Helper()
	e, err := Open(openFS(t, path), Options{Time: 1700000000})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// apply writes the changed blocks to a copy of the image and gives its path.
func apply(t testing.TB, e *Edit, path string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "after")
	copySparse(t, path, out)
	f, err := os.OpenFile(out, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range e.Blocks() {
		if _, err := f.WriteAt(b.After, int64(b.Number)*int64(len(b.After))); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

// copySparse copies a file and leaves its holes out.
func copySparse(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	fi, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	eachData(t, in, fi.Size(), func(at, end int64) {
		if _, err := out.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, io.NewSectionReader(in, at, end-at)); err != nil {
			t.Fatal(err)
		}
	})
	if err := out.Truncate(fi.Size()); err != nil {
		t.Fatal(err)
	}
}

// eachData calls fn for each part of a file that is no hole.
func eachData(t testing.TB, f *os.File, size int64, fn func(at, end int64)) {
	t.Helper()
	const seekData, seekHole = 3, 4
	for at := int64(0); at < size; {
		from, err := f.Seek(at, seekData)
		if err != nil {
			return // nothing but a hole
		}
		end, err := f.Seek(from, seekHole)
		if err != nil {
			t.Fatal(err)
		}
		fn(from, end)
		at = end
	}
}

// strip makes an image with dirdata one that e2fsck knows: no data records in types, hash-tree roots where ext4 has them.
func strip(t testing.TB, path string) {
	t.Helper()
	fs := openFS(t, path)
	if !fs.Super().Dirdata() {
		return
	}
	bs := int(fs.Super().BlockSize)
	for ino := uint32(ext4.InoRoot); ino <= fs.Inodes(); ino++ {
		in, err := fs.Inode(ino)
		if err != nil || !in.Allocated || !in.IsDir() {
			continue
		}
		err = fs.DirBlocks(in, func(b ext4.DirBlock) bool {
			buf := make([]byte, bs)
			if err := fs.ReadBlock(b.Physical, buf); err != nil {
				t.Fatal(err)
			}
			stripBlock(t, fs, in, b, buf)
			writeAt(t, path, buf, int64(b.Physical)*int64(bs))
			return true
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	setDirdata(t, path, false)
}

func stripBlock(t testing.TB, fs *ext4.FS, in *ext4.Inode, b ext4.DirBlock, buf []byte) {
	if in.Flags&ext4.FlagIndex != 0 {
		if _, err := fs.DxInner(buf); err == nil {
			return
		}
	}
	fs.Dirents(b, buf, func(d ext4.Dirent) bool { return true }, func(p ext4.Problem) { t.Error(p) })
	var root ext4.DxNode
	isRoot := in.Flags&ext4.FlagIndex != 0 && b.Logical == 0
	if isRoot {
		var err error
		if root, err = fs.DxRoot(buf); err != nil {
			t.Fatal(err)
		}
	}
	fs.Dirents(b, buf, func(d ext4.Dirent) bool {
		buf[d.Offset+ext4.DirentType] = d.Type
		return true
	}, nil)
	if !isRoot {
		fs.Sums().PutDirLeaf(in.Number, in.Generation, buf)
		return
	}
	info := bytes.Clone(buf[root.InfoAt : root.InfoAt+ext4.DxInfoSize])
	clear(buf[24:])
	copy(buf[24:], info)
	for i, x := range root.Entries {
		le.PutUint32(buf[32+8*i:], x.Hash)
		le.PutUint32(buf[36+8*i:], x.Block)
	}
	le.PutUint16(buf[32:], uint16(fs.Super().DxLimit(32)))
	le.PutUint16(buf[34:], uint16(root.Count))
	if err := fs.Sums().PutDirNode(in.Number, in.Generation, buf, 32); err != nil {
		t.Fatal(err)
	}
}

// fsck runs e2fsck on the edited image, without dirdata, and fails the test when it finds anything.
func fsck(t testing.TB, e *Edit, path string) string {
	t.Helper()
	after := apply(t, e, path)
	plain := after + ".plain"
	copySparse(t, after, plain)
	strip(t, plain)
	code, out := run(t, "e2fsck", "-fn", plain)
	if e.sb.HasROCompat(ext4.ROCompatQuota) {
		out, code = withoutQuota(out, code)
	}
	if code != 0 || strings.Contains(out, "ix? no") {
		t.Fatalf("e2fsck: exit code %d\n%s", code, out)
	}
	return after
}

// withoutQuota takes away what e2fsck says about quota files, which are not updated.
func withoutQuota(out string, code int) (string, int) {
	var rest []string
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "QUOTA") && !strings.Contains(line, "Update quota info") {
			rest = append(rest, line)
		}
	}
	text := strings.Join(rest, "")
	if code == 4 && !strings.Contains(text, "? no") {
		code = 0
	}
	return text, code
}

// undo proves that writing the old blocks over the new ones gives the old image.
func undo(t testing.TB, e *Edit, path, after string) {
	t.Helper()
	f, err := os.OpenFile(after, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range e.Blocks() {
		if bytes.Equal(b.Before, b.After) {
			t.Errorf("block %d does not differ", b.Number)
		}
		if _, err := f.WriteAt(b.Before, int64(b.Number)*int64(len(b.Before))); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	if !sameFile(t, path, after) {
		t.Error("the old blocks do not give the old image")
	}
}

func sameFile(t testing.TB, a, b string) bool {
	t.Helper()
	f, err := os.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g, err := os.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	same := true
	compare := func(at, end int64) {
		x, y := make([]byte, 1<<20), make([]byte, 1<<20)
		for ; at < end; at += 1 << 20 {
			n := min(end-at, 1<<20)
			if _, err := f.ReadAt(x[:n], at); err != nil {
				t.Fatal(err)
			}
			if _, err := g.ReadAt(y[:n], at); err != nil || !bytes.Equal(x[:n], y[:n]) {
				same = false
			}
		}
	}
	eachData(t, f, fi.Size(), compare)
	eachData(t, g, fi.Size(), compare)
	return same
}

// fid makes a FID from a number.
func fid(n int) (f [16]byte) {
	copy(f[:], fmt.Sprintf("\x00\x00\x00\x02\x00\x00\x04\x00%08x", n))
	return f
}
