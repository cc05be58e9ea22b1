package ext4edit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"

	"github.com/klauspost/compress/zstd"
)

// realImage unpacks a real MDT into a sparse file.
func realImage(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Skip("FETTLE_FIXTURES is not set: real images are not at hand")
	}
	in, err := os.Open(filepath.Join(root, "lustre", name+".zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	dec, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	path := filepath.Join(t.TempDir(), filepath.Base(name))
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	buf, size := make([]byte, 64<<10), int64(0)
	for {
		n, err := io.ReadFull(dec, buf)
		if n > 0 && len(bytes.Trim(buf[:n], "\x00")) > 0 {
			if _, err := out.WriteAt(buf[:n], size); err != nil {
				t.Fatal(err)
			}
		}
		size += int64(n)
		if err != nil {
			break
		}
	}
	if err := out.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path
}

// realFsck compares what e2fsck says about the edited image with what it says about the pristine one.
func realFsck(t *testing.T, e *Edit, img string) string {
	t.Helper()
	findings := func(path string) string {
		plain := filepath.Join(t.TempDir(), "plain")
		copySparse(t, path, plain)
		strip(t, plain)
		_, out := run(t, "e2fsck", "-fn", plain)
		var rest []string
		for line := range strings.Lines(out) { // the last line counts, quota files are not updated
			quota := strings.Contains(line, "QUOTA") || strings.Contains(line, "Update quota info") || strings.Contains(line, "still has errors")
			if !quota && !strings.Contains(line, "files (") && line != "\n" {
				rest = append(rest, strings.ReplaceAll(line, plain, "image"))
			}
		}
		if len(rest) != 6 { // the version and five passes
			t.Errorf("e2fsck complains about %s:\n%s", path, out)
		}
		return strings.Join(rest, "")
	}
	after := apply(t, e, img)
	was, is := findings(img), findings(after)
	if was != is {
		t.Fatalf("e2fsck on the pristine image:\n%s\non the edited one:\n%s", was, is)
	}
	return after
}

// walk lists every directory reachable from the root of a target, local ones included.
func walk(t *testing.T, fs *ext4.FS, dir uint32, all map[uint32]map[string]Name) {
	if all[dir] != nil {
		return
	}
	all[dir] = list(t, fs, dir)
	for name, n := range all[dir] {
		if n.Type == ext4.TypeDir && name != "." && name != ".." {
			walk(t, fs, n.Inode, all)
		}
	}
}

// On the real pair: names with FIDs come and go in every directory, attributes grow out of their inode and back, agents and OI entries
// are made and removed; nothing else changes, e2fsck says what it said before, and the old blocks give the old image.
func TestRealPair(t *testing.T) {
	for _, name := range []string{"lustre-2.10.0-dne2/mdt0000.img", "lustre-2.10.0-dne2/mdt0001.img", "lustre-2.7.22-pending-orphan/mdt0000.img"} {
		t.Run(strings.ReplaceAll(name, "/", "-"), func(t *testing.T) {
			img := realImage(t, name)
			e := openEdit(t, img)
			want := map[uint32]map[string]Name{}
			walk(t, e.View(), ext4.InoRoot, want)
			target := realObject(t, e, want)
			links := 1
			for dir := range want {
				for i := range 12 {
					n := Name{[]byte(fmt.Sprintf("%s-new-%d", strings.Repeat("n", 20*i), i)), target, ext4.TypeRegular, ext4.DirdataLUFID, ext4.LUFIDRecord(fid(i))}
					at, err := e.InsertName(dir, n)
					if err != nil {
						t.Fatal(err)
					}
					want[dir][string(n.Name)] = n
					links++
					if i%3 == 0 { // and away again
						if err := e.RemoveName(dir, n.Name, at); err != nil {
							t.Fatal(err)
						}
						delete(want[dir], string(n.Name))
						links--
					}
				}
			}
			if err := e.SetLinks(target, uint16(links)); err != nil {
				t.Fatal(err)
			}
			for name, n := range want[ext4.InoRoot] {
				in, err := e.View().Inode(n.Inode)
				if err != nil || n.Inode < e.sb.FirstIno || name == "." || name == ".." {
					continue
				}
				realXattrs(t, e, in)
			}
			realAgent(t, e, want)
			realOI(t, e, want)
			got := map[uint32]map[string]Name{}
			walk(t, fresh(t, e), ext4.InoRoot, got)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Error("names are not what they should be")
			}
			if r, err := e.Recount(t.Context(), nil); err != nil || len(r.Quota) == 0 || r.Kept != "" || recountSize(r) != len(r.Quota) {
				t.Errorf("after edits a count finds %+v, %v: only quota should differ", r, err)
			}
			undo(t, e, img, realFsck(t, e, img))
		})
	}
}

// realObject makes the file that all new names are for, and says so in its LMA.
func realObject(t *testing.T, e *Edit, want map[uint32]map[string]Name) uint32 {
	t.Helper()
	target, err := e.AllocInode(NewInode{Mode: ext4.ModeRegular | 0o644})
	if err != nil {
		t.Fatal(err)
	}
	n := Name{[]byte("object"), target, ext4.TypeRegular, 0, nil}
	if _, err := e.InsertName(ext4.InoRoot, n); err != nil {
		t.Fatal(err)
	}
	want[ext4.InoRoot]["object"] = n
	return target
}

