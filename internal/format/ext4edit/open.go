package ext4edit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4quota"
)

var le = binary.LittleEndian

// Options says how to edit. The zero value refuses whatever can be refused and leaves times alone.
type Options struct {
	// AllowErrors accepts a file system that is marked as having errors.
	AllowErrors bool
	// AllowReadOnlyMount accepts one that is mounted read-only, to find out what would change. The blocks must not be written then.
	AllowReadOnlyMount bool
	// Time, in seconds since 1970, becomes ctime of changed inodes, mtime of changed directories, and all times of new inodes. 0
	// leaves the times of existing inodes as they are; new inodes then have times 0.
	Time int64
	// Forget keeps changed blocks only as they are now: half of the memory, for an edit of which nobody asks for Blocks. Blocks reads them again.
	Forget bool
}

// Edit is an open overlay over a file system. It is for one goroutine.
type Edit struct {
	over *overlay
	view *ext4.FS // reads through the overlay; its superblock and descriptors are those at the begin, only counts and flags differ
	sb   *ext4.Superblock
	sums *ext4.Sums
	opt  Options

	meta  []span          // blocks that are never a file's, see metadata
	made  map[uint32]bool // inodes allocated by this edit
	fresh map[uint64]bool // blocks that this edit took: they were free, or it freed them before
	ofDir map[uint64]bool // blocks of directories that were written
	takes []func()        // take back what the running operation did to made and quotas
	named bool            // an operation is under way whose errors say what it was

	quotas [ext4quota.Kinds]*quotaFile // as far as they were read, with what was written to them
}

// writable lists the features with which everything that is changed here is kept right.
const (
	writableIncompat = ext4.IncompatFiletype | ext4.IncompatMetaBG | ext4.IncompatExtents | ext4.Incompat64bit | ext4.IncompatMMP |
		ext4.IncompatFlexBG | ext4.IncompatEAInode | ext4.IncompatDirdata | ext4.IncompatCsumSeed | ext4.IncompatLargeDir |
		ext4.IncompatInlineData | ext4.IncompatEncrypt | ext4.IncompatCasefold
	writableROCompat = ext4.ROCompatSparseSuper | ext4.ROCompatLargeFile | ext4.ROCompatHugeFile | ext4.ROCompatGDTCsum |
		ext4.ROCompatDirNlink | ext4.ROCompatExtraIsize | ext4.ROCompatQuota | ext4.ROCompatMetadataCsum | ext4.ROCompatProject |
		ext4.ROCompatVerity
)

// Open begins an edit. It refuses (ErrRefused) whatever ext4.Refusals lists, a superblock that is a copy or does not match its
// checksum, features that are not kept right here, a journal or an orphan list with something to do, a truncated input, and the mark
// of errors. fs must stay open and must not change while the edit is in use.
func Open(fs *ext4.FS, opt Options) (*Edit, error) {
	if err := refuse(fs, opt); err != nil {
		return nil, fmt.Errorf("edit %s: %w", fs.Name(), err)
	}
	o := newOverlay(fs)
	o.forget = opt.Forget
	view, err := ext4.New(o, int64(o.limit)*int64(o.size), fs.Name())
	if err != nil {
		return nil, fmt.Errorf("edit %s: %w", fs.Name(), err)
	}
	e := &Edit{over: o, view: view, sb: view.Super(), sums: view.Sums(), opt: opt, made: map[uint32]bool{}, fresh: map[uint64]bool{}, ofDir: map[uint64]bool{}}
	if err := e.journalClean(); err != nil {
		return nil, fmt.Errorf("edit %s: %w", fs.Name(), err)
	}
	return e, nil
}

