package mdtbackup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotBackup is for what is neither a directory nor an archive that can be read.
	ErrNotBackup = errors.New("neither a tar archive nor a directory")
	// ErrCutOff is for an archive that ends before its end mark.
	ErrCutOff = errors.New("the archive ends early")
	// ErrBomb is for a compressed archive that unpacks to more members than any backup could be packed into so few bytes.
	ErrBomb = errors.New("it unpacks to more than any backup does")
	// ErrPacked is for a compression that cannot be read.
	ErrPacked = errors.New("compressed in a way that cannot be read here")
)

// Bits of Member.Mode, as in st_mode.
const (
	ModeType      = 0xf000
	ModeSocket    = 0xc000
	ModeSymlink   = 0xa000
	ModeRegular   = 0x8000
	ModeBlock     = 0x6000
	ModeDirectory = 0x4000
	ModeChar      = 0x2000
	ModeFIFO      = 0x1000
)

// maxName is the longest name of a directory entry, in bytes.
const maxName = 255

// maxDepth is how deep directories may lie in each other. Of a tree a directory is open for each level; a member of an archive could
// make half a million directories with one name otherwise.
const maxDepth = 4000

// Xattr is an attribute. Its name is without the prefix "trusted.".
type Xattr struct {
	Name  string
	Value []byte
}

// Member is one name in a backup. The reader does not use its memory again.
type Member struct {
	// Parts are the names from the top of the target down; there are none for the top itself. None is empty, "." or "..", or longer than 255 bytes.
	Parts []string
	Mode  uint16 // type and permissions, as in st_mode
	UID   uint32
	GID   uint32
	Size  int64
	// Target is where a symbolic link leads.
	Target string
	// Same is, for a further name of a file that has several, another name of it; that may come later, or not at all.
	Same []string
	// Xattrs are the attributes trusted.*, by name. A further name has none.
	Xattrs []Xattr
}

// Path is the member's path as the archive has it, without "./".
func (m *Member) Path() string {
	if len(m.Parts) == 0 {
		return "."
	}
	return strings.Join(m.Parts, "/")
}

// IsDir tells whether the member is a directory.
func (m *Member) IsDir() bool { return m.Mode&ModeType == ModeDirectory }

// Reader hands out the members of a backup. It is not safe for concurrent use.
type Reader interface {
	// Next gives the next member, io.EOF after the last one. After another error nothing more can be read.
	Next() (*Member, error)
	// Content reads up to so many bytes of the regular file that Next gave last.
	Content(most int64) ([]byte, error)
	// Done tells how many bytes of the archive were read; 0 for a directory.
	Done() int64
	// Odd tells how many members were left out, and why the first one was.
	Odd() (n int64, first string)
	// Stop lets a Next or Content that is running fail soon, however much it has to skip. Any goroutine may call it, and the reader is of no use afterwards.
	Stop()
	Close() error
}

// Open opens a backup for reading.
func Open(path string) (Reader, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return openTree(path)
	}
	return openTar(path)
}

// split takes a path apart. why says that it leads out of the top, has a name that no directory can hold, or is too deep; slashes at the
// begin are ignored, as by tar.
func split(path string) (parts []string, why string) {
	for part := range strings.SplitSeq(path, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			return nil, "it leads out of its directory"
		case len(part) > maxName:
			return nil, fmt.Sprintf("a name of %d bytes", len(part))
		case strings.IndexByte(part, 0) >= 0:
			return nil, "a name with a zero byte"
		}
		if len(parts) == maxDepth {
			return nil, fmt.Sprintf("more than %d directories lie in each other", maxDepth)
		}
		parts = append(parts, part)
	}
	return parts, ""
}

// oddities counts members that are left out.
type oddities struct {
	n     int64
	first string
}

func (o *oddities) add(path, why string) {
	if o.n++; o.n == 1 {
		o.first = fmt.Sprintf("%.200q: %s", path, why)
	}
}

// Odd implements Reader.
func (o *oddities) Odd() (int64, string) { return o.n, o.first }

// topName tells whether a target has such a name at its top, and other archives and directories have not.
func topName(name string) bool {
	switch name {
	case "ROOT", "CONFIGS", "REMOTE_PARENT_DIR", "PENDING", "last_rcvd", "fld", "seq_ctl", "seq_srv", "LFSCK", "NIDTBL_VERSIONS", "update_log_dir":
		return true
	}
	return strings.HasPrefix(name, "oi.16")
}

// recognizeMembers is how many members Recognize looks at.
const recognizeMembers = 2000

// Recognize tells whether something is a backup of a metadata target: one of its first members has an attribute trusted.lma, and one is a
// file that targets have. Of a directory its names are enough, because the attributes are for root only. It reads little.
func Recognize(path string) (bool, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	if fi.IsDir() {
		return recognizeTree(path)
	}
	r, err := openTar(path)
	if errors.Is(err, ErrNotBackup) || errors.Is(err, ErrPacked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer r.Close()
	lma, top := false, false
	for range recognizeMembers {
		m, err := r.Next()
		if err != nil {
			return false, nil // what it is cannot be told, which is no error of the question
		}
		top = top || len(m.Parts) > 0 && topName(m.Parts[0])
		for _, x := range m.Xattrs {
			lma = lma || x.Name == "lma"
		}
		if lma && top {
			return true, nil
		}
		if r.Done() > 64<<20 {
			break
		}
	}
	return false, nil
}

// notEOF makes an end in the middle of something an error of its own.
func notEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
