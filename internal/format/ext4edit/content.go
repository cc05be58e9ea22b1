package ext4edit

// WriteFile overwrites bytes of a regular file, from byte off on. The file must have blocks for all of them and be long enough: nothing
// is allocated. It is for small files of fixed form, such as the space of FIDs that a target has still to give.
func (e *Edit) WriteFile(ino uint32, off int64, data []byte) error {
	return e.do(func() error {
		in, err := e.inode(ino)
		if err != nil {
			return err
		}
		if !in.IsRegular() || in.IsInline() || off < 0 || uint64(off) > in.Size || uint64(len(data)) > in.Size-uint64(off) {
			return invalid("write %d bytes at %d of inode %d with %d bytes", len(data), off, ino, in.Size)
		}
		p, err := e.places(in)
		if err != nil {
			return err
		}
		for size := int64(e.over.size); len(data) > 0; {
			at := off % size
			n := min(len(data), int(size-at))
			block, err := p.at(uint32(off / size))
			if err != nil {
				return err
			}
			buf, err := e.change(block)
			if err != nil {
				return err
			}
			copy(buf[at:], data[:n])
			if err := e.over.write(block, buf); err != nil {
				return err
			}
			off, data = off+int64(n), data[n:]
		}
		e.touch(in, true)
		return e.putInode(in)
	}, "write %d bytes at %d of inode %d", len(data), off, ino)
}
