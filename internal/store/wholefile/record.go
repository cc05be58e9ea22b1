// Package wholefile is how a Writer changes a file that is too large for a
// journal: the whole file is one record, which says its size and hash, and its
// content is kept in a file of its own as long as an undo may need it.
//
// Job: to describe files (Record), to keep their content aside and to put it in
// place again (Shelf). A Writer's Read answers Read(path); its Lower calls Keep
// for a file that a change will take away, or AdoptBuilt for a new one that it
// has built; its Write calls Place.
//
// Invariants:
//   - A file is swapped in by rename, so that there is never half a file, and
//     directory entries are durable when a call returns.
//   - Before content leaves its place it is kept, unless it was built by the run
//     itself: then it is made again after an undo, and what is left of it goes.
//   - Every call may be repeated after a crash. What an earlier attempt did is
//     found by its hash.
//   - Nothing is written through a symbolic link that others may have laid.
//
// It must not: know any system, journal anything, or decide which file is right.
// A lock (flock) that is held on a file stays on the old one when another is
// renamed over it. A Writer that must not let anybody in between locks the kept
// file, Shelf.Path, before it calls Place.
package wholefile

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

// Record is the record of a whole file. It is the same wherever the content lies.
type Record struct {
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // 64 hexadecimal digits
}

// Bytes is the record as a journal holds it.
func (r Record) Bytes() store.Bytes {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // a number and a string always marshal
	}
	return b
}

// Parse reads what Bytes wrote.
func Parse(b store.Bytes) (Record, error) {
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("record of a file: %w", err)
	}
	if sum, err := hex.DecodeString(r.SHA256); err != nil || len(sum) != sha256.Size || r.Size < 0 {
		return r, fmt.Errorf("record of a file: bad hash %q or size %d", r.SHA256, r.Size)
	}
	return r, nil
}

// Describe reads a file and makes its record.
func Describe(path string) (Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return Record{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return Record{}, fmt.Errorf("read %s: %w", path, err)
	}
	return Record{Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// Read is the record of the file at path as a Writer's Read gives it: nil if there is none.
func Read(path string) (store.Bytes, error) {
	r, err := Describe(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return r.Bytes(), nil
}

// Same tells whether both files exist and have the same content.
func Same(a, b string) bool {
	ra, err := Describe(a)
	if err != nil {
		return false
	}
	rb, err := Describe(b)
	return err == nil && ra == rb
}

// Copy copies durably, with mode and (where we may) owner, to a file that appears whole or not at all.
func Copy(from, to string) (err error) {
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
	SameOwner(fi, tmp)
	if err := os.Rename(tmp, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// Remove removes a file, durably; that it is not there is no error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
