package ext4edit

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// debugfs compares names and attributes of an image without dirdata with what debugfs says about them.
func (m *model) debugfs(t *testing.T, plain string) {
	t.Helper()
	dirs, inodes, cmds := slices.Sorted(maps.Keys(m.names)), slices.Sorted(maps.Keys(m.attrs)), ""
	for _, dir := range dirs {
		cmds += fmt.Sprintf("ls -p <%d>\n", dir)
	}
	for _, ino := range inodes {
		cmds += fmt.Sprintf("ea_list <%d>\n", ino)
	}
	file := filepath.Join(t.TempDir(), "cmds")
	if err := os.WriteFile(file, []byte(cmds), 0o644); err != nil {
		t.Fatal(err)
	}
	_, out := run(t, "debugfs", "-f", file, plain)
	answers := strings.Split(out, "debugfs: ")[1:]
	if len(answers) != len(dirs)+len(inodes) {
		t.Fatalf("debugfs answered %d of %d", len(answers), len(dirs)+len(inodes))
	}
	for i, dir := range dirs {
		var got, want []string
		for line := range strings.Lines(answers[i]) {
			if f := strings.Split(line, "/"); len(f) >= 6 && f[1] != "0" {
				got = append(got, f[1]+" "+f[5])
			}
		}
		for name, n := range m.names[dir] {
			want = append(want, fmt.Sprintf("%d %s", n.Inode, name))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("directory %d: debugfs lists %.300q, not %.300q", dir, got, want)
		}
	}
	for i, ino := range inodes {
		for key, value := range m.attrs[ino] {
			_, name, _ := strings.Cut(key, ".")
			if !strings.Contains(answers[len(dirs)+i], fmt.Sprintf("  trusted.%s (%d)", name, len(value))) {
				t.Fatalf("inode %d: debugfs does not list %s of %d bytes:\n%.500s", ino, name, len(value), answers[len(dirs)+i])
			}
		}
	}
}
