package lustre

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/format/ext4"
	"fettle/internal/lab"
	"fettle/internal/systems/lustre/lustrelab"
)

// discards is the policy that destroys what no name leads to.
var discards = []string{"lustre/orphan-object=discard", "lustre/multiple-referenced-name=discard"}

// mended repairs images: a second check finds nothing, e2fsck has no new complaint, undo gives back identical images.
func mended(t *testing.T, paths []string, had [][]string, policy ...string) (*mender, []finding.Finding) {
	t.Helper()
	before := bytesOf(t, paths)
	m := &mender{t: t, paths: paths, run: t.TempDir()}
	found := m.make(policy...)
	if bytesOf(t, paths) != before {
		t.Fatal("planning changed the images")
	}
	m.apply()
	sound(t, paths, had)
	if t.Failed() {
		m.tell()
	}
	m.undo()
	if bytesOf(t, paths) != before {
		t.Error("undo did not give back identical images")
	}
	return m, found
}

// result gives what became of the findings of a class, by subject.
func (m *mender) results(found []finding.Finding, class string) map[string]string {
	out := map[string]string{}
	for _, f := range found {
		for _, u := range m.plan.Units {
			for _, o := range u.Outcomes {
				if o.Seq == f.Seq && f.Class == class {
					out[f.Subject] = o.Result
				}
			}
		}
	}
	return out
}

// What is asked for is done: objects without names are destroyed, and counted as lost; it is said how many objects they leave on the OSTs.
func TestDestroyOrphans(t *testing.T) {
	for _, o := range []lustrelab.Options{oldForm, newForm} {
		o.Dirs, o.Remote, o.HardLinks = 12, 500, 20
		dir := filepath.Join(t.TempDir(), "fs")
		injured(o)(t, dir)
		paths, err := lustrelab.Targets(dir)
		if err != nil {
			t.Fatal(err)
		}
		had := toldByE2fsck(t, paths)
		injuries := []string{"orphan-object", "orphan-unknown", "multiple-referenced-name"}
		var all []lab.Injury
		for _, r := range injuries {
			all = append(all, lab.Injury{Class: "lustre/" + r, Count: 2})
		}
		if _, err := lustrelab.Damage(t.Context(), dir, 5, all); err != nil {
			t.Fatal(err)
		}
		m, found := mended(t, paths, had, discards...)
		destroyed, leaks := 0, 0
		for _, class := range []string{Orphan, MultipleReferenced} {
			for _, text := range m.results(found, class) {
				switch {
				case strings.HasPrefix(text, "object destroyed"):
					destroyed++
				default:
					t.Errorf("%s: %s", class, text)
				}
				if strings.Contains(text, "leak") {
					leaks++
				}
			}
		}
		if loss := m.plan.Units[0].Loss.Dropped; destroyed < 3 || loss != int64(destroyed) || leaks == 0 {
			t.Errorf("%d destroyed, %d of them with OST objects, loss %d", destroyed, leaks, loss)
		}
	}
}

// On the real pair: files without names go, also one whose name was on the other MDT, and one that is in PENDING or has a block of somebody
// else does not.
func TestDestroyReal(t *testing.T) {
	paths := pair(t)
	had := toldByE2fsck(t, paths)
	t.Run("destroyed", func(t *testing.T) {
		defer operate(t, paths, func(s *surgery) {
			s.name(s.at(initDir), "functions", nil)
			s.name(s.at(initDir), "README", nil)
		})()
		m, found := mended(t, paths, had, discards...)
		for fid, text := range m.results(found, Orphan) {
			if !strings.HasPrefix(text, "object destroyed; its") || !strings.Contains(text, "OST") {
				t.Errorf("%s: %s", fid, text)
			}
		}
		if m.plan.Units[0].Loss.Dropped != 2 {
			t.Errorf("loss %+v", m.plan.Units[0].Loss)
		}
	})
	t.Run("directory", func(t *testing.T) {
		defer operate(t, paths, func(s *surgery) {
			dir := s.at(rc4)
			var names []string
			in, err := s.mdts.Inode(dir.mdt, dir.ino)
			s.must(err)
			s.must(s.mdts.Edit(dir.mdt).View().Dir(in, func(d ext4.Dirent) bool { names = append(names, string(d.Name)); return true }, nil))
			for _, n := range names {
				if n != "." && n != ".." {
					s.name(dir, n, nil)
				}
			}
			s.name(s.at(remoteDir), "rc4.d", nil)
		})()
		before := len(checkPaths(t, nil, paths...))
		m, found := mended(t, paths, had, discards...)
		text, others := m.results(found, Orphan)[rc4], len(m.results(found, Orphan))-1
		if text != "object destroyed" || others < 1 || before <= others {
			t.Errorf("%s; %d others", text, others)
		}
	})
	t.Run("directory with names", func(t *testing.T) {
		defer operate(t, paths, func(s *surgery) { s.name(s.at(remoteDir), "rc4.d", nil) })()
		m := &mender{t: t, paths: paths, run: t.TempDir()}
		found := m.make(discards...)
		if text := m.results(found, Orphan)[rc4]; !strings.HasPrefix(text, "left: the directory is not empty") {
			t.Error(text)
		}
	})
	t.Run("shared blocks", func(t *testing.T) {
		var at, other place
		defer operate(t, paths, func(s *surgery) {
			at, other = s.at(functions), s.at(initDir)
			s.name(s.at(initDir), "functions", nil)
		})()
		block := inodeField(t, paths[1], other.ino)
		defer patchInode(t, paths[1], at.ino, ext4.InodeBlock, block[:4])()
		m := &mender{t: t, paths: paths, run: t.TempDir()}
		found := m.make(discards...)
		if text := m.results(found, Orphan)[functions]; !strings.HasPrefix(text, "left: ") || !strings.Contains(text, "as well") {
			t.Error(text)
		}
	})
}

