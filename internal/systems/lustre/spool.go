package lustre

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// spool is a file of JSON lines that only grows. It can be cut back to where it was synced.
type spool struct {
	f    *os.File
	w    *bufio.Writer
	size int64
	safe int64 // bytes that are durable
	err  error // the first that writing met; sync and close return it
}

// openSpool opens a spool and cuts it to a size that sync returned, 0 for a new one.
func openSpool(path string, size int64) (*spool, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		if err = f.Truncate(size); err == nil {
			_, err = f.Seek(size, io.SeekStart)
		}
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Base(path), err)
	}
	return &spool{f: f, w: bufio.NewWriterSize(f, 64<<10), size: size, safe: size}, nil
}

// put adds a value as a line.
func (s *spool) put(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.err = errors.Join(s.err, err)
		return
	}
	s.write(append(b, '\n'))
}

func (s *spool) write(b []byte) {
	n, err := s.w.Write(b)
	s.size += int64(n)
	if err != nil && s.err == nil {
		s.err = err
	}
}

// sync makes everything durable and returns the size.
func (s *spool) sync() (int64, error) {
	if s.err == nil && s.safe == s.size {
		return s.size, nil
	}
	if err := errors.Join(s.err, s.w.Flush(), s.f.Sync()); err != nil {
		return 0, fmt.Errorf("write %s: %w", filepath.Base(s.f.Name()), err)
	}
	s.safe = s.size
	return s.size, nil
}

func (s *spool) close() error { return errors.Join(s.w.Flush(), s.f.Close()) }

// segment is a stretch of a spool that belongs to one partition of the claims.
type segment struct {
	Part int   `json:"p"`
	Off  int64 `json:"o"`
	Len  int64 `json:"n"`
}

// eachLine hands out the lines of a stretch of a file until fn returns an error.
func eachLine(f io.ReaderAt, seg segment, fn func([]byte) error) error {
	r := bufio.NewReaderSize(io.NewSectionReader(f, seg.Off, seg.Len), int(min(seg.Len, 64<<10)))
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("a spool is cut off: %w", err)
		}
		if err := fn(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
			return err
		}
	}
}

// saveJSON replaces a file by the JSON of v.
func saveJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("save %s: %w", filepath.Base(path), err)
	}
	return nil
}

// loadJSON reads what saveJSON wrote.
func loadJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("load %s: %w", filepath.Base(path), err)
	}
	return nil
}

// clearDir removes what an interrupted run left in a directory.
func clearDir(dir string) error {
	if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
