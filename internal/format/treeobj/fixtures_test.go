package treeobj

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"github.com/ncruces/go-sqlite3"
	"github.com/pierrec/lz4/v4"
)

// fixtureBlobs returns the content of every object of a fixture store.
func fixtureBlobs(tb testing.TB, name string) map[Ref][]byte {
	tb.Helper()
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		tb.Skip("FETTLE_FIXTURES is not set: real stores are not at hand")
	}
	f, err := os.Open(filepath.Join(root, "flux", "bases", name+".content.sqlite.zst"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	defer z.Close()
	path := filepath.Join(tb.TempDir(), "content.sqlite")
	out, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := io.Copy(out, z); err != nil {
		tb.Fatal(err)
	}
	if err := out.Close(); err != nil {
		tb.Fatal(err)
	}
	return readObjects(tb, path)
}

func readObjects(tb testing.TB, path string) map[Ref][]byte {
	db, err := sqlite3.Open("file:" + path + "?mode=ro&immutable=1")
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	st, _, err := db.Prepare("SELECT CAST(hash AS BLOB), size, object FROM objects")
	if err != nil {
		tb.Fatal(err)
	}
	defer st.Close()
	blobs := map[Ref][]byte{}
	for st.Step() {
		ref, err := RefFromHash(st.ColumnRawBlob(0))
		if err != nil {
			tb.Fatal(err)
		}
		content := bytes.Clone(st.ColumnRawBlob(2))
		if size := st.ColumnInt(1); size >= 0 {
			dst := make([]byte, size)
			if _, err := lz4.UncompressBlock(content, dst); err != nil {
				tb.Fatal(err)
			}
			content = dst
		}
		blobs[ref] = content
	}
	if err := st.Err(); err != nil {
		tb.Fatal(err)
	}
	return blobs
}

var dirPrefix = []byte(`{"data":{`)

// TestFixturesRoundTrip reads every directory blob of the real stores and
// writes it again, byte for byte the same.
func TestFixturesRoundTrip(t *testing.T) {
	for _, name := range []string{"base-small", "base-medium", "base-sha256"} {
		var s Scanner
		dirs, entries := 0, 0
		odd := map[rune]int{}
		for ref, b := range fixtureBlobs(t, name) {
			if got := Hash(ref.Alg(), b); got != ref {
				t.Fatalf("%s: content hashes to %s", ref, got)
			}
			tree := s.ParseDir(b)
			if !bytes.HasPrefix(b, dirPrefix) || !bytes.HasSuffix(b, []byte(`"type":"dir","ver":1}`)) {
				if tree.Decodable() {
					t.Errorf("%s: %q decodes as a directory", ref, b[:min(40, len(b))])
				}
				continue
			}
			if !tree.Decodable() || tree.Tolerated > 0 {
				t.Fatalf("%s: %v", ref, firstRejected(tree))
			}
			d, err := NewDir(tree)
			if err != nil {
				t.Fatal(err)
			}
			if out := d.Marshal(); !bytes.Equal(out, b) {
				t.Fatalf("%s is written differently:\n%s\n%s", ref, b, out)
			}
			dirs++
			entries += len(tree.Entries)
			countOdd(tree, odd)
		}
		if dirs == 0 {
			t.Errorf("%s: no directories", name)
		}
		t.Logf("%s: %d directories, %d entries, characters of names outside [A-Za-z0-9_-]: %v", name, dirs, entries, runeNames(odd))
	}
}

func countOdd(tree *Tree, odd map[rune]int) {
	for i := range tree.Entries {
		for n := tree.Entries[i].Name; len(n) > 0; {
			r, size := utf8.DecodeRune(n)
			n = n[size:]
			if r > 127 || !(unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '-') {
				odd[r]++
			}
		}
	}
}

func runeNames(m map[rune]int) map[string]int {
	out := map[string]int{}
	for r, n := range m {
		out[string(r)] = n
	}
	return out
}

func BenchmarkParseDirFixture(b *testing.B) {
	var dirs [][]byte
	size, entries := 0, 0
	var s Scanner
	for _, c := range fixtureBlobs(b, "base-medium") {
		if bytes.HasPrefix(c, dirPrefix) {
			dirs = append(dirs, c)
			size += len(c)
			entries += len(s.ParseDir(c).Entries)
		}
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for _, d := range dirs {
			if !s.ParseDir(d).Decodable() {
				b.Fatal("not decodable")
			}
		}
	}
	b.ReportMetric(float64(entries), "entries/op")
}