// An inode that is whole and only marked as free comes back: a file, and a remote directory with all that is in it.
func TestRestoreMarked(t *testing.T) {
	paths := pair(t)
	had := toldByE2fsck(t, paths)
	for _, fid := range []string{functions, remoteDir, rc4, shard1} {
		t.Run(fid, func(t *testing.T) {
			var at place
			operate(t, paths, func(s *surgery) { at = s.at(fid) })
			defer clearMark(t, paths[at.mdt], at.ino)()
			m, found := mended(t, paths, had)
			i := slices.IndexFunc(found, func(f finding.Finding) bool { return f.Class == DanglingName && f.Subject == fid })
			if i < 0 || found[i].Suggested != finding.Restore {
				t.Fatalf("%+v", found)
			}
			if text := m.results(found, DanglingName)[fid]; !strings.Contains(text, "in use again") {
				t.Error(text)
			}
			if len(m.plan.Units) != 1 || m.plan.Units[0].Loss.Dropped != 0 {
				t.Error("something is lost")
			}
		})
	}
	t.Run("blocks of another", func(t *testing.T) {
		var at, other place
		operate(t, paths, func(s *surgery) { at, other = s.at(rc4), s.at(initDir) })
		defer clearMark(t, paths[at.mdt], at.ino)()
		defer patchInode(t, paths[other.mdt], other.ino, ext4.InodeBlock+4, inodeField(t, paths[at.mdt], at.ino)[:4])()
		m := &mender{t: t, paths: paths, run: t.TempDir()}
		found := m.make()
		if text := m.results(found, DanglingName)[rc4]; !strings.HasPrefix(text, "left: ") || !strings.Contains(text, "as well") {
			t.Error(text)
		}
	})
}

// inodeField is the block field of an inode.
func inodeField(t *testing.T, path string, ino uint32) []byte {
	t.Helper()
	fs, err := ext4.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	in, err := fs.Inode(ino)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(in.BlockField())
}

// patchInode writes bytes of an inode of a file system without checksums of inodes, and gives what takes them back.
func patchInode(t testing.TB, path string, ino uint32, off int64, now []byte) func() {
	t.Helper()
	fs, err := ext4.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	at, err := fs.InodeOffset(ino)
	if err != nil {
		t.Fatal(err)
	}
	return patchFile(t, path, at+off, now)
}

// clearMark clears the mark of an inode in the bitmap of a file system without checksums of bitmaps, as debugfs freei does.
func clearMark(t testing.TB, path string, ino uint32) func() {
	t.Helper()
	fs, err := ext4.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	per := fs.Super().InodesPerGroup
	d, err := fs.Group((ino - 1) / per)
	if err != nil {
		t.Fatal(err)
	}
	bit := int64((ino - 1) % per)
	at := int64(d.InodeBitmap)*int64(fs.Super().BlockSize) + bit/8
	was := make([]byte, 1)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(was, at); err != nil {
		t.Fatal(err)
	}
	return patchFile(t, path, at, []byte{was[0] &^ (1 << (bit % 8))})
}

func patchFile(t testing.TB, path string, at int64, now []byte) (back func()) {
	t.Helper()
	was := make([]byte, len(now))
	put := func(b []byte, read bool) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if read {
			_, err = f.ReadAt(was, at)
		}
		if err == nil {
			_, err = f.WriteAt(b, at)
		}
		if err2 := f.Close(); err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
	}
	put(now, true)
	return func() { put(was, false) }
}
