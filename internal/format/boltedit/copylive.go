package boltedit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// ErrUnsettled is wrapped by the error of CopyLive when every try met a commit.
var ErrUnsettled = errors.New("it was written to during every try to copy it")

// Copied is what CopyLive copied.
type Copied struct {
	Txid  uint64 // the transaction whose content the copy holds
	Bytes int64  // size of the copy
}

// CopyLive copies a database that a running program may hold and write to, to a
// new file (mode 0600, not made durable). The original is only read: it is
// neither locked nor opened by bbolt.
//
// It rests on copy on write: as long as no transaction commits, only pages are
// written that the last one does not use. So a copy is consistent if the newest
// valid meta page names the same transaction before and after it. Else it is
// made again, tries times in all, after pauses that grow from 20 ms to 1 s. What
// the older meta page of the copy leads to may be overwritten.
func CopyLive(ctx context.Context, path, to string, tries int) (c Copied, err error) {
	src, fi, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return Copied{}, fmt.Errorf("copy database: %w", err)
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Copied{}, fmt.Errorf("copy database: %w", err)
	}
	defer func() {
		err = errors.Join(err, dst.Close())
		if err != nil {
			c, err = Copied{}, errors.Join(fmt.Errorf("copy database %s: %w", path, err), os.Remove(to))
		}
	}()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		c, err = copyOnce(ctx, src, dst)
		if !errors.Is(err, ErrUnsettled) {
			break
		}
		if tries--; tries <= 0 {
			return Copied{}, fmt.Errorf("%w; hint: try again when there is less going on, or stop the program that uses it", err)
		}
		select {
		case <-ctx.Done():
			return Copied{}, ctx.Err()
		case <-time.After(pause):
		}
	}
	if err != nil {
		return Copied{}, err
	}
	if named, err := os.Stat(path); err != nil || !os.SameFile(fi, named) {
		return Copied{}, errors.New("it was replaced by another file meanwhile; hint: try again")
	}
	return c, nil
}

// copyOnce copies and tells, by ErrUnsettled, that a transaction was committed meanwhile.
func copyOnce(ctx context.Context, src, dst *os.File) (Copied, error) {
	before, err := readMetas(src)
	if err != nil {
		return Copied{}, err
	}
	if err := whole(ctx, src, dst); err != nil {
		return Copied{}, err
	}
	after, err := readMetas(src)
	if err != nil {
		return Copied{}, fmt.Errorf("%w: %w", ErrUnsettled, err)
	}
	got, err := readMetas(dst)
	if err != nil {
		return Copied{}, fmt.Errorf("%w: %w", ErrUnsettled, err)
	}
	if before.current != after.current || before.current != got.current {
		return Copied{}, fmt.Errorf("%w: transaction %d, then %d", ErrUnsettled, before.current.txid, after.current.txid)
	}
	fi, err := dst.Stat()
	if err != nil {
		return Copied{}, err
	}
	return Copied{Txid: got.current.txid, Bytes: fi.Size()}, nil
}

// whole makes dst hold what src holds now.
func whole(ctx context.Context, src, dst *os.File) error {
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	if err := dst.Truncate(0); err != nil {
		return err
	}
	if _, err := dst.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return copyBytes(ctx, dst, src, fi.Size())
}
