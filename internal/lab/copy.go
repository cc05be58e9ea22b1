package lab

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CopyStore copies a file, or the regular files of a directory, to a path that must not exist. Stretches of zeros become holes.
func CopyStore(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("copy a store: %w", err)
	}
	if !info.IsDir() {
		return copyFile(from, to)
	}
	list, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("copy a store: %w", err)
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return fmt.Errorf("copy a store: %w", err)
	}
	for _, e := range list {
		if !e.Type().IsRegular() {
			continue
		}
		if err := copyFile(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies one file to a path that must not exist.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy a store: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("copy a store: %w", err)
	}
	if err = errors.Join(sparsely(out, in), out.Close()); err != nil {
		err = fmt.Errorf("copy %s: %w", from, err)
	}
	return err
}

// sparsely copies everything but stretches of zeros.
func sparsely(out, in *os.File) error {
	size, err := eachStretch(in, func(at int64, b []byte) error {
		_, err := out.WriteAt(b, at)
		return err
	})
	if err != nil {
		return err
	}
	return out.Truncate(size)
}

// eachStretch hands out the content of a file without its holes and without stretches of zeros, in ascending order and in pieces that
// depend on the content only. It gives the size of the file.
func eachStretch(f *os.File, fn func(at int64, b []byte) error) (size int64, err error) {
	const stretch = 64 << 10
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size = info.Size()
	buf, zero := make([]byte, stretch), make([]byte, stretch)
	for at := int64(0); at < size; at += stretch {
		// Where holes are not known this gives the same place, or an error: then everything is read.
		if data, err := f.Seek(at, unix.SEEK_DATA); errors.Is(err, unix.ENXIO) {
			break // nothing but a hole
		} else if err == nil {
			at = max(at, data/stretch*stretch)
		}
		n := min(stretch, size-at)
		if _, err := f.ReadAt(buf[:n], at); err != nil {
			return 0, err
		}
		if bytes.Equal(buf[:n], zero[:n]) {
			continue
		}
		if err := fn(at, buf[:n]); err != nil {
			return 0, err
		}
	}
	return size, nil
}

// Digest sums up the content of files, by their base names; one may be absent.
func Digest(paths []string) (string, error) {
	h := sha256.New()
	for _, name := range paths {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(h, "%s absent\n", filepath.Base(name))
			continue
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s\n", filepath.Base(name))
		n, err := eachStretch(f, func(at int64, b []byte) error {
			fmt.Fprintf(h, "%d bytes at %d\n", len(b), at)
			h.Write(b)
			return nil
		})
		if err = errors.Join(err, f.Close()); err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d bytes\n", n)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}
