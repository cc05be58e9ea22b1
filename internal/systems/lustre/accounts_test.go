package lustre

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/format/ext4"
)

// withQuota turns quota on in an image of the lab. tune2fs does not know dirdata, so that the feature is hidden from it.
func withQuota(t *testing.T, path string) {
	t.Helper()
	tool, err := exec.LookPath("tune2fs")
	if err != nil {
		t.Skip("tune2fs of e2fsprogs is not installed")
	}
	hide := func(on bool) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fs, err := ext4.New(f, 1<<40, path)
		if err != nil {
			t.Fatal(err)
		}
		raw := append([]byte(nil), fs.Super().Raw...)
		raw[ext4.SBFeatureIncompat+1] &^= ext4.IncompatDirdata >> 8
		if on {
			raw[ext4.SBFeatureIncompat+1] |= ext4.IncompatDirdata >> 8
		}
		fs.Sums().PutSuper(raw)
		if _, err := f.WriteAt(raw, ext4.SuperOffset); err != nil {
			t.Fatal(err)
		}
	}
	hide(false)
	if out, err := exec.Command(tool, "-O", "quota", path).CombinedOutput(); err != nil {
		t.Fatalf("tune2fs: %v %s", err, out)
	}
	hide(true)
}

// TestLabAccounts repairs file systems of the lab that keep quota: e2fsck has nothing to say afterwards, and an undo gives back identical
// images.
func TestLabAccounts(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes whole images")
	}
	classes := []string{"bad-nlink", "orphan-unknown", "orphan-object", "bad-name-hash", "agent-missing"}
	for name, form := range map[string]struct {
		make  func(testing.TB, string)
		quota bool
	}{
		"old form":            {injured(oldForm, classes...), false},
		"old form with quota": {injured(oldForm, classes...), true},
		"new form":            {injured(newForm, classes...), false},
		"new form with quota": {injured(newForm, classes...), true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			form.make(t, dir)
			paths, err := filepath.Glob(filepath.Join(dir, "mdt*.img"))
			if err != nil || len(paths) < 2 {
				t.Fatal(paths, err)
			}
			if form.quota {
				for _, p := range paths {
					withQuota(t, p)
				}
			}
			before := sums(t, paths)
			m := &mender{t: t, paths: paths, run: t.TempDir()}
			m.make()
			for _, u := range m.plan.Units {
				for _, n := range u.Notes {
					if strings.Contains(n, "e2fsck") {
						t.Errorf("note: %s", n)
					}
				}
			}
			m.apply()
			complaints(t, paths, make([][]string, len(paths)))
			if t.Failed() || testing.Verbose() {
				m.tell()
			}
			m.undo()
			if sums(t, paths) != before {
				t.Error("undo did not give back identical images")
			}
		})
	}
}

// TestClearedInodes clears inodes of the real images as debugfs clri does, and nothing else: bitmaps, counts, quota and the attributes
// behind the first 128 bytes stay. A second check is clean, and e2fsck says no more than about the undamaged images.
func TestClearedInodes(t *testing.T) {
	paths := pair(t)
	had := toldByE2fsck(t, paths)
	for _, c := range []struct {
		name   string
		mdt    int
		ino    uint32
		policy string
	}{
		{"file, name removed", 1, 150, "lustre/dangling-name=remove"},
		{"file, made anew", 1, 150, "lustre/dangling-name=recreate"},
		{"directory, name removed", 1, 26725, "lustre/dangling-name=remove"},
		{"directory, made anew", 1, 26725, "lustre/dangling-name=recreate"},
		{"agent", 0, 53382, "lustre/dangling-name=keep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			clean := sums(t, paths)
			f, err := os.OpenFile(paths[c.mdt], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			fs, err := ext4.Open(paths[c.mdt])
			if err != nil {
				t.Fatal(err)
			}
			at, err := fs.InodeOffset(c.ino)
			fs.Close()
			was := make([]byte, ext4.InodeGoodOldSize)
			if err == nil {
				_, err = f.ReadAt(was, at)
			}
			if err == nil {
				_, err = f.WriteAt(make([]byte, len(was)), at)
			}
			if err != nil {
				t.Fatal(err)
			}
			before := sums(t, paths)
			m := &mender{t: t, paths: paths, run: t.TempDir()}
			m.make(c.policy)
			m.apply()
			sound(t, paths, had)
			if t.Failed() {
				m.tell()
			}
			m.undo()
			if sums(t, paths) != before {
				t.Error("undo did not give back identical images")
			}
			if _, err := f.WriteAt(was, at); err != nil {
				t.Fatal(err)
			}
			if sums(t, paths) != clean {
				t.Fatal("the images are not what they were")
			}
		})
	}
}
