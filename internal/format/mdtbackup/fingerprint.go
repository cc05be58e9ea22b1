package mdtbackup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// Fingerprint changes when a backup was written to. Of an archive it is made of size and time of modification. Of a directory it is a hash over what
// lstat says of everything in it: the times of change in that come from the kernel, which sets them with every change of a name, an attribute
// or a content, so that nothing has to be read. Access times are not part of it.
func Fingerprint(ctx context.Context, path string) (string, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !fi.IsDir() {
		return fmt.Sprintf("%d@%d", fi.Size(), fi.ModTime().UnixNano()), nil
	}
	r, err := openTree(path)
	if err != nil {
		return "", err
	}
	defer r.Close()
	r.bare = true
	h, n := fnv.New64a(), 0
	for ; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		m, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		s := &r.st
		io.WriteString(h, m.Path())
		for _, v := range []uint64{uint64(s.Dev), s.Ino, uint64(s.Mode), uint64(s.Nlink), uint64(s.Size), uint64(s.Ctim.Sec), uint64(s.Ctim.Nsec), uint64(s.Mtim.Sec), uint64(s.Mtim.Nsec)} {
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], v)
			h.Write(b[:])
		}
	}
	return fmt.Sprintf("tree/%d/%016x", n, h.Sum64()), nil
}
