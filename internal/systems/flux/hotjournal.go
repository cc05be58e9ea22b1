package flux

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"fettle/internal/format/sqliteedit"
	"fettle/internal/store/wholefile"
)

// While pages of the database are being written, SQLite's own rollback journal lies beside it, holding the pages as they
// were. If fettle is cut off and somebody starts Flux before the repair was resumed or undone, SQLite itself puts the old
// pages back. It is put there before the first page of a step and taken away when all pages are durable; an undo of the
// step is protected by the same journal, since what it leads to is the same.

// maxHotJournal bounds its size in bytes. A step that changes more is protected by fettle's own journal alone.
const maxHotJournal = 1 << 30

func (w *writer) preparedJournal() string { return filepath.Join(w.work, "hot-journal") }

// prepareJournal writes the journal for the pages of a step into the work directory.
func (w *writer) prepareJournal(u *unit, res sqliteedit.Result) error {
	if err := w.forgetJournal(); err != nil {
		return err
	}
	if u.file.Size()%int64(res.PageSize) != 0 || u.file.Size() == 0 || int64(len(res.Pages))*int64(res.PageSize+8) > maxHotJournal {
		return nil
	}
	var buf bytes.Buffer
	if err := sqliteedit.HotJournal(&buf, res.PageSize, u.file.FilePages(), beforePages(res)); err != nil {
		return fmt.Errorf("make rollback journal: %w", err)
	}
	tmp := w.preparedJournal() + ".new"
	if err := os.WriteFile(tmp, buf.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, w.preparedJournal())
}

// forgetJournal drops the prepared journal of an earlier step or attempt.
func (w *writer) forgetJournal() error {
	if err := os.Remove(w.preparedJournal()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func beforePages(res sqliteedit.Result) iter.Seq2[uint32, []byte] {
	return func(yield func(uint32, []byte) bool) {
		for _, p := range res.Pages {
			if p.Before != nil && p.Number <= res.OldPageCount && !yield(p.Number, p.Before) {
				return
			}
		}
	}
}

// arm puts the prepared journal, if there is one, beside the database.
func (w *writer) arm() error {
	if _, err := os.Stat(w.preparedJournal()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if w.ours() {
		return nil
	}
	return wholefile.Copy(w.preparedJournal(), w.u.path+"-journal")
}

// disarm takes the journal away, if it is ours.
func (w *writer) disarm() error {
	if !w.ours() {
		return nil
	}
	return wholefile.Remove(w.u.path + "-journal")
}

// ours tells whether the journal beside the database is the prepared one.
func (w *writer) ours() bool { return wholefile.Same(w.preparedJournal(), w.u.path+"-journal") }
