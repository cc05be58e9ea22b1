package mdtimage

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"fettle/internal/format/ext4"
)

// origins knows the path that an inode stands for: of each inode its directory and its first name, in a file, and where that is, in another one.
type origins struct {
	places *os.File // 8 bytes per inode number: 1 + the offset in names; 0 for none
	names  *os.File // directory u32, length u8, name
	pw, nw *bufio.Writer
	next   uint32 // inode number whose place is written next
	size   int64  // of names
}

func newOrigins(dir string) (*origins, error) {
	places, err := tempFile(dir)
	if err != nil {
		return nil, err
	}
	names, err := tempFile(dir)
	if err != nil {
		places.Close()
		return nil, err
	}
	return &origins{places: places, names: names, pw: bufio.NewWriterSize(places, 1<<16), nw: bufio.NewWriterSize(names, 1<<16)}, nil
}

// put takes note of an inode. Numbers ascend.
func (o *origins) put(ino, dir uint32, name string) error {
	var b [8]byte
	for ; o.next < ino; o.next++ {
		o.pw.Write(b[:]) // the error comes with the next write
	}
	binary.LittleEndian.PutUint64(b[:], uint64(o.size)+1)
	o.next++
	if _, err := o.pw.Write(b[:]); err != nil {
		return fmt.Errorf("lay out a backup: %w", err)
	}
	head := append(binary.LittleEndian.AppendUint32(nil, dir), byte(len(name)))
	o.nw.Write(head)
	if _, err := o.nw.WriteString(name); err != nil {
		return fmt.Errorf("lay out a backup: %w", err)
	}
	o.size += int64(len(head) + len(name))
	return nil
}

func (o *origins) flush() error {
	if err := o.pw.Flush(); err != nil {
		return fmt.Errorf("lay out a backup: %w", err)
	}
	if err := o.nw.Flush(); err != nil {
		return fmt.Errorf("lay out a backup: %w", err)
	}
	return nil
}

// maxClimb bounds how many directories a path has.
const maxClimb = 10000

// path gives the path in the backup, "" if the inode stands for nothing in it.
func (o *origins) path(ino uint32) string {
	if ino == ext4.InoRoot {
		return "."
	}
	var parts []string
	for ino != ext4.InoRoot && len(parts) < maxClimb {
		dir, name, ok := o.at(ino)
		if !ok {
			return ""
		}
		parts, ino = append(parts, name), dir
	}
	if ino != ext4.InoRoot {
		parts = append(parts, "...")
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// name gives the path of a name in a directory. It may be called before all is written, and is the bare name then.
func (o *origins) name(dir uint32, name string) string {
	if err := o.flush(); err != nil {
		return name
	}
	if head := o.path(dir); head != "" && head != "." {
		return head + "/" + name
	}
	return name
}

// at gives directory and name of an inode.
func (o *origins) at(ino uint32) (dir uint32, name string, ok bool) {
	var b [8]byte
	if _, err := o.places.ReadAt(b[:], int64(ino)*8); err != nil {
		return 0, "", false
	}
	at := int64(binary.LittleEndian.Uint64(b[:])) - 1
	if at < 0 {
		return 0, "", false
	}
	head := make([]byte, 5+255)
	n, err := o.names.ReadAt(head, at)
	if err != nil && err != io.EOF || n < 5 || n < 5+int(head[4]) {
		return 0, "", false
	}
	return binary.LittleEndian.Uint32(head), string(head[5 : 5+int(head[4])]), true
}

func (o *origins) close() error {
	err := o.places.Close()
	if e := o.names.Close(); err == nil {
		err = e
	}
	return err
}
