package ext4

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMountsOf(t *testing.T) {
	root := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	img := put("img", "x")
	put("sys/block/loop3/loop/backing_file", img+"\n")
	put("sys/block/loop3/dev", "7:3\n")
	put("sys/block/loop4/loop/backing_file", filepath.Join(root, "gone")+"\n")
	put("sys/block/loop4/dev", "7:4\n")
	put("proc/self/mountinfo", strings.Join([]string{
		`36 35 7:3 / /mnt/a\040b rw,noatime shared:1 - ext4 /dev/loop3 rw,errors=continue`,
		`37 35 7:3 / /mnt/c ro,noatime - ext4 /dev/loop3 rw`,
		`38 35 7:4 / /mnt/d rw - ext4 /dev/loop4 rw`,
		`39 35 7:3 / /mnt/e rw - ext4 /dev/loop3 ro`, "short"}, "\n"))
	got, err := mountsOf(img, filepath.Join(root, "proc"), filepath.Join(root, "sys"))
	want := []mount{{"/mnt/a b", false}, {"/mnt/c", false}, {"/mnt/e", true}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if got, err := mountsOf(put("other", ""), filepath.Join(root, "proc"), filepath.Join(root, "sys")); err != nil || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := mountsOf(img, filepath.Join(root, "none"), filepath.Join(root, "none")); err != nil || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
}
