package ext4

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxFileExtents bounds the memory of a File: 24 bytes for each run of blocks.
const maxFileExtents = 1 << 20

// File reads the content of one inode. It may be used by several goroutines.
type File struct {
	fs      *FS
	ino     uint32
	size    int64
	extents []Extent // ascending
	inline  []byte   // content kept in the inode; used when extents is nil
}

// File gives the content of a regular file, directory or symbolic link. Holes and unwritten extents read as zero. The size is what
// the inode says, so that Size must not be used for allocation.
func (fs *FS) File(in *Inode, report Report) (*File, error) {
	f := &File{fs: fs, ino: in.Number, size: int64(min(in.Size, 1<<62))}
	switch {
	case in.IsInline():
		f.inline = append(f.inline, in.BlockField()...)
		if rest, ok := in.Xattr(XattrIndexSystem, "data"); ok {
			f.inline = append(f.inline, rest...)
		}
	case in.isFastSymlink():
		f.inline = append(f.inline, in.BlockField()...)
	default:
		many := false
		err := in.Blocks(fs, func(e Extent) bool {
			many = len(f.extents) == maxFileExtents
			f.extents = append(f.extents, e)
			return !many
		}, report)
		if err != nil {
			return nil, err
		}
		if many {
			return nil, fmt.Errorf("inode %d: more than %d: %w", in.Number, maxFileExtents, ErrExtents)
		}
		return f, nil
	}
	f.size = min(f.size, int64(len(f.inline)))
	return f, nil
}

// Size gives the length in bytes, as the inode says.
func (f *File) Size() int64 { return f.size }

// Mapped gives the end of the last block that is really there, in bytes: no content other than zeros lies behind it.
func (f *File) Mapped() int64 {
	if len(f.extents) == 0 {
		return int64(len(f.inline))
	}
	last := f.extents[len(f.extents)-1]
	return (int64(last.Logical) + int64(last.Length)) * int64(f.fs.sb.BlockSize)
}

// ReadAt is that of io.ReaderAt.
func (f *File) ReadAt(buf []byte, off int64) (int, error) {
	if off < 0 || off >= f.size {
		return 0, io.EOF
	}
	var eof error
	if int64(len(buf)) > f.size-off {
		buf, eof = buf[:f.size-off], io.EOF
	}
	if f.inline != nil {
		return copy(buf, f.inline[off:]), eof
	}
	bs := int64(f.fs.sb.BlockSize)
	i, _ := slices.BinarySearchFunc(f.extents, off/bs, func(e Extent, block int64) int {
		switch {
		case int64(e.Logical)+int64(e.Length) <= block:
			return -1
		case int64(e.Logical) > block:
			return 1
		}
		return 0
	})
	for n := 0; n < len(buf); {
		at := off + int64(n)
		rest := buf[n:]
		if i >= len(f.extents) {
			clear(rest)
			break
		}
		e := f.extents[i]
		from, to := int64(e.Logical)*bs, (int64(e.Logical)+int64(e.Length))*bs
		if at < from { // a hole
			k := min(int64(len(rest)), from-at)
			clear(rest[:k])
			n += int(k)
			continue
		}
		k := min(int64(len(rest)), to-at)
		if e.Unwritten {
			clear(rest[:k])
		} else if err := f.fs.readAt(rest[:k], int64(e.Physical)*bs+at-from); err != nil {
			return n, fmt.Errorf("inode %d at byte %d: %w", f.ino, at, err)
		}
		n += int(k)
		i++
	}
	return len(buf), eof
}

// ReadFile reads from byte off of the file with the given inode number, like io.ReaderAt.
func (fs *FS) ReadFile(ino uint32, off int64, buf []byte) (int, error) {
	in, err := fs.Inode(ino)
	if err != nil {
		return 0, err
	}
	f, err := fs.File(in, nil)
	if err != nil {
		return 0, err
	}
	return f.ReadAt(buf, off)
}

// ReadAll reads the whole content of an inode, but not more than most bytes and not past the last block that is really there.
func (fs *FS) ReadAll(in *Inode, most int64) ([]byte, error) {
	f, err := fs.File(in, nil)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, max(0, min(f.size, f.Mapped(), most, fs.size)))
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return buf[:n], nil
}
