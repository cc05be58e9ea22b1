package ext4

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// lustreFile gives a reader of an unpacked file below lustre/ of the fixtures.
func lustreFile(t testing.TB, name string) io.Reader {
	t.Helper()
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Skip("FETTLE_FIXTURES is not set: real images are not at hand")
	}
	in, err := os.Open(filepath.Join(root, "lustre", name+".zst"))
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dec.Close(); in.Close() })
	return dec
}

// lustreImage unpacks an image into a sparse file and returns its path.
func lustreImage(t testing.TB, name string) string {
	t.Helper()
	in := lustreFile(t, name)
	path := filepath.Join(t.TempDir(), filepath.Base(name))
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	buf, size := make([]byte, 64<<10), int64(0)
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 && len(bytes.Trim(buf[:n], "\x00")) > 0 {
			if _, err := out.WriteAt(buf[:n], size); err != nil {
				t.Fatal(err)
			}
		}
		size += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path
}

// openImage opens an image and closes it with the test.
func openImage(t testing.TB, path string) *FS {
	t.Helper()
	fs, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
	})
	return fs
}

// must gives a Report that fails the test.
func must(t testing.TB) Report {
	return func(p Problem) { t.Errorf("unexpected problem: %v", p) }
}

// object is an inode as the independent reader that comes with the fixtures saw it.
type object struct {
	Ino     uint32
	Gen     uint32
	Links   uint16
	Mode    string
	Flags   string
	Size    uint64
	Dirents []struct {
		Ino    uint32
		Name   string
		Off    int64
		RecLen int `json:"rec_len"`
		Type   uint8
		FID    string
	}
	Xattrs map[string]string `json:"xattrs_hex"`
}

// fidText formats the 16 big-endian bytes of a FID in a name.
func fidText(b []byte) string {
	seq := uint64(0)
	for _, c := range b[:8] {
		seq = seq<<8 | uint64(c)
	}
	num := func(b []byte) uint32 { return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]) }
	return fmt.Sprintf("[%#x:%#x:%#x]", seq, num(b[8:]), num(b[12:]))
}

