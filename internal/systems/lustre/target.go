package lustre

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"fettle/internal/fault"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/format/mdtbackup"
	"fettle/internal/store"
	"fettle/internal/systems/lustre/mdtimage"
)

// target is one open MDT.
type target struct {
	path   string
	fs     *ext4.FS
	fsname string
	index  uint32          // of the MDT
	backup *mdtimage.Image // of a file-level backup: what it is laid out as; nil for an image or a device
	marks  landmarks
	stale  string // why the content may be older than the journal, "" if it is not
}

// name is what people call the target: "MDT0001".
func (t *target) name() string { return lustre.MDTName(t.index) }

// openTarget opens an image, a device or a backup and finds out which MDT it is.
func openTarget(ctx context.Context, path string, ignoreJournal bool) (*target, error) {
	if t, err := openBackup(ctx, path); t != nil || err != nil {
		return t, err
	}
	fs, err := ext4.Open(path)
	if err != nil {
		return nil, imageFault(path, err)
	}
	t := &target{path: path, fs: fs}
	if err := t.admit(ignoreJournal); err != nil {
		return nil, errors.Join(err, fs.Close())
	}
	t.marks = findLandmarks(fs)
	if err := t.identify(); err != nil {
		return nil, errors.Join(err, fs.Close())
	}
	return t, nil
}

// What can be given as an MDT.
const (
	placesHint  = "an MDT is given as a device that is not mounted, a snapshot or an image of it, or a file-level backup; several with commas: lustre:mdt0.img,mdt1.img"
	ldiskfsHint = "only MDTs on ldiskfs can be read, and tar archives of them; for an MDT on ZFS use LFSCK itself"
)

// imageFault says what can be done about a path that cannot be opened as an image.
func imageFault(path string, err error) error {
	if !errors.Is(err, ext4.ErrNotExt4) {
		return fault.Opening(path, err, placesHint)
	}
	return fault.Opening(path, pathless{err, path}, ldiskfsHint)
}

// admit refuses content that cannot be trusted.
func (t *target) admit(ignoreJournal bool) error {
	for _, r := range t.fs.Refusals() {
		switch {
		case r.Reason == ext4.ReasonMountRO:
		case r.Reason == ext4.ReasonNotClean:
			t.stale = r.Text
		case r.Reason == ext4.ReasonRecovery && ignoreJournal:
			t.stale = r.Text
		case r.Reason == ext4.ReasonRecovery:
			return &fault.Error{Op: "open", Where: t.path, Err: t.refused(r), Hint: r.Hint + "; to look at it as it is: --set " + SetJournal + "=ignore"}
		default:
			return &fault.Error{Op: "open", Where: t.path, Err: t.refused(r), Hint: r.Hint}
		}
	}
	return nil
}

// refused is a refusal without the path, which the error that it goes into tells.
func (t *target) refused(r *ext4.Refusal) *ext4.Refusal {
	out := *r
	out.Text = strings.TrimPrefix(r.Text, t.path+": ")
	return &out
}

// close closes the target.
func (t *target) close() error {
	err := t.fs.Close()
	if t.backup != nil {
		err = errors.Join(err, t.backup.Close())
	}
	return err
}

// identify reads file system name and index from the label, CONFIGS/mountdata or last_rcvd, whichever says it first.
func (t *target) identify() error {
	var ok bool
	if t.fsname, t.index, ok = lustre.TargetLabel(t.fs.Super().Label); ok {
		return nil
	}
	if b := t.marks.content(t.fs, t.marks.mountdata, lustre.MountDataSize); b != nil {
		if m, err := lustre.DecodeMountData(b); err == nil && m.Flags&lustre.TargetMDT != 0 && m.FSName != "" {
			t.fsname, t.index = m.FSName, m.Index
			return nil
		}
	}
	if b := t.marks.content(t.fs, t.marks.lastRcvd, lustre.LastRcvdSize); b != nil {
		if r, err := lustre.DecodeLastRcvd(b); err == nil {
			if t.fsname, t.index, ok = lustre.TargetLabel(strings.TrimSuffix(r.UUID, "_UUID")); ok {
				return nil
			}
		}
	}
	if t.backup != nil {
		return &fault.Error{Op: "open", Where: t.path, Err: errors.New("neither CONFIGS/mountdata nor last_rcvd in the backup tells which MDT it is of"),
			Hint: "a backup of a whole MDT has both; those of OSTs and MGTs hold no namespace"}
	}
	return &fault.Error{Op: "open", Where: t.path, Err: fmt.Errorf("it is ext4 with the label %q, but no MDT of Lustre", t.fs.Super().Label),
		Hint: "an MDT has a label such as lustre-MDT0000, and CONFIGS/mountdata; OSTs and MGTs hold no namespace"}
}

// isMDT tells whether an open file system is an MDT.
func isMDT(fs *ext4.FS) bool {
	if _, _, ok := lustre.TargetLabel(fs.Super().Label); ok {
		return true
	}
	if fs.Super().Dirdata() {
		return true
	}
	marks := findLandmarks(fs)
	m, err := lustre.DecodeMountData(marks.content(fs, marks.mountdata, lustre.MountDataSize))
	return err == nil && m.Flags&lustre.TargetMDT != 0
}

// used is how many inodes are in use.
func (t *target) used() int64 {
	s := t.fs.Super()
	if s.FreeInodes > s.Inodes {
		return 0
	}
	return int64(s.Inodes - s.FreeInodes)
}

// inUse says who has the target open, "" if nobody can be seen to.
func (t *target) inUse() string {
	if t.backup != nil {
		return ""
	}
	for _, r := range t.fs.Refusals() {
		if r.Reason == ext4.ReasonMounted || r.Reason == ext4.ReasonInUse {
			return r.Text
		}
	}
	fi, err := os.Stat(t.path)
	if err != nil || fi.Mode()&os.ModeDevice == 0 {
		return ""
	}
	// A block device that is mounted, or part of another device, cannot be opened exclusively.
	fd, err := unix.Open(t.path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.EBUSY) {
		return t.path + " is held by the kernel: mounted, or part of another device"
	}
	if err == nil {
		unix.Close(fd)
	}
	return ""
}

// target gives the target as the contract has it.
func (t *target) target() store.Target {
	if t.backup != nil {
		return t.backupTarget()
	}
	return store.Target{Name: t.name(), Path: t.path, Size: t.fs.Size()}
}

// fingerprint changes when the target was written to.
func (t *target) fingerprint(ctx context.Context) (string, error) {
	if t.backup != nil {
		text, err := mdtbackup.Fingerprint(ctx, t.path)
		if err != nil {
			return "", &fault.Error{Op: "fingerprint", Where: t.path, Err: err}
		}
		return text, nil
	}
	fs, err := ext4.Open(t.path) // anew: an open one keeps the superblock that it read
	if err != nil {
		return "", &fault.Error{Op: "fingerprint", Where: t.path, Err: err}
	}
	raw := fs.Super().Raw
	text := fmt.Sprintf("%08x/%d", ext4.CRC32C(^uint32(0), raw), fs.Size())
	if err := fs.Close(); err != nil {
		return "", &fault.Error{Op: "fingerprint", Where: t.path, Err: err}
	}
	fi, err := os.Stat(t.path)
	if err != nil {
		return "", &fault.Error{Op: "fingerprint", Where: t.path, Err: errors.Unwrap(err)}
	}
	if fi.Mode().IsRegular() {
		text += fmt.Sprintf("@%d", fi.ModTime().UnixNano())
	}
	return text, nil
}
