package ext4edit

import (
	"bytes"
	"errors"
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4quota"
)

// QuotaUsage is what a quota file says that one id has.
type QuotaUsage = ext4quota.Usage

// quotaFile is an open quota file.
type quotaFile struct {
	*ext4quota.File
	ino uint32
	at  *place
}

// QuotaInode gives the inode of a quota file, 0 when the file system does not keep it.
func (e *Edit) QuotaInode(kind ext4quota.Kind) uint32 {
	if e.sb.ROCompat&ext4.ROCompatQuota == 0 {
		return 0
	}
	switch kind {
	case ext4quota.User:
		return e.sb.UserQuotaInum
	case ext4quota.Group:
		return e.sb.GroupQuotaInum
	case ext4quota.Project:
		if e.sb.InodeSize > ext4.InodeGoodOldSize {
			return e.sb.ProjectQuotaInum
		}
	}
	return 0
}

// quotaFile reads a quota file and checks it as a whole.
func (e *Edit) quotaFile(kind ext4quota.Kind) (*quotaFile, error) {
	if f := e.quotas[kind]; f != nil {
		return f, nil
	}
	ino := e.QuotaInode(kind)
	if ino == 0 {
		return nil, fmt.Errorf("the %s quota file: %w", kind, ErrAbsent)
	}
	in, err := e.view.Inode(ino)
	if err != nil {
		return nil, err
	}
	var f first
	if !e.view.VerifyInode(in, f.report) {
		return nil, f.err
	}
	if !in.IsRegular() || in.IsInline() || in.Size > ext4quota.MaxSize {
		return nil, damaged("the %s quota file, inode %d, is no regular file, or has %d bytes", kind, ino, in.Size)
	}
	p, err := e.places(in)
	if err != nil {
		return nil, err
	}
	data, err := e.view.ReadAll(in, ext4quota.MaxSize)
	if err != nil {
		return nil, err
	}
	q, err := ext4quota.Decode(kind, data)
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w: %w", ino, err, ErrDamaged)
	}
	e.quotas[kind] = &quotaFile{q, ino, p}
	return e.quotas[kind], nil
}

// QuotaUsage reads the usage of an id. ok is false when it has no entry. Limits are not touched by anything here.
func (e *Edit) QuotaUsage(kind ext4quota.Kind, id uint32) (u QuotaUsage, ok bool, err error) {
	f, err := e.quotaFile(kind)
	if err != nil {
		return u, false, err
	}
	u, ok = f.Get(id)
	return u, ok, nil
}

// QuotaIDs lists the ids that a quota file has, ascending.
func (e *Edit) QuotaIDs(kind ext4quota.Kind) ([]uint32, error) {
	f, err := e.quotaFile(kind)
	if err != nil {
		return nil, err
	}
	return f.IDs(), nil
}

// SetQuotaUsage sets the usage of an id, which gets an entry if it has none and the blocks of the file have room for one: ErrNoSpace if
// they have not. ErrDamaged when the file is not sound as a whole.
func (e *Edit) SetQuotaUsage(kind ext4quota.Kind, id uint32, u QuotaUsage) error {
	return e.do(func() error {
		f, err := e.quotaFile(kind)
		if err != nil {
			return err
		}
		e.takes = append(e.takes, func() { e.quotas[kind] = nil })
		if from, to, ok := f.At(id); ok {
			f.Set(id, u)
			size := e.over.size // an entry may lie in two blocks, where these are small
			return e.putQuota(f, from/size*size, min((to+size-1)/size*size, len(f.Data())), nil)
		}
		was := bytes.Clone(f.Data())
		switch err := f.Insert(id, u, int(f.at.blocks)*e.over.size); {
		case errors.Is(err, ext4quota.ErrFull):
			return errors.Join(ErrNoSpace, err)
		case err != nil:
			return fmt.Errorf("%w: %w", err, ErrDamaged)
		}
		return e.putQuota(f, 0, len(f.Data()), was)
	}, "set the %s quota usage of %d", kind, id)
}

// putQuota writes a part of the file, from the begin of a block on, as far as it differs from what was.
func (e *Edit) putQuota(f *quotaFile, from, to int, was []byte) error {
	now := f.Data()
	size := e.over.size
	for at := from; at < to; at += size {
		part := now[at:min(at+size, to)]
		if at+len(part) <= len(was) && bytes.Equal(part, was[at:at+len(part)]) {
			continue
		}
		block, err := f.at.at(uint32(at / size))
		if err != nil {
			return err
		}
		buf, err := e.change(block)
		if err != nil {
			return err
		}
		copy(buf, part)
		if err := e.over.write(block, buf); err != nil {
			return err
		}
	}
	in, err := e.view.Inode(f.ino)
	if err != nil || uint64(len(now)) <= in.Size {
		return err
	}
	le.PutUint32(in.Raw[ext4.InodeSizeLo:], uint32(len(now)))
	le.PutUint32(in.Raw[ext4.InodeSizeHi:], 0)
	return e.putInode(in)
}