// All inodes, names, FIDs in names and attributes of the real pair are those that an independent reader found.
func TestLustrePair(t *testing.T) {
	for _, mdt := range []string{"mdt0000", "mdt0001"} {
		t.Run(mdt, func(t *testing.T) {
			fs := openImage(t, lustreImage(t, "lustre-2.10.0-dne2/"+mdt+".img"))
			if list := fs.Refusals(); len(list) > 0 {
				t.Errorf("refused: %v", list[0])
			}
			if !fs.Super().Dirdata() || fs.Super().InodeSize != 1024 || fs.Super().Label != "lustre-MDT"+mdt[3:] && fs.Super().Label != "t32fs-MDT"+mdt[3:] {
				t.Errorf("label %q, inode size %d, features %v", fs.Super().Label, fs.Super().InodeSize, fs.Super().FeatureNames())
			}
			want := map[uint32]*object{}
			lines := bufio.NewScanner(lustreFile(t, "lustre-2.10.0-dne2/"+mdt+".objects.jsonl"))
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				o := &object{}
				if err := json.Unmarshal(lines.Bytes(), o); err != nil {
					t.Fatal(err)
				}
				want[o.Ino] = o
			}
			names := 0
			err := fs.SweepInodes(context.Background(), SweepOptions{Report: must(t)}, func(in *Inode) error {
				o := want[in.Number]
				if o == nil {
					if in.Number >= fs.Super().FirstIno {
						t.Errorf("inode %d (mode %o) is not in the list", in.Number, in.Mode)
					}
					return nil
				}
				delete(want, in.Number)
				names += compareObject(t, fs, in, o)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, ino := range slices.Sorted(maps.Keys(want)) {
				t.Errorf("inode %d was not found", ino)
			}
			if names < 100 {
				t.Errorf("only %d names", names)
			}
		})
	}
}

func compareObject(t *testing.T, fs *FS, in *Inode, o *object) (names int) {
	if fmt.Sprintf("%o", in.Mode) != o.Mode || in.Links != o.Links || in.Size != o.Size || in.Generation != o.Gen || fmt.Sprintf("%#x", in.Flags) != o.Flags {
		t.Errorf("inode %d: mode %o links %d size %d generation %d flags %#x, want %+v", in.Number, in.Mode, in.Links, in.Size, in.Generation, in.Flags, o)
	}
	err := in.Xattrs(fs, func(x Xattr) bool {
		if got := hex.EncodeToString(x.Value); o.Xattrs[x.FullName()] != got {
			t.Errorf("inode %d: %s is %s, want %s", in.Number, x.FullName(), got, o.Xattrs[x.FullName()])
		}
		delete(o.Xattrs, x.FullName())
		return true
	}, must(t))
	if err != nil {
		t.Error(err)
	}
	for name := range o.Xattrs {
		t.Errorf("inode %d: attribute %s was not found", in.Number, name)
	}
	if !in.IsDir() {
		return 0
	}
	err = fs.Dir(in, func(d Dirent) bool {
		if names >= len(o.Dirents) {
			t.Errorf("inode %d: more names than %d", in.Number, len(o.Dirents))
			return false
		}
		w := o.Dirents[names]
		names++
		fid := ""
		if b, ok := d.LUFID(); ok {
			fid = fidText(b)
		}
		if d.Inode != w.Ino || string(d.Name) != w.Name || d.At != w.Off || d.RecLen != w.RecLen || d.Type|d.Flags != w.Type || fid != w.FID {
			t.Errorf("inode %d: entry %+v (%s), want %+v", in.Number, d, fid, w)
		}
		if w.FID != "" && d.LUFIDAt() != d.At+int64(len(d.Name))+10 {
			t.Errorf("entry %s: FID at %d", d.Name, d.LUFIDAt())
		}
		return true
	}, must(t))
	if err != nil || names != len(o.Dirents) {
		t.Errorf("inode %d: %d names of %d, %v", in.Number, names, len(o.Dirents), err)
	}
	return names
}

// The image with an open-unlinked file: everything is readable, and the copy with an unplayed journal is told apart.
func TestLustrePending(t *testing.T) {
	for name, reason := range map[string]Reason{"mdt0000": "", "mdt0000-dirty-journal": ReasonRecovery} {
		fs := openImage(t, lustreImage(t, "lustre-2.7.22-pending-orphan/"+name+".img"))
		list := fs.Refusals()
		if (reason == "") != (len(list) == 0) || reason != "" && list[0].Reason != reason {
			t.Errorf("%s: refusals %v", name, list)
		}
		found := false
		for in, err := range everyDir(fs) {
			if err != nil {
				t.Fatal(err)
			}
			if err := fs.Dir(in, func(d Dirent) bool { found = found || string(d.Name) == "PENDING"; return true }, must(t)); err != nil {
				t.Fatal(err)
			}
		}
		if !found {
			t.Errorf("%s: no PENDING", name)
		}
	}
}

// everyDir ranges over all directories.
func everyDir(fs *FS) func(func(*Inode, error) bool) {
	return func(yield func(*Inode, error) bool) {
		err := fs.SweepInodes(context.Background(), SweepOptions{}, func(in *Inode) error {
			if in.IsDir() && !yield(in, nil) {
				return io.EOF
			}
			return nil
		})
		if err != nil && err != io.EOF {
			yield(nil, err)
		}
	}
}

// patched is an image with some bytes changed.
type patched struct {
	io.ReaderAt
	at   []int64
	with [][]byte
}

func (p patched) ReadAt(buf []byte, off int64) (int, error) {
	n, err := p.ReaderAt.ReadAt(buf, off)
	for i, at := range p.at {
		from, to := max(at, off), min(at+int64(len(p.with[i])), off+int64(n))
		if from < to {
			copy(buf[from-off:to-off], p.with[i][from-at:to-at])
		}
	}
	return n, err
}

// Damage to the Lustre namespace is none to the format: every case is read without a problem of the format, and what is read differs
// from the pristine image.
func TestLustreDamage(t *testing.T) {
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Skip("FETTLE_FIXTURES is not set: real images are not at hand")
	}
	raw, err := os.ReadFile(filepath.Join(root, "lustre", "damage", "damage.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		ID      string
		Patches map[string][][3]any
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for i, mdt := range []string{"mdt0000", "mdt0001"} {
		base := openImage(t, lustreImage(t, "lustre-2.10.0-dne2/"+mdt+".img"))
		pristine := digest(t, base)
		for _, c := range cases {
			p := patched{ReaderAt: base.r}
			for _, change := range c.Patches[fmt.Sprintf("mdt%d", i)] {
				b, err := hex.DecodeString(change[2].(string))
				if err != nil {
					t.Fatal(err)
				}
				p.at, p.with = append(p.at, int64(change[0].(float64))), append(p.with, b)
			}
			fs, err := New(p, base.size, c.ID)
			if err != nil {
				t.Fatalf("%s: %v", c.ID, err)
			}
			if got := digest(t, fs); (got == pristine) != (len(p.at) == 0) {
				t.Errorf("%s on %s: %d changes, what is read is the same: %v", c.ID, mdt, len(p.at), got == pristine)
			}
		}
	}
}

// digest reads everything and sums it up; a problem fails the test.
func digest(t *testing.T, fs *FS) string {
	var b bytes.Buffer
	report := func(p Problem) { t.Errorf("%s: %v", fs.name, p) }
	err := fs.SweepInodes(context.Background(), SweepOptions{Report: report}, func(in *Inode) error {
		fmt.Fprintf(&b, "%d %o %d %d\n", in.Number, in.Mode, in.Links, in.Size)
		if err := in.Xattrs(fs, func(x Xattr) bool { fmt.Fprintf(&b, "%s %x\n", x.FullName(), x.Value); return true }, report); err != nil || !in.IsDir() {
			return err
		}
		return fs.Dir(in, func(d Dirent) bool { fmt.Fprintf(&b, "%d %s %x %x\n", d.Inode, d.Name, d.Type, d.Data); return true }, report)
	})
	if err != nil {
		t.Errorf("%s: %v", fs.name, err)
	}
	return b.String()
}
