package fluxlab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ncruces/go-sqlite3"

	"fettle/internal/lab"
)

// fixtureTruth is the part of truth.json of a fixture that a walk from the newest checkpoint can be held against.
type fixtureTruth struct {
	Base   string `json:"base"`
	Direct []struct {
		Path  string `json:"path"`
		Kind  string `json:"kind"`
		Index int    `json:"index"`
	} `json:"newest_direct"`
	Hidden      json.RawMessage  `json:"newest_hidden_below_lost_dirs"`
	Valrefs     map[string][]int `json:"newest_visible_damaged_valrefs"`
	Dirrefs     []string         `json:"newest_visible_damaged_dirrefs"`
	HiddenPaths *int             `json:"newest_hidden_paths"`
	Errors      *int             `json:"expected_total_errors_flux_fsck"`
	Good        []any            `json:"fully_good_checkpoints"` // row ids, or the key of the legacy table
}

// TestFixtures holds the naive walker against what is known of real stores with described damage.
func TestFixtures(t *testing.T) {
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Skip("FETTLE_FIXTURES is not set: real stores are not at hand")
	}
	variants, err := filepath.Glob(filepath.Join(root, "flux", "variants", "*"))
	if err != nil || len(variants) == 0 {
		t.Fatalf("no variants: %v", err)
	}
	for _, dir := range variants {
		if _, err := os.Stat(filepath.Join(dir, "damage.sh")); err == nil {
			continue // damage of the file itself, which SQLite cannot read
		}
		if _, sql := unpack(t, filepath.Join(dir, "damage.sql")); !sql && !strings.Contains(dir, "healthy") {
			continue // copied while in use: SQL does not describe it
		}
		t.Run(filepath.Base(dir), func(t *testing.T) { fixture(t, filepath.Join(root, "flux"), dir) })
	}
}

func fixture(t *testing.T, root, dir string) {
	raw, ok := unpack(t, filepath.Join(dir, "truth.json"))
	if !ok {
		t.Fatal("it is not said what is true of it")
	}
	sql, _ := unpack(t, filepath.Join(dir, "damage.sql"))
	var want fixtureTruth
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	base, ok := unpack(t, filepath.Join(root, "bases", want.Base+".content.sqlite"))
	if !ok {
		t.Skipf("no base %q", want.Base)
	}
	path := filepath.Join(t.TempDir(), "content.sqlite")
	if err := os.WriteFile(path, base, 0o600); err != nil {
		t.Fatal(err)
	}
	before := walked(t, path)
	if err := operate(context.Background(), path, func(s *surgeon) error { return runScript(s.conn, string(sql)) }); err != nil {
		t.Fatal(err)
	}
	p, err := look(context.Background(), path, lost{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	got := &lab.Truth{Facts: map[string]string{}}
	err = p.expect(got, before.paths)
	if strings.Contains(dir, "2pow24") {
		if err != errTooManyPaths {
			t.Fatalf("a walk over 2^24 paths: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	compareFixture(t, &want, got)
}

// compareFixture brings both into one form: key, tab, bad indexes.
func compareFixture(t *testing.T, want *fixtureTruth, got *lab.Truth) {
	index := map[string][]int{}
	for _, d := range want.Direct {
		switch d.Kind {
		case "valref", "dirref", "root":
			index[d.Path] = append(index[d.Path], d.Index)
			slices.Sort(index[d.Path])
		default:
			index[d.Path] = nil
		}
	}
	for k, v := range want.Valrefs {
		index[k] = v
	}
	for _, k := range want.Dirrefs {
		index[k] = []int{0}
	}
	have := map[string][]int{}
	for _, e := range got.Expected {
		if e.Path == nil || e.Class == noCheckpoint {
			t.Logf("also: %s", e.Line())
			continue
		}
		have[*e.Path] = e.Index
	}
	if want.Direct == nil && want.Errors == nil {
		t.Logf("nothing to compare keys with: %v", have)
		return
	}
	for _, k := range slices.Sorted(maps.Keys(index)) {
		h, ok := have[k]
		if !ok {
			t.Errorf("%q is not found", k)
		} else if k != "" && index[k] != nil && h != nil && !slices.Equal(h, index[k]) {
			t.Errorf("%q: indexes %v, should be %v", k, h, index[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(have)) {
		if _, ok := index[k]; !ok {
			t.Errorf("%q is not damaged", k)
		}
	}
	if want.HiddenPaths != nil && *want.HiddenPaths != got.HiddenCount {
		t.Errorf("%d keys hidden, should be %d", got.HiddenCount, *want.HiddenPaths)
	}
	var hidden []string
	if json.Unmarshal(want.Hidden, &hidden) == nil && len(hidden) > 0 {
		slices.Sort(got.Hidden)
		slices.Sort(hidden)
		if !slices.Equal(got.Hidden, hidden) {
			t.Errorf("hidden: %d keys %.200q, should be %d: %.200q", len(got.Hidden), fmt.Sprint(got.Hidden), len(hidden), fmt.Sprint(hidden))
		}
	}
}

// walked is a walk of the newest checkpoint of a whole store.
func walked(t *testing.T, path string) *survey {
	t.Helper()
	p, err := look(context.Background(), path, lost{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	truth := &lab.Truth{Facts: map[string]string{}}
	root, err := p.start(truth)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.walk(root)
	if err != nil || len(s.bad) > 0 || len(truth.Expected) > 0 {
		t.Fatalf("a whole store has damage: %v %v %v", s.bad, truth.Expected, err)
	}
	return s
}

// runScript runs the SQL of a fixture, without its transaction commands: operate has one open.
func runScript(conn *sqlite3.Conn, sql string) error {
	var lines []string
	for _, l := range strings.Split(sql, "\n") {
		if w := strings.ToUpper(strings.TrimSpace(l)); w == "BEGIN;" || w == "COMMIT;" || w == "BEGIN TRANSACTION;" || strings.HasPrefix(w, ".") {
			continue
		}
		lines = append(lines, l)
	}
	return conn.Exec(strings.Join(lines, "\n"))
}

// unpack reads a file or its compressed form; ok is false when there is neither.
func unpack(t *testing.T, name string) (content []byte, ok bool) {
	t.Helper()
	if b, err := os.ReadFile(name); err == nil {
		return b, true
	}
	f, err := os.Open(name + ".zst")
	if err != nil {
		return nil, false
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b, true
}
