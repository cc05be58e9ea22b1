package sqliteedit

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestBuild(t *testing.T) {
	for _, pageSize := range []int{512, 4096, 65536} {
		for _, wal := range []bool{false, true} {
			t.Run(fmt.Sprintf("page%d/wal=%v", pageSize, wal), func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "new ?db%20#x") // not to be read as a URI
				makeStore(t, path, pageSize, 500, wal)
				if names := listDir(t, dir); len(names) != 1 {
					t.Errorf("files: %v", names)
				}
				data, err := os.ReadFile(path)
				must(t, err)
				version := byte(versionLegacy)
				if wal {
					version = versionWAL
				}
				if !bytes.Equal(data[18:20], []byte{version, version}) {
					t.Errorf("version bytes %v", data[18:20])
				}
				if size := int(binary.BigEndian.Uint16(data[16:])); size != pageSize%maxPageSize+pageSize/maxPageSize {
					t.Errorf("page size field %d", size)
				}
				if got := checkWithSQLite(t, path, "SELECT count(*), count(DISTINCT hash), typeof(max(hash)) FROM objects"); got != "500,500,text" {
					t.Errorf("got %s", got)
				}
			})
		}
	}
}

func TestBuildFailureLeavesNothing(t *testing.T) {
	mine := errors.New("mine")
	for name, fn := range map[string]func(*DB) error{
		"own error": func(db *DB) error { return errors.Join(db.Exec(schema), mine) },
		"swallowed error": func(db *DB) error {
			_ = db.Exec(schema)
			_ = db.Exec("INSERT INTO objects(hash) VALUES('a'),('b'),('a')")
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			err := Build(context.Background(), filepath.Join(dir, "new"), BuildOptions{PageSize: 4096, WAL: true}, fn)
			if err == nil {
				t.Fatal("no error")
			}
			if name == "own error" && !errors.Is(err, mine) {
				t.Errorf("got %v", err)
			}
			if names := listDir(t, dir); len(names) != 0 {
				t.Errorf("files left: %v", names)
			}
		})
	}
}

func TestBuildDoesNotOverwrite(t *testing.T) {
	for _, suffix := range []string{"", "-wal", "-journal", "-shm"} {
		t.Run("x"+suffix, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "x")
			must(t, os.WriteFile(path+suffix, []byte("precious"), 0o600))
			err := Build(context.Background(), path, BuildOptions{PageSize: 4096}, func(db *DB) error { return db.Exec(schema) })
			if !errors.Is(err, fs.ErrExist) {
				t.Errorf("got %v", err)
			}
			if names := listDir(t, dir); len(names) != 1 {
				t.Errorf("files: %v", names)
			}
			if b, _ := os.ReadFile(path + suffix); string(b) != "precious" {
				t.Error("the file was changed")
			}
		})
	}
}

// BenchmarkBuild inserts one row per operation: 20 byte TEXT key (a hash, so in
// random order), int, 400 byte blob, int.
func BenchmarkBuild(b *testing.B) {
	blob := make([]byte, 400)
	path := filepath.Join(b.TempDir(), "bench")
	err := Build(context.Background(), path, BuildOptions{PageSize: 4096, WAL: true}, func(db *DB) error {
		if err := db.Exec(schema); err != nil {
			return err
		}
		for i := range b.N {
			binary.BigEndian.PutUint64(blob, uint64(i))
			sum := sha1.Sum(blob[:8])
			if err := db.Exec("INSERT INTO objects VALUES(?,?,?,?)", string(sum[:]), 400, blob, 1); err != nil {
				return err
			}
		}
		return nil
	})
	must(b, err)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