// realXattrs makes an attribute outgrow its inode, and puts all back as it was.
func realXattrs(t *testing.T, e *Edit, in *ext4.Inode) {
	t.Helper()
	was, ok, err := e.View().Xattr(in, ext4.XattrIndexTrusted, "link")
	if err != nil {
		t.Fatal(err)
	}
	long := bytes.Repeat([]byte("link"), 500)
	if err := e.SetXattr(in.Number, ext4.XattrIndexTrusted, "link", long); err != nil {
		t.Fatal(err)
	}
	now, err := e.View().Inode(in.Number)
	if err != nil || now.FileACL == 0 {
		t.Fatalf("the attribute is not in a block, %v", err)
	}
	if got, _, err := e.View().Xattr(now, ext4.XattrIndexTrusted, "link"); err != nil || !bytes.Equal(got, long) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if !ok {
		was = nil
		err = e.RemoveXattr(in.Number, ext4.XattrIndexTrusted, "link")
	} else {
		err = e.SetXattr(in.Number, ext4.XattrIndexTrusted, "link", was)
	}
	if err != nil {
		t.Fatal(err)
	}
	if now, err = e.View().Inode(in.Number); err != nil || now.FileACL != in.FileACL {
		t.Fatalf("attribute block %d, was %d, %v", now.FileACL, in.FileACL, err)
	}
}

// realAgent makes an agent for a remote directory, frees it, and makes another that stays.
func realAgent(t *testing.T, e *Edit, want map[uint32]map[string]Name) {
	t.Helper()
	f := fid(99)
	for i := range 2 {
		ino, err := e.MakeDir(NewInode{Mode: 0o755}, ext4.InoRoot, &f)
		if err != nil {
			t.Fatal(err)
		}
		lma := lustre.LMA{Incompat: lustre.LMAIAgent, FID: lustre.BigFID(f[:])}
		if err := e.SetXattr(ino, ext4.XattrIndexTrusted, "lma", lma.Encode()); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			e.made[ino] = false // as if it had been there before
			if err := e.FreeInode(ino); err != nil {
				t.Fatal(err)
			}
			continue
		}
		n := Name{[]byte("remote"), ino, ext4.TypeDir, ext4.DirdataLUFID, ext4.LUFIDRecord(f)}
		if _, err := e.InsertName(ext4.InoRoot, n); err != nil {
			t.Fatal(err)
		}
		want[ext4.InoRoot]["remote"] = n
		want[ino] = list(t, e.View(), ino)
		root, err := e.View().Inode(ext4.InoRoot)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.SetLinks(ext4.InoRoot, root.Links+1); err != nil {
			t.Fatal(err)
		}
	}
}

// realOI finds the entries that a server wrote, replaces, removes and inserts some.
func realOI(t *testing.T, e *Edit, want map[uint32]map[string]Name) {
	t.Helper()
	files := map[int]uint32{}
	for name, n := range want[ext4.InoRoot] {
		if i, ok := lustre.ParseOIName(name); ok {
			files[i] = n.Inode
		}
	}
	found := 0
	for _, names := range want {
		for name, n := range names {
			in, err := e.View().Inode(n.Inode)
			value, ok := []byte(nil), false
			if err == nil && name != "." && name != ".." {
				value, ok = in.Xattr(ext4.XattrIndexTrusted, "lma")
			}
			if !ok {
				continue
			}
			lma, err := lustre.DecodeLMA(value)
			if err != nil || !lustre.InOI(lma.FID, lma.Compat) || lma.Incompat&lustre.LMAIAgent != 0 {
				continue
			}
			i, err := lustre.OIFile(lma.FID, len(files))
			if err != nil {
				t.Fatal(err)
			}
			x, err := e.OIFind(files[i], lma.FID)
			if err != nil || x.Ino != n.Inode || x.Generation != in.Generation {
				t.Fatalf("%q: %+v, %v", name, x, err)
			}
			found++
			again := e.OIInsert(files[i], x)
			if err := errors.Join(e.OIRemove(files[i], x.FID), e.OIInsert(files[i], lustre.OIEntry{FID: x.FID, Ino: 1})); err != nil || !errors.Is(again, ErrExists) {
				t.Fatal(err, again)
			}
			if err := e.OIReplace(files[i], x); err != nil {
				t.Fatal(err)
			}
		}
	}
	if found < 15 {
		t.Errorf("only %d objects have OI entries", found)
	}
	was := indexSize(t, e, files[0])
	for i := range 1000 {
		x := lustre.OIEntry{FID: lustre.FID{Seq: 0x200000400, OID: uint32(1000 + i)}, Ino: 12}
		if err := e.OIInsert(files[0], x); err != nil {
			t.Fatal(err)
		}
	}
	if indexSize(t, e, files[0]) == was {
		t.Error("no leaf was split")
	}
	if _, err := e.OIFind(files[0], lustre.FID{Seq: 0x200000400, OID: 1000}); err != nil {
		t.Error(err)
	}
}

// A target whose journal was not replayed is refused.
func TestRealDirtyJournal(t *testing.T) {
	_, err := Open(openFS(t, realImage(t, "lustre-2.7.22-pending-orphan/mdt0000-dirty-journal.img")), Options{AllowErrors: true})
	var r *ext4.Refusal
	if !errors.Is(err, ErrRefused) || !errors.As(err, &r) || r.Reason != ext4.ReasonRecovery {
		t.Errorf("%v", err)
	}
}
