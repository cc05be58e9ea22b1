package storetest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Snapshot is a store's condition as two hashes.
type Snapshot struct {
	Full    string // names, modes, sizes, modification times and content: changes when anything was touched at all
	Content string // names and content only: equal after an undo
}

// Digest takes a Snapshot of a file or a directory tree. What it cannot read fails the test.
func Digest(t testing.TB, path string) Snapshot {
	t.Helper()
	full, content := sha256.New(), sha256.New()
	err := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		fmt.Fprintf(full, "%q %v\n", rel, st.Mode())
		if st.Mode().Type() != fs.ModeSymlink { // CopyTree cannot set the times of a symbolic link
			fmt.Fprintf(full, "%d %d\n", st.Size(), st.ModTime().UnixNano())
		}
		fmt.Fprintf(content, "%q %v\n", rel, st.Mode().Type())
		switch {
		case st.Mode().Type() == fs.ModeSymlink:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(io.MultiWriter(full, content), "-> %q\n", to)
		case st.Mode().IsRegular():
			fmt.Fprintf(content, "%d\n", st.Size())
			return hashFile(io.MultiWriter(full, content), p)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("digest of %s: %v", path, err)
	}
	return Snapshot{fmt.Sprintf("%x", full.Sum(nil)), fmt.Sprintf("%x", content.Sum(nil))}
}

func hashFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// CopyTree copies a file or a directory tree with modes and modification times, replacing what is at to.
func CopyTree(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	var dirs []string
	err := filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			dirs = append(dirs, p)
			return os.MkdirAll(dst, 0o700)
		case e.Type() == fs.ModeSymlink:
			link, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(link, dst)
		case e.Type().IsRegular():
			if err := copyFile(p, dst); err != nil {
				return err
			}
			return sameTimes(p, dst)
		}
		return fmt.Errorf("%s: cannot copy a %v", p, e.Type())
	})
	// Directories last and deepest first: what is made in them changes their times.
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- {
		rel, rerr := filepath.Rel(from, dirs[i])
		if err = rerr; err == nil {
			err = sameTimes(dirs[i], filepath.Join(to, rel))
		}
	}
	if err != nil {
		t.Fatalf("copy %s to %s: %v", from, to, err)
	}
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return err
	}
	return dst.Close()
}

func sameTimes(from, to string) error {
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.Chmod(to, st.Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(to, st.ModTime(), st.ModTime())
}
