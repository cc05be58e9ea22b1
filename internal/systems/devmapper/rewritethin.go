package devmapper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"fettle/internal/fault"
	"fettle/internal/format/boltedit"
	"fettle/internal/format/quietfile"
	"fettle/internal/format/thinbuild"
	"fettle/internal/format/thinmeta"
)

// RewriteThin writes the thin metadata at from (raw or XML, a file or a device) anew into the file to, which must not exist, and
// checks the result. from is only read, and must not be in use. After an error there is no file to.
func RewriteThin(ctx context.Context, from, to string, e thinbuild.Edits) (*thinbuild.Comparison, error) {
	who, err := thinInUse(from)
	if err != nil {
		return nil, &fault.Error{Op: "read", Where: from, Err: err}
	}
	if who != "" {
		return nil, &fault.Error{Op: "read", Where: from, Err: fmt.Errorf("it is in use: %s", who),
			Hint: "metadata that changes while it is read is no metadata: stop containerd, deactivate the pool, or take a copy through a metadata snapshot"}
	}
	k, err := kindOf(from)
	if err != nil {
		return nil, err
	}
	var c *thinbuild.Comparison
	switch k {
	case kindXML:
		c, err = anewFromXML(ctx, from, to, e)
	case kindMeta, kindStore, kindPool:
		return nil, fault.NewUsage(fmt.Errorf("%s is a %s, not thin metadata", from, k), "FROM is the metadata device of the pool, a copy of it, or XML of thin_dump")
	default: // past recognition, or raw
		c, err = anewFromRaw(ctx, from, to, e)
	}
	if err != nil {
		return nil, err
	}
	if err := checkNew(ctx, to); err != nil {
		return nil, errors.Join(err, os.Remove(to))
	}
	return c, nil
}

func anewFromRaw(ctx context.Context, from, to string, e thinbuild.Edits) (*thinbuild.Comparison, error) {
	f, err := thinmeta.Open(from)
	if err != nil {
		return nil, &fault.Error{Op: "open", Where: from, Err: err}
	}
	defer f.Close()
	c, err := thinbuild.Rewrite(ctx, f, to, e)
	if err != nil {
		return nil, &fault.Error{Op: "rewrite", Where: from, Err: err}
	}
	return c, nil
}

func anewFromXML(ctx context.Context, from, to string, e thinbuild.Edits) (*thinbuild.Comparison, error) {
	in, _, err := quietfile.Open(from, 0)
	if err != nil {
		return nil, &fault.Error{Op: "open", Where: from, Err: errors.Unwrap(err)}
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return nil, &fault.Error{Op: "open", Where: from, Err: err}
	}
	d, err := thinmeta.ReadXML(in, fi.Size()+1)
	if err != nil {
		return nil, &fault.Error{Op: "read", Where: from, Err: err, Hint: "XML that ends early is not taken: what is missing is not known"}
	}
	if e.MetadataBlocks == 0 {
		e.MetadataBlocks = roomFor(d.Report())
	}
	c, err := thinbuild.FromDump(ctx, d, to, e)
	if err != nil {
		return nil, &fault.Error{Op: "rewrite", Where: from, Err: err}
	}
	return c, nil
}

// roomFor is a size of metadata, in blocks, that surely has room for a dump: leaves a third full, and as much again for all else. It is a
// multiple of 4 MiB, as LVM likes it, and not more than the format allows.
func roomFor(r *thinmeta.Report) uint64 {
	blocks := uint64(2048)
	for i := range r.Devices {
		blocks += 2 + r.Devices[i].Mapped/40
	}
	blocks = (blocks + 1023) / 1024 * 1024
	return min(blocks, thinmeta.MaxBitmaps*thinmeta.BitsPerBitmap)
}

// checkNew makes sure that what was written is in order.
func checkNew(ctx context.Context, path string) error {
	f, err := thinmeta.Open(path)
	if err != nil {
		return &fault.Error{Op: "check the new metadata", Where: path, Err: err}
	}
	defer f.Close()
	r, err := f.Check(ctx, thinmeta.CheckOptions{})
	if err != nil {
		return &fault.Error{Op: "check the new metadata", Where: path, Err: err}
	}
	for _, p := range r.Problems {
		switch p.Kind {
		case thinmeta.NeedsCheck, thinmeta.TransactionID, thinmeta.TimeWrong, thinmeta.OutOfDataSpace, thinmeta.OutOfMetadataSpace:
			continue // they were so before
		}
		return &fault.Error{Op: "check the new metadata", Where: path, Err: fmt.Errorf("%s", p.Text), Hint: "this is a fault of fettle; please report it"}
	}
	return nil
}

// thinInUse says who uses a file or device with thin metadata, "" if nobody can be seen to: somebody who has locked it, a loop device
// over it, or the kernel (a device that device-mapper or a file system holds).
func thinInUse(path string) (string, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return "", errors.Unwrap(err)
	}
	if fi.Mode()&os.ModeDevice != 0 {
		return deviceHeld(fi)
	}
	if !fi.Mode().IsRegular() {
		return "", fmt.Errorf("it is a %s, not a file or a block device", fi.Mode().Type())
	}
	who, err := boltedit.InUse(path)
	if who != "" || err != nil {
		return who, err
	}
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return "", err
	}
	for _, b := range backing {
		text, err := os.ReadFile(b)
		if err != nil {
			continue // it was detached meanwhile
		}
		if at, err := os.Stat(strings.TrimSuffix(string(text), "\n")); err == nil && os.SameFile(at, fi) {
			return "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(b))) + " (a loop device over it)", nil
		}
	}
	return "", nil
}

// deviceHeld asks the kernel who holds a block device. The thin metadata of an active pool is held by the pool.
func deviceHeld(fi os.FileInfo) (string, error) {
	if fi.Mode()&os.ModeCharDevice != 0 {
		return "", errors.New("it is a character device")
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return "", nil // not a kernel that tells
	}
	dev := uint64(st.Rdev)
	holders, err := os.ReadDir(fmt.Sprintf("/sys/dev/block/%d:%d/holders", unix.Major(dev), unix.Minor(dev)))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil // a container may not see /sys
	}
	if err != nil {
		return "", err
	}
	if len(holders) == 0 {
		return "", nil
	}
	return "device " + holders[0].Name(), nil
}