// refused wraps a reason.
func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// refuse checks superblock and use.
func refuse(fs *ext4.FS, opt Options) error {
	for _, r := range fs.Refusals() {
		if r.Reason == ext4.ReasonMountRO && opt.AllowReadOnlyMount || r.Reason == ext4.ReasonNotClean && opt.AllowErrors {
			continue
		}
		return fmt.Errorf("%w: %w", ErrRefused, r)
	}
	s := fs.Super()
	for _, p := range fs.Problems() {
		return refused("%s", p.Text)
	}
	var f first
	if !fs.VerifySuper(f.report) {
		return fmt.Errorf("%w: %w", ErrRefused, f.err)
	}
	names := ext4.Superblock{Incompat: s.Incompat &^ writableIncompat, ROCompat: s.ROCompat &^ writableROCompat}
	switch {
	case names.Incompat|names.ROCompat != 0:
		return refused("its features %v are not kept right here", names.FeatureNames())
	case s.Incompat&ext4.IncompatFiletype == 0:
		return refused("names without a file type (feature filetype) are not written here")
	case s.ROCompat&ext4.ROCompatGDTCsum != 0 && s.ROCompat&ext4.ROCompatMetadataCsum != 0:
		return refused("both metadata_csum and uninit_bg are set, so that no checksum can be right")
	case s.Offset != ext4.SuperOffset:
		return refused("the superblock in use is a copy at byte %d", s.Offset)
	case s.State&ext4.StateErrors != 0 && !opt.AllowErrors:
		return refused("it is marked as having errors; hint: run e2fsck on it, or allow it")
	case s.State&ext4.StateOrphan != 0 || s.LastOrphan != 0:
		return refused("inode %d and perhaps others wait to be deleted at the next mount; hint: mount and unmount it once", s.LastOrphan)
	}
	return nil
}

// Journal superblock (jbd2, big-endian): magic u32, ..., first block of the log that holds something at byte 28.
const (
	journalMagic = 0xC03B3998
	journalStart = 28
)

// journalClean looks into the journal itself, because the mark in the superblock may have been cleared by hand.
func (e *Edit) journalClean() error {
	if e.sb.Compat&ext4.CompatHasJournal == 0 || e.sb.JournalInum == 0 {
		return nil
	}
	var buf [journalStart + 4]byte
	n, err := e.view.ReadFile(e.sb.JournalInum, 0, buf[:])
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: read the journal: %w", ErrRefused, err)
	}
	if n < len(buf) || binary.BigEndian.Uint32(buf[:]) != journalMagic {
		return refused("the journal in inode %d has no superblock", e.sb.JournalInum)
	}
	if start := binary.BigEndian.Uint32(buf[journalStart:]); start != 0 {
		return refused("the journal holds changes from block %d on; hint: mount and unmount it once, or run e2fsck on it", start)
	}
	return nil
}

// do runs an operation: when it fails, nothing of it stays, and the error says which target and which operation that was. Operations
// within it are parts of it and are not named; those within a Try are.
func (e *Edit) do(fn func() error, format string, args ...any) error {
	if e.named {
		return fn()
	}
	e.named = true
	defer func() { e.named = false }()
	if err := e.whole(fn); err != nil {
		return fmt.Errorf("%s: %s: %w", e.view.Name(), fmt.Sprintf(format, args...), err)
	}
	return nil
}

// whole takes back what fn did when it fails. What it did when it succeeds is taken back with what it is a part of.
func (e *Edit) whole(fn func() error) error {
	undo, takes := e.over.undo, e.takes
	e.over.undo, e.takes = map[uint64][]byte{}, nil
	defer func() { e.over.undo, e.takes = undo, takes }()
	err := fn()
	switch {
	case err != nil:
		e.over.rollback()
		for _, back := range slices.Backward(e.takes) {
			back()
		}
	case undo != nil:
		for block, was := range e.over.undo {
			if _, ok := undo[block]; !ok {
				undo[block] = was
			}
		}
		takes = append(takes, e.takes...)
	}
	return err
}

// Blocks lists the blocks that differ from the file system, ascending. They have no order in which a crash between them would be
// harmless: write them under a journal, best in the order of their turns.
func (e *Edit) Blocks() []Block {
	list := e.over.changed()
	for i := range list {
		list[i].Turn = e.turn(&list[i])
	}
	return list
}

// ReadAt reads the edited file system, so that ext4.New(edit, edit.Size(), name) can verify it.
func (e *Edit) ReadAt(p []byte, off int64) (int, error) { return e.over.ReadAt(p, off) }

// Size gives the bytes of the file system.
func (e *Edit) Size() int64 { return int64(e.over.limit) * int64(e.over.size) }

// View gives a reader of the edited file system. Its superblock and group descriptors are those of the beginning, and so is
// Inode.Allocated of inodes in groups that had none; see InUse.
func (e *Edit) View() *ext4.FS { return e.view }

// mark notes that an inode was made, or is no more.
func (e *Edit) mark(ino uint32, made bool) {
	was := e.made[ino]
	e.made[ino] = made
	e.takes = append(e.takes, func() { e.made[ino] = was })
}
