package recover

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Files are the operations by which the state directory is changed. Tests make them fail.
type Files interface {
	Link(from, to string) error
	Rename(from, to string) error
	Remove(path string) error
	RemoveAll(path string) error
	Mkdir(path string) error
	// Write makes a durable file with this content appear whole or not at all.
	Write(path string, content []byte) error
	// Copy makes a durable copy.
	Copy(from, to string) error
	SyncDir(path string) error
}

// osFiles is the operating system.
type osFiles struct{}

func (osFiles) Link(from, to string) error   { return os.Link(from, to) }
func (osFiles) Rename(from, to string) error { return os.Rename(from, to) }
func (osFiles) Remove(path string) error     { return os.Remove(path) }
func (osFiles) RemoveAll(path string) error  { return os.RemoveAll(path) }
func (osFiles) Mkdir(path string) error      { return os.Mkdir(path, 0o700) }

func (osFiles) Write(path string, content []byte) (err error) {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return osFiles{}.SyncDir(filepath.Dir(path))
}

func (osFiles) Copy(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fi.Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func (osFiles) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// exists tells whether there is something of that name, also a symlink to nothing.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// gone makes "it was not there" a success.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// OS is the operating system.
func OS() Files { return osFiles{} }
