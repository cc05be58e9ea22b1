package lustre

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"fettle/internal/store/storetest"
)

// Images are large files with little in them, and a test of crashes copies, compares and syncs them thousands of times. Such a test has
// them in memory, as files without a place on a disk to which symbolic links lead; what is not a hole is all that is looked at, and
// what differs all that is written.

// grain is what is compared and written as a whole.
const grain = 4096

// data calls fn with the runs of bytes of a file that are not holes, in whole chunks.
func data(t testing.TB, f *os.File, fn func(from, to int64)) {
	for at := int64(0); ; {
		from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return
		}
		to, err2 := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		if err := errors.Join(err, err2); err != nil {
			t.Fatalf("holes of %s: %v", f.Name(), err)
		}
		fn(from/grain*grain, (to+grain-1)/grain*grain)
		at = to
	}
}

// memImage makes an empty image in memory, with a name in a directory. It is gone when the test ends.
func memImage(t testing.TB, path string) {
	t.Helper()
	fd, err := unix.MemfdCreate(filepath.Base(path), unix.MFD_CLOEXEC)
	if err == nil {
		t.Cleanup(func() { unix.Close(fd) })
		err = os.Symlink(fmt.Sprintf("/proc/self/fd/%d", fd), path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// inMemory gives a Make that moves what make makes into memory.
func inMemory(make func(testing.TB, string)) func(testing.TB, string) {
	return func(t testing.TB, path string) {
		dir := filepath.Join(t.TempDir(), "made")
		make(t, dir)
		copyImages(t, dir, path)
	}
}

// openTest opens a file of a test.
func openTest(t testing.TB, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// copyImages makes the images in directory to what those in from are, times included. New ones are in memory.
func copyImages(t testing.TB, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	list, err := filepath.Glob(filepath.Join(from, "*"))
	if err != nil || len(list) == 0 {
		t.Fatalf("nothing in %s: %v", from, err)
	}
	for _, path := range list {
		copyImage(t, path, filepath.Join(to, filepath.Base(path)))
	}
}

func copyImage(t testing.TB, from, to string) {
	t.Helper()
	if _, err := os.Lstat(to); err != nil {
		memImage(t, to)
	}
	in, out := openTest(t, from, os.O_RDONLY), openTest(t, to, os.O_RDWR)
	defer in.Close()
	defer out.Close()
	fi, err := in.Stat()
	if err == nil {
		err = out.Truncate(fi.Size())
	}
	if err != nil {
		t.Fatal(err)
	}
	var done [][2]int64
	data(t, in, func(at, end int64) {
		alike(t, in, out, at, end)
		done = append(done, [2]int64{at, end})
	})
	data(t, out, func(at, end int64) {
		for _, d := range done { // ascending, like what is asked for
			if d[0] < end && at < d[1] {
				if at < d[0] {
					alike(t, in, out, at, d[0])
				}
				at = d[1]
			}
		}
		if at < end {
			alike(t, in, out, at, end)
		}
	})
	if err := errors.Join(os.Chmod(to, fi.Mode().Perm()), os.Chtimes(to, fi.ModTime(), fi.ModTime())); err != nil {
		t.Fatal(err)
	}
}

// alike makes bytes of out those of in.
func alike(t testing.TB, in, out *os.File, at, end int64) {
	t.Helper()
	have, want := make([]byte, end-at), make([]byte, end-at)
	n, err1 := readFull(in, want, at)
	m, err2 := readFull(out, have, at)
	if err := errors.Join(err1, err2); err != nil || n != m {
		t.Fatalf("compare %s and %s: %d and %d bytes, %v", in.Name(), out.Name(), n, m, err)
	}
	for i := 0; i < n; i += grain {
		k := min(i+grain, n)
		if string(have[i:k]) == string(want[i:k]) {
			continue
		}
		if _, err := out.WriteAt(want[i:k], at+int64(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// readFull reads as much as there is.
func readFull(f *os.File, b []byte, at int64) (int, error) {
	n, err := f.ReadAt(b, at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// digestImages is storetest.Digest for images. Holes and zeros are the same.
func digestImages(t testing.TB, dir string) storetest.Snapshot {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	full, content := sha256.New(), sha256.New()
	for _, path := range list {
		f := openTest(t, path, os.O_RDONLY)
		fi, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		both := io.MultiWriter(full, content)
		fmt.Fprintf(both, "%s %d\n", filepath.Base(path), fi.Size())
		fmt.Fprintf(full, "%v %d\n", fi.Mode(), fi.ModTime().UnixNano())
		digestImage(t, f, full, content)
		f.Close()
	}
	return storetest.Snapshot{Full: fmt.Sprintf("%x", full.Sum(nil)), Content: fmt.Sprintf("%x", content.Sum(nil))}
}

func digestImage(t testing.TB, f *os.File, into ...hash.Hash) {
	t.Helper()
	data(t, f, func(at, end int64) {
		b := make([]byte, end-at)
		n, err := readFull(f, b, at)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < n; i += grain {
			part := b[i:min(i+grain, n)]
			if string(part) == string(zeros[:len(part)]) {
				continue
			}
			for _, h := range into {
				h.Write(binary.LittleEndian.AppendUint64(nil, uint64(at)+uint64(i)))
				h.Write(part)
			}
		}
	})
}

var zeros = make([]byte, grain)

func TestImagesAreCopiedAndCompared(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	path := filepath.Join(from, "mdt0.img")
	f := openTest(t, path, os.O_RDWR|os.O_CREATE)
	defer f.Close()
	for _, at := range []int64{0, 100 << 10, 1<<20 - 3} {
		if _, err := f.WriteAt([]byte("abc"), at); err != nil {
			t.Fatal(err)
		}
	}
	copyImages(t, from, to)
	if digestImages(t, from) != digestImages(t, to) {
		t.Fatal("a copy has another digest")
	}
	seen := map[string]bool{digestImages(t, from).Content: true}
	for _, at := range []int64{0, 50 << 10, 101 << 10, 1<<20 - 1} {
		g := openTest(t, filepath.Join(to, "mdt0.img"), os.O_RDWR)
		if _, err := g.WriteAt([]byte{'z'}, at); err != nil {
			t.Fatal(err)
		}
		g.Close()
		if d := digestImages(t, to).Content; seen[d] {
			t.Errorf("a byte written at %d is not seen", at)
		} else {
			seen[d] = true
		}
	}
	copyImages(t, from, to)
	if have, want := readFile(t, filepath.Join(to, "mdt0.img")), readFile(t, path); have != want {
		t.Fatal("what was written since the last copy was not taken back")
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
