package lustre

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/format/mdtbackup"
	"fettle/internal/store"
	"fettle/internal/systems/lustre/mdtimage"
)

// openBackup opens a file-level backup, which is laid out as an image for that. It gives nil for what is none.
func openBackup(ctx context.Context, path string) (*target, error) {
	fi, err := os.Stat(path)
	if err != nil || !fi.IsDir() && !fi.Mode().IsRegular() {
		return nil, nil // opening it as an image says what is wrong
	}
	if fi.IsDir() && !hasTop(path) {
		return nil, backupFault(path, fmt.Errorf("a directory is taken for a file-level backup: %w", mdtimage.ErrNoTarget))
	}
	r, err := mdtbackup.Open(path)
	if errors.Is(err, mdtbackup.ErrNotBackup) {
		return nil, nil
	}
	if err != nil {
		return nil, backupFault(path, err)
	}
	im, err := layOut(ctx, path, fi, r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, backupFault(path, err)
	}
	fs, err := ext4.New(im, im.Size(), path)
	if err != nil {
		return nil, errors.Join(&fault.Error{Op: "open", Where: path, Err: err}, im.Close())
	}
	t := &target{path: path, fs: fs, backup: im}
	t.marks = findLandmarks(fs)
	t.marks.oi = nil // it says where objects were, not where they are
	if err := t.identify(); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// hasTop tells whether a directory looks like the top of a target, so that another one is not walked to its end first. What cannot be looked at
// may be one.
func hasTop(dir string) bool {
	for _, name := range mdtimage.Tops {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			return true
		}
	}
	return false
}

// layOut reads a backup.
func layOut(ctx context.Context, path string, fi os.FileInfo, r mdtbackup.Reader) (*mdtimage.Image, error) {
	size := int64(0)
	if !fi.IsDir() {
		size = fi.Size()
	}
	part := store.Begin(ctx, "backup", "reading "+filepath.Base(path), 0, size)
	defer part.End()
	return mdtimage.Lay(ctx, r, mdtimage.Options{Progress: part.Did})
}

// backupFault says what can be done about a backup that cannot be read.
func backupFault(path string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &fault.Error{Op: "open", Where: path, Err: errors.New("stopped while the backup was read"), Kind: fault.Cancelled}
	}
	hint := ""
	switch {
	case errors.Is(err, mdtbackup.ErrPacked):
		hint = "unpack it first; what is packed with gzip, bzip2 or zstd is read as it is"
	case errors.Is(err, mdtbackup.ErrCutOff):
		hint = "get a whole copy; what is not in the archive would be taken for lost. What there is can be extracted with tar, to look at it"
	case errors.Is(err, mdtimage.ErrNoAttributes):
		hint = "make the backup with tar --xattrs --xattrs-include='trusted.*'; of a directory these attributes can be read by root only, and tar has to extract them with the same options"
	case errors.Is(err, mdtimage.ErrNoTarget):
		hint = "give the archive that was made at the top of the target (tar -C MOUNTPOINT ... .), or the directory with ROOT and CONFIGS in it; images in a directory are given one by one, with commas: lustre:mdt0.img,mdt1.img"
	case errors.Is(err, os.ErrPermission):
		hint = "run as root, who alone may read all of a target and its attributes trusted.*"
	case errors.Is(err, mdtbackup.ErrBomb):
		hint = "look at it with tar -tv; if it is a backup all the same, unpack it and give the tar archive"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, mdtimage.ErrNoSpace):
		hint = "set TMPDIR to a directory with more room: a backup takes some 1.1 KiB for each object there while it is open"
	}
	return &fault.Error{Op: "open", Where: path, Err: pathless{err, path}, Hint: hint}
}

// pathless is an error without the path that it begins with, which the error around it tells.
type pathless struct {
	error
	path string
}

func (e pathless) Error() string { return strings.TrimPrefix(e.error.Error(), e.path+": ") }
func (e pathless) Unwrap() error { return e.error }

// isBackup tells whether something is a file-level backup of an MDT.
func isBackup(path string, fi os.FileInfo) (bool, error) {
	if !fi.IsDir() && !fi.Mode().IsRegular() {
		return false, nil
	}
	return mdtbackup.Recognize(path)
}

// backupTarget gives the target as the contract has it.
func (t *target) backupTarget() store.Target {
	out := store.Target{Name: t.name(), Path: t.path, Size: t.fs.Size()}
	if fi, err := os.Stat(t.path); err == nil && !fi.IsDir() {
		out.Size = fi.Size()
	}
	return out
}

