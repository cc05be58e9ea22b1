package boltedit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// BuildOptions says how Build makes a file.
type BuildOptions struct {
	// PageSize is a power of two from 1024 to 65536, in bytes; 0 is the machine's.
	PageSize int
	// NoFreelistSync leaves the list of free pages out of the file, as containerd's
	// meta.db has it.
	NoFreelistSync bool
	// Mode is that of the finished file; 0 is 0600.
	Mode os.FileMode
}

// Build creates a new database at path (which must not exist), lets every fill
// put something into it, each in a transaction of its own, and makes the file
// and its directory entry durable. After any error the file is removed. A fill
// must not commit its transaction or roll it back. Memory follows the largest
// transaction. Both meta pages of the file describe its full content.
func Build(ctx context.Context, path string, o BuildOptions, fill ...func(*bbolt.Tx) error) (err error) {
	if o.PageSize == 0 {
		o.PageSize = min(os.Getpagesize(), maxPageSize)
	}
	if o.PageSize < minPageSize || o.PageSize > maxPageSize || o.PageSize&(o.PageSize-1) != 0 {
		return fmt.Errorf("build database %s: page size %d is not a power of two from %d to %d", path, o.PageSize, minPageSize, maxPageSize)
	}
	if o.Mode == 0 {
		o.Mode = 0o600
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
	if err := fillFile(ctx, path, o, fill); err != nil {
		return err
	}
	return finish(ctx, f, path, o)
}

func fillFile(ctx context.Context, path string, o BuildOptions, fill []func(*bbolt.Tx) error) error {
	db, err := open(path, &bbolt.Options{NoFreelistSync: o.NoFreelistSync, PageSize: o.PageSize})
	if err != nil {
		return err
	}
	// The last transaction is empty: without it the older meta page would lead to what was there before the last fill, and
	// that is what bbolt would silently open if the newer one were ever damaged.
	for _, fn := range append(fill[:len(fill):len(fill)], func(*bbolt.Tx) error { return nil }) {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, db.Close())
		}
		if err := update(db, fn); err != nil {
			return err
		}
	}
	return db.Close()
}

// finish checks the new file and makes it durable.
func finish(ctx context.Context, f *os.File, path string, o BuildOptions) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	if named, err := os.Lstat(path); err != nil {
		return err
	} else if !os.SameFile(mine, named) {
		return errors.New("the file was replaced by another one while it was written")
	}
	m, err := readMetas(f)
	if err != nil {
		return err
	}
	if _, err := requireSound(ctx, f, mine.Size(), m.current); err != nil {
		return err
	}
	if err := f.Chmod(o.Mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
