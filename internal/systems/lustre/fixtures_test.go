package lustre

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"fettle/internal/finding"
	"fettle/internal/store"
	"fettle/internal/store/storetest"
)

// fixtures is the directory of real images; the test is skipped without it.
func fixtures(t testing.TB) string {
	dir := os.Getenv("FETTLE_FIXTURES")
	if dir == "" {
		t.Skip("FETTLE_FIXTURES is not set")
	}
	return filepath.Join(dir, "lustre")
}

// unpack writes a compressed image to a file with holes where it is zero.
func unpack(t testing.TB, from, to string) string {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	buf, zero, at := make([]byte, 64<<10), make([]byte, 64<<10), int64(0)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 && string(buf[:n]) != string(zero[:n]) {
			if _, err := out.WriteAt(buf[:n], at); err != nil {
				t.Fatal(err)
			}
		}
		if at += int64(n); err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Truncate(at); err != nil {
		t.Fatal(err)
	}
	return to
}

// pair unpacks the two MDTs of the 2.10 set.
func pair(t testing.TB) []string {
	from, to := filepath.Join(fixtures(t), "lustre-2.10.0-dne2"), t.TempDir()
	return []string{unpack(t, filepath.Join(from, "mdt0000.img.zst"), filepath.Join(to, "mdt0.img")),
		unpack(t, filepath.Join(from, "mdt0001.img.zst"), filepath.Join(to, "mdt1.img"))}
}

// checkPaths checks images.
func checkPaths(t testing.TB, settings map[string]string, paths ...string) []finding.Finding {
	t.Helper()
	u := openPaths(t, settings, paths...)
	return storetest.Check(t, u, Classes...)
}

func openPaths(t testing.TB, settings map[string]string, paths ...string) store.Unit {
	t.Helper()
	st, err := System{}.Open(t.Context(), store.Location{Paths: paths}, store.Options{Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st.Units()[0]
}

func tell(t testing.TB, fs []finding.Finding) {
	for _, f := range fs {
		cause := ""
		if f.CausedBy != nil {
			cause = " <- " + string(rune('0'+*f.CausedBy%10))
		}
		t.Logf("%d%s %s %s %s: %s", f.Seq, cause, f.Class, f.Subject, f.PathOr("-"), f.Title)
		for _, e := range f.Evidence {
			t.Logf("      %s: %s", e.Witness, e.Says)
		}
	}
}

// damageCase is one case of damage.json.
type damageCase struct {
	ID    string
	Title string
	Truth []map[string]any
	Patch map[string][]struct {
		Offset   int64
		Old, New string
	}
}

func damageCases(t testing.TB) []damageCase {
	raw, err := os.ReadFile(filepath.Join(fixtures(t), "damage", "damage.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cs []damageCase
	if err := json.Unmarshal(raw, &cs); err != nil {
		t.Fatal(err)
	}
	return cs
}

// apply makes the damage, or takes it back. What is there before is checked.
func (c damageCase) apply(t testing.TB, paths []string, back bool) {
	t.Helper()
	for image, ps := range c.Patch {
		path := paths[0]
		if strings.Contains(image, "1") {
			path = paths[1]
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ps {
			was, now := p.Old, p.New
			if back {
				was, now = now, was
			}
			want, err1 := hex.DecodeString(was)
			put, err2 := hex.DecodeString(now)
			have := make([]byte, len(want))
			_, err3 := f.ReadAt(have, p.Offset)
			if err1 != nil || err2 != nil || err3 != nil || string(have) != string(want) {
				t.Fatalf("%s: patch of %s at %d does not fit: %v %v %v", c.ID, image, p.Offset, err1, err2, err3)
			}
			if _, err := f.WriteAt(put, p.Offset); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPristine(t *testing.T) {
	dir := fixtures(t)
	for what, paths := range map[string][]string{
		"2.10 pair": pair(t),
		"2.7.22":    {unpack(t, filepath.Join(dir, "lustre-2.7.22-pending-orphan", "mdt0000.img.zst"), filepath.Join(t.TempDir(), "mdt0.img"))},
	} {
		t.Run(what, func(t *testing.T) {
			if fs := checkPaths(t, nil, paths...); len(fs) > 0 {
				t.Errorf("%d findings", len(fs))
				tell(t, fs)
			}
		})
	}
}
