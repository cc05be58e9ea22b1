package repair

import (
	"io"
	"os"
)

// Files is the little of a file system that journals need. The zero choice in every config is the operating system's;
// tests put one in its place that loses power.
type Files interface {
	// Create makes a new file for reading and writing; it fails if the file exists.
	Create(path string) (File, error)
	// Open opens an existing file for reading, and for writing too if write is set.
	Open(path string, write bool) (File, error)
	// List gives the names in a directory, in no particular order; a missing directory is empty.
	List(dir string) ([]string, error)
	// SyncDir makes the creation of files in dir durable.
	SyncDir(dir string) error
}

// File is an open journal file. Nothing written is durable before Sync has returned without an error.
type File interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error
	Close() error
}

// osFiles is the operating system's file system.
type osFiles struct{}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (osFiles) Create(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFiles) Open(path string, write bool) (File, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFiles) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (osFiles) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

func mkdirAll(path string) error { return os.MkdirAll(path, 0o700) }
