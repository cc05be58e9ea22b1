package boltedit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"

	"go.etcd.io/bbolt"
)

// Update runs fn in one transaction on a file that nobody else knows of yet: one that Build made. It is durable when Update returns.
func Update(ctx context.Context, path string, fn func(*bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, fi, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("update %s: %w", path, err)
	}
	m, err := readMetas(f)
	if err == nil {
		_, err = requireSound(ctx, f, fi.Size(), m.current)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("update %s: %w", path, err)
	}
	if err := transact(path, m.current.freelist == noFreelist, fn); err != nil {
		return fmt.Errorf("update %s: %w", path, err)
	}
	if f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return fmt.Errorf("update %s: %w", path, err)
	}
	return errors.Join(f.Sync(), f.Close())
}

// MendMeta copies a database of which one meta page is damaged to a new file, and makes that page lead to the same content as the good one,
// as the transaction before it. Nobody can then open an older state, whichever page is read.
func MendMeta(ctx context.Context, path, to string) (err error) {
	src, fi, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("mend meta page: %w", err)
	}
	defer src.Close()
	m, err := readMetas(src)
	if err != nil {
		return fmt.Errorf("mend meta page of %s: %w", path, err)
	}
	dup, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("mend meta page: %w", err)
	}
	defer func() {
		if err = errors.Join(err, dup.Close()); err != nil {
			err = errors.Join(fmt.Errorf("mend meta page of %s: %w", path, err), os.Remove(to))
		}
	}()
	if err := copyBytes(ctx, dup, src, fi.Size()); err != nil {
		return err
	}
	page := make([]byte, m.current.pageSize)
	if _, err := dup.ReadAt(page, int64(m.current.slot)*int64(len(page))); err != nil {
		return err
	}
	other := 1 - m.current.slot
	le := binary.LittleEndian
	le.PutUint64(page, uint64(other))
	body := page[headerSize : headerSize+metaSize]
	le.PutUint64(body[48:], m.current.txid-1)
	h := fnv.New64a()
	h.Write(body[:56])
	le.PutUint64(body[56:], h.Sum64())
	if _, err := dup.WriteAt(page, int64(other)*int64(len(page))); err != nil {
		return err
	}
	return dup.Sync()
}
