package flux

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"fettle/internal/store"
)

// keptFile is the record of a whole file: too large for a journal, so its content is kept in a file of its own, which the
// record names by hash. The record is the same wherever the content lies.
type keptFile struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func (k keptFile) bytes() store.Bytes {
	b, err := json.Marshal(k)
	if err != nil {
		panic(err) // a number and a string always marshal
	}
	return b
}

func parseKept(b store.Bytes) (keptFile, error) {
	var k keptFile
	if err := json.Unmarshal(b, &k); err != nil {
		return k, fmt.Errorf("record of a file: %w", err)
	}
	if len(k.SHA256) != 64 || k.Size < 0 || filepath.Base(k.SHA256) != k.SHA256 {
		return k, fmt.Errorf("record of a file: bad hash %q", k.SHA256)
	}
	return k, nil
}

// describe hashes a file.
func describe(path string) (keptFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return keptFile{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return keptFile{}, fmt.Errorf("read %s: %w", path, err)
	}
	return keptFile{Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// keptPath is where content is kept. Databases are kept beside the store, so that they can be renamed into place;
// everything else lies in the run's work directory.
func (w *writer) keptPath(k keptFile, besides string) string {
	if besides == w.u.path {
		return fmt.Sprintf("%s.fettle-%.12s", w.u.path, k.SHA256)
	}
	return filepath.Join(w.work, "kept-"+k.SHA256)
}

// markBuilt remembers that a database was built by this run. Once it has been taken out of its place again by an undo it is
// not kept: an apply after that builds it anew.
func (w *writer) markBuilt(k keptFile) error {
	return os.WriteFile(filepath.Join(w.work, "built-"+k.SHA256), nil, 0o600)
}

func (w *writer) isBuilt(k keptFile) bool {
	_, err := os.Stat(filepath.Join(w.work, "built-"+k.SHA256))
	return err == nil
}

// keepPresent makes sure that the content that is about to leave path can be brought back. before is what the journal
// says is there; when something else is there (an earlier attempt got further), there is nothing to keep.
func (w *writer) keepPresent(path string, before store.Bytes) error {
	if before == nil {
		return nil
	}
	k, err := parseKept(before)
	if err != nil {
		return err
	}
	to := w.keptPath(k, path)
	if w.isBuilt(k) {
		return nil
	}
	if there, err := describe(to); err == nil && there == k {
		return nil
	}
	have, err := describe(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && have != k {
		return nil
	}
	if err != nil {
		return err
	}
	if path == w.u.path {
		// A second name costs nothing and survives the rename over the first.
		if err := os.Link(path, to); err == nil {
			return syncDir(filepath.Dir(to))
		}
	}
	return copyFile(path, to)
}

// bring puts kept content at path by rename, so that there is never half a file.
func (w *writer) bring(k keptFile, path string) error {
	if have, err := describe(path); err == nil && have == k {
		return nil
	}
	from := w.keptPath(k, path)
	if path == w.u.path {
		// Beside the store the kept file itself moves into place: keepPresent gives the content a second name again
		// before it leaves, unless it is one that can be built anew.
		if err := os.Rename(from, path); err != nil {
			return err
		}
		return syncDir(filepath.Dir(path))
	}
	tmp := path + ".fettle-new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := copyFile(from, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// copyFile copies durably to a new file that appears whole or not at all.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	tmp := to + ".part"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// O_EXCL: whoever may write in the directory must not make root write through a link of theirs.
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fi.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	if e := out.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("copy %s to %s: %w", from, to, err)
	}
	sameOwner(fi, tmp)
	if err := os.Rename(tmp, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
