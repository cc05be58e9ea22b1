package devmapper

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"fettle/internal/finding"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
)

// real is the directory of real sets; the test is skipped when they are not at hand.
func real(t testing.TB) string {
	t.Helper()
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Skip("FETTLE_FIXTURES is not set: real sets are not at hand")
	}
	return filepath.Join(root, "devmapper")
}

// unpackInto decompresses every file of dir into to, over what is there.
func unpackInto(t testing.TB, dir, to string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.zst"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for _, n := range names {
		in, err := os.Open(n)
		if err != nil {
			t.Fatal(err)
		}
		z, err := zstd.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(z)
		z.Close()
		in.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, strings.TrimSuffix(filepath.Base(n), ".zst")), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// layOut makes the set of a variant: a base with the changed files laid over it.
func layOut(t testing.TB, root, variant string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "set")
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(variant, "damage/") {
		unpackInto(t, filepath.Join(root, "base", "n10"), to)
	}
	unpackInto(t, filepath.Join(root, variant), to)
	return to
}

func openSet(t testing.TB, dir string, settings ...string) *unit {
	t.Helper()
	set := map[string]string{}
	for i := 0; i+1 < len(settings); i += 2 {
		set[settings[i]] = settings[i+1]
	}
	s, err := System{}.Open(t.Context(), store.Location{System: "devmapper", Paths: []string{dir}}, store.Options{Settings: set})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Units()[0].(*unit)
}

// brief is a finding in one line: class without prefix, subject, "<" if it follows from another.
func brief(f *finding.Finding) string {
	s := strings.TrimPrefix(f.Class, "devmapper/") + " " + f.Subject
	if f.CausedBy != nil {
		s += " <"
	}
	return s
}

func checkSet(t testing.TB, dir string) []string {
	t.Helper()
	out := []string{}
	for _, f := range storetest.Check(t, openSet(t, dir), Classes...) {
		out = append(out, brief(&f))
	}
	return out
}

// truth is what a variant says of itself. Damaged sets list objects with class and name, states of a crash list texts.
type truth struct {
	Expected []json.RawMessage `json:"expected_findings"`
	All      []string          `json:"cross_check_all_findings"`
	After    *struct {
		Expected []json.RawMessage `json:"expected_findings"`
	} `json:"after_restart"`
}

func readTruth(t testing.TB, path string) truth {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var tr truth
	if err := json.Unmarshal(b, &tr); err != nil {
		t.Fatal(err)
	}
	return tr
}

// classesOf are the classes that a truth expects, in the words of this package.
func classesOf(t testing.TB, raw []json.RawMessage) []string {
	var out []string
	for _, r := range raw {
		var o struct {
			Class string `json:"class"`
		}
		var s string
		if json.Unmarshal(r, &s) == nil {
			o.Class, _, _ = strings.Cut(s, " ")
		} else if err := json.Unmarshal(r, &o); err != nil {
			t.Fatal(err)
		}
		c, ok := Classes.Lookup("devmapper/" + strings.ReplaceAll(o.Class, "_", "-"))
		if !ok {
			t.Fatalf("truth has class %q, which is not known here", o.Class)
		}
		out = append(out, strings.TrimPrefix(c.ID, "devmapper/"))
	}
	slices.Sort(out)
	return out
}

// rootsAndMore splits findings into all their classes and those of findings that follow from nothing.
func rootsAndMore(found []string) (all, roots []string) {
	for _, f := range found {
		c, _, _ := strings.Cut(f, " ")
		all = append(all, c)
		if !strings.HasSuffix(f, "<") {
			roots = append(roots, c)
		}
	}
	slices.Sort(all)
	return all, roots
}

// TestRealSets compares a check of every set with its truth: each expected finding is there, and whatever else is there follows from one.
func TestRealSets(t *testing.T) {
	root := real(t)
	for _, pattern := range []string{"damage/*", "real/*", "real/*/after-restart", "base/n10", "base/n1000"} {
		dirs, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(dirs) == 0 {
			t.Fatalf("%s: no sets: %v", pattern, err)
		}
		for _, dir := range dirs {
			variant, _ := filepath.Rel(root, dir)
			t.Run(variant, func(t *testing.T) {
				t.Parallel()
				var want []string
				if after, ok := strings.CutSuffix(dir, "/after-restart"); ok {
					want = classesOf(t, readTruth(t, filepath.Join(after, "truth.json")).After.Expected)
				} else {
					want = classesOf(t, readTruth(t, filepath.Join(dir, "truth.json")).Expected)
				}
				found := checkSet(t, layOut(t, root, variant))
				all, roots := rootsAndMore(found)
				rest := slices.Clone(all)
				for _, c := range want {
					i := slices.Index(rest, c)
					if i < 0 {
						t.Errorf("%s is missing; found %q", c, found)
						continue
					}
					rest = slices.Delete(rest, i, i+1)
				}
				for _, c := range roots {
					if !slices.Contains(want, c) {
						t.Errorf("%s is too much; found %q", c, found)
					}
				}
			})
		}
	}
}

// TestRealSetXML checks a set whose pool is known from XML.
func TestRealSetXML(t *testing.T) {
	dir := layOut(t, real(t), "base/n1000")
	if err := os.Remove(filepath.Join(dir, "thin.meta")); err != nil {
		t.Fatal(err)
	}
	if found := checkSet(t, dir); len(found) != 0 {
		t.Errorf("found %q", found)
	}
}
