package sqliteedit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// BuildOptions says how Build makes a file.
type BuildOptions struct {
	// PageSize is a power of two from 512 to 65536, in bytes.
	PageSize int
	// WAL makes the finished header say WAL mode (bytes 18 and 19 = 2), as if a
	// program had set PRAGMA journal_mode=WAL. No -wal or -shm file is left.
	WAL bool
	// Check runs an integrity check before the file is finished.
	Check bool
}

// Build creates a new database file at path (which must not exist), lets fn fill
// it inside one transaction, and makes the file and its directory entry durable.
// After any error the file is removed. fn must not use the DB after it returns.
//
// The file is written without a journal: it is worth nothing before Build has
// returned nil. Memory stays below about 200 MiB however many rows fn inserts.
// Rows that come in the order of their index keys are inserted fastest. A CREATE
// INDEX on a large table sorts in the system's temporary directory.
func Build(ctx context.Context, path string, opt BuildOptions, fn func(*DB) error) (err error) {
	if err := checkPageSize(opt.PageSize); err != nil {
		return err
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("build database: %w", err)
	}
	// A left-over journal would be played back into, or deleted for, the new file.
	for _, suffix := range []string{"-journal", "-wal", "-shm"} {
		if _, err := os.Lstat(path + suffix); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("build database %s: %s%s is in the way (%w); hint: choose another name", path, path, suffix, errors.Join(err, fs.ErrExist))
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("build database: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(fmt.Errorf("build database %s: %w", path, err), os.Remove(path))
		}
	}()
	if err := fill(ctx, path, opt, fn); err != nil {
		return err
	}
	return finish(f, path, opt)
}

// fill writes the content through SQLite.
func fill(ctx context.Context, path string, opt BuildOptions, fn func(*DB) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.Join(err, fmt.Errorf("start SQLite engine: %v; it needs 256 MiB of address space", r))
		}
	}()
	conn, err := sqlite3.OpenFlags(path, sqlite3.OPEN_READWRITE)
	if err != nil {
		return err
	}
	db, err := newDB(ctx, conn, []string{
		fmt.Sprintf("page_size=%d", opt.PageSize),
		"locking_mode=EXCLUSIVE",
		"journal_mode=OFF",
		"synchronous=OFF",
		"temp_store=FILE",
		"cache_size=-131072", // KiB
	})
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	defer func() { err = errors.Join(err, db.close()) }()
	if err := db.begin(); err != nil {
		return err
	}
	if err := fn(db); err != nil {
		return err
	}
	if opt.Check && db.failed == nil {
		if err := requireSound(db); err != nil {
			return err
		}
	}
	return db.commit()
}

func requireSound(db *DB) error {
	found, err := db.IntegrityCheck()
	if err != nil {
		return fmt.Errorf("integrity check: %w", err)
	}
	if len(found) > 0 {
		return fmt.Errorf("integrity check of the new database: %s", strings.Join(found, "; "))
	}
	return nil
}

// finish sets the header's mode and makes the file durable. SQLite is closed.
func finish(f *os.File, path string, opt BuildOptions) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(mine, named) {
		return errors.New("the file was replaced by another one while it was written")
	}
	if opt.WAL && mine.Size() > 0 {
		if _, err := f.WriteAt([]byte{versionWAL, versionWAL}, offWriteVersion); err != nil {
			return fmt.Errorf("set WAL mode in the header: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes directory entries durable. Windows cannot sync a directory.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
