package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
func sparsely(out *os.File, in io.Reader) error {
	const stretch = 64 << 10
	buf, zero := make([]byte, stretch), make([]byte, stretch)
	for at := int64(0); ; {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := out.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return out.Truncate(at)
		case err != nil:
			return err
		}
	}
}
