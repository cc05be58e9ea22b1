package boltfile

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// fixture unpacks a file of the devmapper fixtures into a temporary directory and returns its path.
func fixture(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("FETTLE_FIXTURES")
	if root == "" {
		t.Skip("FETTLE_FIXTURES is not set")
	}
	in, err := os.Open(filepath.Join(root, "devmapper", name+".zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	dec, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	path := filepath.Join(t.TempDir(), filepath.Base(name))
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, dec); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFixturesSound(t *testing.T) {
	for _, base := range []string{"base/n10/", "base/n1000/"} {
		for _, name := range []string{"meta.db", "metadata.db", "containerd-pool.db"} {
			t.Run(base+name, func(t *testing.T) {
				path := fixture(t, base+name)
				f := mustOpen(t, path)
				lines, err := flatten(t, f.Root())
				if err != nil {
					t.Error(err)
				}
				compareLines(t, lines, flattenBolt(t, path))
				mustCheckClean(t, f, lines)
			})
		}
	}
}

func kindsOf(ps []Problem) map[Kind]int {
	kinds := map[Kind]int{}
	for _, p := range ps {
		kinds[p.Kind]++
	}
	return kinds
}
