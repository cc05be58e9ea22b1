package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// quoted matches a name in the first column of the table of rooms.
var quoted = regexp.MustCompile("`([^`]+)`")

// The table of rooms in ARCHITECTURE.md lists every package, and no other. A name there may leave out the folders that its row has already.
func TestRooms(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(raw), "| room | job |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var names []string
	for _, p := range packages(t) {
		names = append(names, p.name)
	}
	listed := map[string]bool{}
	for _, row := range strings.Split(table, "\n") {
		cells := strings.Split(row, "|")
		if len(cells) < 3 {
			t.Fatalf("no row of the table: %q", row)
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			name := m[1]
			if strings.HasSuffix(name, "/*") || strings.HasPrefix(name, "bench/") { // a heading; and what is no part of the program
				continue
			}
			i := slices.IndexFunc(names, func(n string) bool { return n == name || strings.HasSuffix(n, "/"+name) })
			if i < 0 {
				t.Errorf("ARCHITECTURE.md lists the room %s, and there is none", name)
				continue
			}
			listed[names[i]] = true
		}
	}
	for _, n := range names {
		if !listed[n] {
			t.Errorf("the table of rooms in ARCHITECTURE.md lacks %s", n)
		}
	}
}
