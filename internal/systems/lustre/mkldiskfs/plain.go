package mkldiskfs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"fettle/internal/format/ext4"
)

// Plain turns a copy of an image into an ext4 file system without dirdata, so that an e2fsck that does not know the feature can
// check all the rest: the flags of records behind names go, hash tree roots move to where they are expected, checksums follow.
// The FIDs stay behind the names as bytes that mean nothing. It is for tests; never use it on anything but a copy.
func Plain(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("make a plain ext4 of a copy: %w", err)
	}
	defer f.Close()
	fs, err := ext4.Open(path)
	if err != nil {
		return fmt.Errorf("make a plain ext4 of a copy: %w", err)
	}
	defer fs.Close()
	ignore := func(ext4.Problem) {}
	err = fs.SweepInodes(ctx, ext4.SweepOptions{Report: ignore}, func(in *ext4.Inode) error {
		if !in.IsDir() {
			return nil
		}
		var failed error
		err := fs.DirBlocks(in, func(b ext4.DirBlock) bool {
			failed = plainBlock(f, fs, in, b)
			return failed == nil
		}, ignore)
		return errors.Join(err, failed)
	})
	if err != nil {
		return fmt.Errorf("make a plain ext4 of a copy: %w", err)
	}
	raw := make([]byte, ext4.SuperSize)
	if _, err := f.ReadAt(raw, ext4.SuperOffset); err != nil {
		return fmt.Errorf("make a plain ext4 of a copy: %w", err)
	}
	le.PutUint32(raw[ext4.SBFeatureIncompat:], le.Uint32(raw[ext4.SBFeatureIncompat:])&^ext4.IncompatDirdata)
	fs.Sums().PutSuper(raw)
	if _, err := f.WriteAt(raw, ext4.SuperOffset); err != nil {
		return fmt.Errorf("make a plain ext4 of a copy: %w", err)
	}
	return nil
}

// plainBlock rewrites one block of a directory.
func plainBlock(f *os.File, fs *ext4.FS, in *ext4.Inode, b ext4.DirBlock) error {
	size := int(fs.Super().BlockSize)
	buf := make([]byte, size)
	if err := fs.ReadBlock(b.Physical, buf); err != nil {
		return err
	}
	indexed := in.Flags&ext4.FlagIndex != 0
	if indexed && b.Logical == 0 {
		if err := plainRoot(fs, in, buf); err != nil {
			return err
		}
	} else if indexed && le.Uint32(buf) == 0 && le.Uint16(buf[ext4.DirentRecLen:]) == ext4.EncodeRecLen(size, size) {
		return nil // an inner node holds no names
	} else {
		for at := 0; at+ext4.DirentHeader <= size; {
			n := int(le.Uint16(buf[at+ext4.DirentRecLen:]))
			if buf[at+ext4.DirentType] != ext4.DirTailType {
				buf[at+ext4.DirentType] &= ext4.DirTypeMask
			}
			if n < ext4.DirentHeader {
				break
			}
			at += n
		}
		if fs.Sums().Metadata {
			le.PutUint32(buf[size-4:], fs.Sums().DirLeaf(in.Number, in.Generation, buf))
		}
	}
	_, err := f.WriteAt(buf, int64(b.Physical)*int64(size))
	return err
}

// plainRoot moves what follows '..' in the root of a hash tree up to where it is without a FID.
func plainRoot(fs *ext4.FS, in *ext4.Inode, buf []byte) error {
	root, err := fs.DxRoot(buf)
	if err != nil {
		return fmt.Errorf("directory %d: %w", in.Number, err)
	}
	const plainInfo = 24
	copy(buf[plainInfo:], buf[root.InfoAt:])
	moved := root.InfoAt - plainInfo
	clear(buf[len(buf)-moved:])
	buf[12+ext4.DirentType] &= ext4.DirTypeMask
	countAt := root.CountAt - moved
	limit := root.Limit + moved/ext4.DxEntrySize
	le.PutUint16(buf[countAt:], uint16(limit))
	if fs.Sums().Metadata {
		clear(buf[countAt+root.Limit*ext4.DxEntrySize:])
		at, sum, ok := fs.Sums().DirNode(in.Number, in.Generation, buf, countAt)
		if !ok {
			return fmt.Errorf("directory %d: no room for the checksum of its hash tree", in.Number)
		}
		le.PutUint32(buf[at:], sum)
	}
	return nil
}
