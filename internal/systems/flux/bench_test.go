package flux

import (
	"context"
	"os"
	"testing"
)

// BenchmarkPasses runs the passes of a check over the store named by FETTLE_BENCH_STORE (fettle lab make flux makes one).
// Bytes are those of the file.
func BenchmarkPasses(b *testing.B) {
	path := os.Getenv("FETTLE_BENCH_STORE")
	if path == "" {
		b.Skip("FETTLE_BENCH_STORE is not set: name a store made by fettle lab make flux")
	}
	for b.Loop() {
		u, err := openUnit(path, options{})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(u.file.Size())
		if err := u.analyse(context.Background(), b.TempDir(), 2); err != nil {
			b.Fatal(err)
		}
		u.file.Close()
	}
}
