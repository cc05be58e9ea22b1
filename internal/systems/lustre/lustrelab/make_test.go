package lustrelab

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"fettle/internal/systems/lustre/mkldiskfs"
)

// shapes are the kinds of file systems that must come out right.
var shapes = map[string]Options{
	"one MDT":         {MDTs: 1, Files: 300, Seed: 1},
	"pair":            {Files: 2000, Seed: 2, BigDir: 1500, LostFound: true},
	"extents":         {Files: 2000, Seed: 3, BigDir: 1500, Extents: true, InodeSize: 1024},
	"csum":            {MDTs: 3, Files: 3000, Seed: 4, BigDir: 800, Extents: true, MetadataCsum: true, Bit64: true, Changing: true, Foreign: true},
	"overstriped":     {MDTs: 2, Files: 1000, Seed: 5, Shards: 5, Striped: 6, Linear: true},
	"four, shattered": {MDTs: 4, Files: 4000, Seed: 6, Remote: 500, HardLinks: 300, Fragment: true, Changing: true, LostFound: true, MetadataCsum: true, Foreign: true, Deleted: 200},
	"nothing special": {MDTs: 2, Files: 100, Seed: 7, Striped: -1, Remote: -1, HardLinks: -1, Pending: -1, Deleted: -1},
	"ea_inode":        {Files: 1500, Seed: 10, EAInode: true, Extents: true, MetadataCsum: true, InodeSize: 1024},
	"all remote":      {MDTs: 2, Files: 500, Dirs: 60, Seed: 8, Remote: 1000, Fanout: 3},
}

func make1(t *testing.T, o Options) Made {
	t.Helper()
	made, err := Make(t.Context(), filepath.Join(t.TempDir(), "lab"), o)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// e2fsck is the path of the tool, or the test is skipped.
func e2fsck(t *testing.T) string {
	t.Helper()
	for _, p := range []string{"/usr/sbin/e2fsck", "/sbin/e2fsck"} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	t.Skip("e2fsck is not installed")
	return ""
}

// e2fsck finds nothing in any image once the copy is plain ext4.
func TestE2fsck(t *testing.T) {
	tool := e2fsck(t)
	for name, o := range shapes {
		t.Run(name, func(t *testing.T) {
			for _, path := range make1(t, o).Paths {
				if err := mkldiskfs.Plain(t.Context(), path); err != nil {
					t.Fatal(err)
				}
				if out, err := exec.CommandContext(t.Context(), tool, "-fn", path).CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", path, err, out[:min(len(out), 2000)])
				}
			}
		})
	}
}