// What is said of a backup where a repair is asked for.
const (
	backupFixed  = "it is a file-level backup, which is never changed"
	backupAdvice = "restore it to a device or an image, check that and repair it"
)

// noRepair says why a unit with a backup is not repaired; nil if it has none.
func (u *unit) noRepair() error {
	if t := u.firstBackup(); t != nil {
		return &fault.Error{Op: "repair", Where: t.path, Err: errors.New(backupFixed), Hint: backupAdvice, Kind: fault.Unrepaired}
	}
	return nil
}

// firstBackup gives the first target that is a backup, nil if none is.
func (u *unit) firstBackup() *target {
	for _, t := range u.targets {
		if t.backup != nil {
			return t
		}
	}
	return nil
}

// Fixed implements store.Fixed.
func (u *unit) Fixed() string {
	if t := u.firstBackup(); t != nil {
		return t.path + ": " + backupFixed + ": " + backupAdvice
	}
	return ""
}

// fromBackup tells whether a target is a file-level backup: its names have no FIDs, and link counts, '..' and inode numbers are made up.
func (s *shape) fromBackup(mdt int) bool { return mdt < len(s.backups) && s.backups[mdt] }

// lostIdentity tells whether an inode of a backup without an LMA had one: an object of Lustre 1.8 has none, and neither a link EA nor a place in
// a directory that was made later. One that was moved since has a link EA; but after the backup is restored nothing tells which object it was.
func (j *judge) lostIdentity(o *object) bool {
	if o.bits&(objLink|objCrashed|objLMV) != 0 {
		return true
	}
	for i := range j.texts {
		if p := j.texts[i].parent; j.texts[i].sure && !p.IsIGIF() && !p.IsRoot() {
			return true
		}
	}
	return false
}

// backupIdentity judges an object of a backup that has no LMA. It tells whether that is all that can be said of it.
func (j *judge) backupIdentity(o *object) bool {
	if len(j.names) == 0 {
		return false // in REMOTE_PARENT_DIR, where its name has the FID
	}
	if j.lostIdentity(o) {
		d := j.lostLMA(place{o.mdt, o.ino}, j.tenant(o.mdt, o.ino)).at(j, 0)
		d.Subject, d.Detail.FID = j.s.inodeText(o.mdt, o.ino), ""
		d.values("no LMA", "an LMA")
		d.Title = "the object does not say what it is"
	}
	return true
}

// ownNames leaves out the names of other inodes with the same FID: a name of a backup leads to an inode and not to a FID.
func (j *judge) ownNames(o *object) {
	if !j.s.fromBackup(o.mdt) || len(j.objects) < 2 {
		return
	}
	j.keepNames(func(i int) bool {
		n := &j.names[i]
		if n.mdt == o.mdt {
			return n.ino == o.ino
		}
		for k := range j.objects {
			if p := &j.objects[k]; p.mdt == n.mdt && p.ino == n.ino {
				return false
			}
		}
		return true
	})
}

// keepNames forgets names.
func (j *judge) keepNames(keep func(i int) bool) {
	a, f := *j.about, *j.facts
	a.facts, a.names, f.texts = &f, nil, nil
	for i := range j.names {
		if keep(i) {
			a.names, f.texts = append(a.names, j.names[i]), append(f.texts, j.texts[i])
		}
	}
	j.about = &a
}

// maxOrigins is how many paths of a backup a finding tells.
const maxOrigins = 8

// tellOrigins says which paths of backups a finding is about.
func (w *world) tellOrigins(d *draft) {
	seen := map[place]bool{}
	tell := func(mdt int, ino uint32) {
		p := place{mdt, ino}
		if ino == 0 || seen[p] || len(seen) >= maxOrigins || w.targets[mdt].backup == nil {
			return
		}
		seen[p] = true
		t := w.targets[mdt]
		if path := t.backup.Path(ino); path != "" {
			path = lustre.NameText(path)
			if d.Detail.FID == "" && d.Class == MissingLMA {
				d.Subject = t.name() + ":" + path // inode numbers are made up
			}
			d.Evidence = append(d.Evidence, finding.Evidence{Witness: "backup of " + t.name(), Says: fmt.Sprintf("inode %d is %s", ino, path)})
			d.Detail.Backup = append(d.Detail.Backup, lustre.MDTName(t.index)+":"+path)
		}
	}
	for _, r := range d.Rests {
		if mdt, ok := w.places[r.MDT]; ok {
			tell(mdt, r.Inode)
		}
	}
	if e := d.Detail.Entry; e != nil {
		if mdt, ok := w.places[e.MDT]; ok {
			tell(mdt, e.Inode)
		}
	}
}
