package fluxlab

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TestMakeLarge measures: FETTLE_LAB_OBJECTS=1000000 go test -run MakeLarge -v
func TestMakeLarge(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("FETTLE_LAB_OBJECTS"))
	if err != nil {
		t.Skip("FETTLE_LAB_OBJECTS is not set")
	}
	start := time.Now()
	path := filepath.Join(t.TempDir(), "content.sqlite")
	made, err := Make(context.Background(), path, Options{Seed: 1, Objects: n})
	if err != nil {
		t.Fatal(err)
	}
	fi, _ := os.Stat(path)
	t.Logf("%+v in %v, %d MB", made, time.Since(start), fi.Size()>>20)
}
