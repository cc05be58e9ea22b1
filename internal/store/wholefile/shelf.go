package wholefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"fettle/internal/fault"
	"fettle/internal/store"
)

// Shelf is where content is kept that is not in its place.
type Shelf struct {
	// Work is the run's work directory; it must exist.
	Work string
	// Beside lists the files whose content is kept beside them, as NAME.fettle- and twelve digits of the hash: large ones,
	// which are then renamed and never copied. Everything else is kept in Work.
	Beside []string
}

// Path is where the content of a file is kept.
func (s Shelf) Path(r Record, file string) string {
	if s.beside(file) {
		return fmt.Sprintf("%s.fettle-%.12s", file, r.SHA256)
	}
	return filepath.Join(s.Work, "kept-"+r.SHA256)
}

func (s Shelf) beside(file string) bool { return slices.Contains(s.Beside, file) }

// Keep makes sure that the present content of a file can be brought back, and returns its record. It is for Lower, and
// copies; content of a file of Beside need not be kept before Place does it.
func (s Shelf) Keep(file string) (Record, error) {
	r, err := Describe(file)
	if err != nil {
		return r, err
	}
	to := s.Path(r, file)
	if _, err := os.Stat(to); err == nil {
		return r, nil
	}
	return r, Copy(file, to)
}

// AdoptBuilt takes a finished new file, which must be durable and lie on the same file system, onto the shelf, so that
// Place can put it where file is. It gets the mode and (where we may) the owner of file, if that exists.
func (s Shelf) AdoptBuilt(built, file string) (Record, error) {
	if fi, err := os.Stat(file); err == nil {
		if err := os.Chmod(built, fi.Mode().Perm()); err != nil {
			return Record{}, err
		}
		SameOwner(fi, built)
	}
	r, err := Describe(built)
	if err != nil {
		return r, err
	}
	if err := s.markBuilt(r); err != nil {
		return r, err
	}
	to := s.Path(r, file)
	if err := os.Rename(built, to); err != nil {
		return r, err
	}
	// A journal that is sealed after this must find the file where it says, whatever happens to the machine.
	return r, SyncDir(filepath.Dir(to))
}

// markBuilt remembers that a file was built by this run. Once it has been taken out of its place again by an undo it is
// not kept: an apply after that builds it anew.
func (s Shelf) markBuilt(r Record) error {
	return os.WriteFile(filepath.Join(s.Work, "built-"+r.SHA256), nil, 0o600)
}

// isBuilt tells whether AdoptBuilt has seen the content in this run.
func (s Shelf) isBuilt(r Record) bool {
	_, err := os.Stat(filepath.Join(s.Work, "built-"+r.SHA256))
	return err == nil
}

// Place makes the change of a whole file true, durably: it keeps what is there, and then puts what c.After says in its
// place, or takes the file away if that is nil.
func (s Shelf) Place(file string, c store.Change) error {
	if err := s.keepPresent(file, c.Before); err != nil {
		return err
	}
	if c.After == nil {
		return Remove(file)
	}
	r, err := Parse(c.After)
	if err != nil {
		return err
	}
	if err := s.bring(r, file); err != nil {
		return err
	}
	return s.dropBuilt(file, c.Before)
}

// keepPresent makes sure that the content that is about to leave its place can be brought back. before is what the journal
// says is there; when something else is there (an earlier attempt got further), there is nothing to keep.
func (s Shelf) keepPresent(file string, before store.Bytes) error {
	if before == nil {
		return nil
	}
	r, err := Parse(before)
	if err != nil {
		return err
	}
	to := s.Path(r, file)
	if s.isBuilt(r) {
		return nil
	}
	if there, err := Describe(to); err == nil && there == r {
		return nil
	}
	have, err := Describe(file)
	if errors.Is(err, os.ErrNotExist) || err == nil && have != r {
		return nil
	}
	if err != nil {
		return err
	}
	if s.beside(file) {
		// A second name costs nothing and survives the rename over the first.
		if err := os.Link(file, to); err == nil {
			return SyncDir(filepath.Dir(to))
		}
	}
	return Copy(file, to)
}

// bring puts kept content in place by rename.
func (s Shelf) bring(r Record, file string) error {
	if have, err := Describe(file); err == nil && have == r {
		return nil
	}
	from := s.Path(r, file)
	if s.beside(file) {
		// The kept file itself moves into place: keepPresent gives the content a second name again before it leaves, unless
		// it is one that can be built anew.
		if err := os.Rename(from, file); err != nil {
			return lost(file, from, err)
		}
		return SyncDir(filepath.Dir(file))
	}
	tmp := file + ".fettle-new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := Copy(from, tmp); err != nil {
		return lost(file, from, err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(file))
}

// lost explains why kept content cannot be put in place: mostly because somebody has tidied up.
func lost(file, from string, err error) error {
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return &fault.Error{Op: "put kept content in place", Where: file, Err: fmt.Errorf("%s is not there: %w", from, os.ErrNotExist),
		Hint: "if that file was moved, move it back and try again; if it was deleted, its content is lost"}
}

// dropBuilt removes a built file that an undo finds still lying beside its place, because the apply was cut off before
// the swap.
func (s Shelf) dropBuilt(file string, before store.Bytes) error {
	if !s.beside(file) || before == nil {
		return nil
	}
	r, err := Parse(before)
	if err != nil || !s.isBuilt(r) {
		return err
	}
	return Remove(s.Path(r, file))
}
