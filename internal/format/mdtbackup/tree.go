package mdtbackup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxList is the longest list of attribute names that Linux gives, in bytes.
const maxList = 64 << 10

// treeReader walks a directory.
type treeReader struct {
	oddities
	path  string
	bare  bool // attributes are not read
	dev   uint64
	stack []level
	parts []string
	names map[inode][]string // first name of files with several
	begun bool
	now   string   // the current member as a path of the process
	at    []string // its parts
	st    unix.Stat_t
	list  []byte
}

// level is a directory that is being walked.
type level struct {
	f     *os.File
	names []string // to come, in order
}

// inode identifies a file.
type inode struct{ dev, ino uint64 }

// openTree opens a directory.
func openTree(path string) (*treeReader, error) {
	f, err := openDir(unix.AT_FDCWD, path)
	if err != nil {
		return nil, err
	}
	r := &treeReader{path: path, names: map[inode][]string{}, list: make([]byte, maxList)}
	if err := unix.Fstat(int(f.Fd()), &r.st); err != nil {
		return nil, errors.Join(fmt.Errorf("look at %s: %w", path, err), f.Close())
	}
	r.dev = uint64(r.st.Dev)
	r.stack = []level{{f: f}}
	return r, nil
}

// openDir opens a directory, which must not be a symbolic link, without changing its access time where that is permitted.
func openDir(at int, name string) (*os.File, error) {
	flags := unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NONBLOCK
	if at != unix.AT_FDCWD {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat(at, name, flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		fd, err = unix.Openat(at, name, flags, 0)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Next implements Reader.
func (r *treeReader) Next() (*Member, error) {
	if !r.begun {
		r.begun = true
		return r.first()
	}
	for len(r.stack) > 0 {
		top := &r.stack[len(r.stack)-1]
		if len(top.names) == 0 {
			top.f.Close() // it was only read
			r.stack = r.stack[:len(r.stack)-1]
			if len(r.parts) > 0 {
				r.parts = r.parts[:len(r.parts)-1]
			}
			continue
		}
		name := top.names[0]
		top.names = top.names[1:]
		m, err := r.take(int(top.f.Fd()), name)
		if m != nil || err != nil {
			return m, err
		}
	}
	return nil, io.EOF
}

// first gives the top.
func (r *treeReader) first() (*Member, error) {
	top := &r.stack[0]
	var err error
	if top.names, err = readNames(top.f); err != nil {
		return nil, r.fail(bare(err))
	}
	m := r.member(nil)
	m.Xattrs, err = r.xattrs(fdPath(int(top.f.Fd()), ""))
	if err != nil {
		return nil, r.fail(err)
	}
	return m, nil
}

func (r *treeReader) fail(err error) error {
	return r.failAt("read", r.parts, err)
}

// failAt says what could not be done with what. Names are quoted: they can hold anything.
func (r *treeReader) failAt(what string, parts []string, err error) error {
	return fmt.Errorf("%s %s/%.500q: %w", what, r.path, strings.Join(parts, "/"), err)
}

// readNames lists a directory in the order of its names.
func readNames(f *os.File) ([]string, error) {
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// take looks at one name and goes into it if it is a directory. Without a member the name was left out.
func (r *treeReader) take(dir int, name string) (*Member, error) {
	parts := append(slices.Clone(r.parts), name)
	path := strings.Join(parts, "/")
	if err := unix.Fstatat(dir, name, &r.st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, r.failAt("look at", parts, err)
	}
	m := r.member(parts)
	r.now, r.at = fdPath(dir, name), parts
	switch {
	case m.IsDir():
		if uint64(r.st.Dev) != r.dev {
			r.add(path, "another file system is mounted there")
			return nil, nil
		}
		if len(r.stack) >= maxDepth {
			r.add(path, fmt.Sprintf("more than %d directories lie in each other", maxDepth))
			return nil, nil
		}
		return m, r.enter(dir, name, m)
	case r.st.Nlink > 1:
		id := inode{uint64(r.st.Dev), r.st.Ino}
		if same, ok := r.names[id]; ok {
			m.Same = same
			return m, nil
		}
		r.names[id] = parts
	}
	if m.Mode&ModeType == ModeSymlink {
		to, err := os.Readlink(r.now)
		if err != nil {
			return nil, r.failAt("read the symbolic link", parts, bare(err))
		}
		m.Target = to
	}
	var err error
	m.Xattrs, err = r.xattrs(r.now)
	if err != nil {
		return nil, r.failAt("read attributes of", parts, err)
	}
	return m, nil
}

// bare is an error without the path of the process, which means nothing to people.
func bare(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// enter makes a directory the one that is walked next.
func (r *treeReader) enter(dir int, name string, m *Member) error {
	r.parts = m.Parts
	f, err := openDir(dir, name)
	if err != nil {
		return r.fail(errors.Unwrap(err))
	}
	r.stack = append(r.stack, level{f: f})
	top := &r.stack[len(r.stack)-1]
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Ino != r.st.Ino || st.Dev != r.st.Dev {
		return r.fail(errors.Join(err, errors.New("the directory changed while it was read")))
	}
	if top.names, err = readNames(f); err != nil {
		return r.fail(bare(err))
	}
	if m.Xattrs, err = r.xattrs(fdPath(int(f.Fd()), "")); err != nil {
		return r.fail(err)
	}
	return nil
}

// member is what the status says.
func (r *treeReader) member(parts []string) *Member {
	m := &Member{Parts: parts, Mode: uint16(r.st.Mode), UID: r.st.Uid, GID: r.st.Gid}
	if m.Mode&ModeType == ModeRegular {
		m.Size = r.st.Size
	}
	return m
}

// fdPath is a path that leads to a name in an open directory, or to that itself, whatever happens to its path meanwhile.
func fdPath(dir int, name string) string {
	p := "/proc/self/fd/" + strconv.Itoa(dir) + "/" + name
	if name == "" {
		p += "."
	}
	return p
}

// xattrs reads the attributes trusted.* of what a path leads to.
func (r *treeReader) xattrs(path string) ([]Xattr, error) {
	if r.bare {
		return nil, nil
	}
	n, err := unix.Llistxattr(path, r.list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Xattr
	for name := range strings.SplitSeq(string(r.list[:n]), "\x00") {
		short, ok := strings.CutPrefix(name, "trusted.")
		if !ok || short == "" {
			continue
		}
		b := make([]byte, 512)
		n, err := unix.Lgetxattr(path, name, b)
		if errors.Is(err, unix.ERANGE) {
			b = make([]byte, maxList)
			n, err = unix.Lgetxattr(path, name, b)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, Xattr{short, b[:n:n]})
	}
	slices.SortFunc(out, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Content implements Reader.
func (r *treeReader) Content(most int64) ([]byte, error) {
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	fd, err := unix.Open(r.now, flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		fd, err = unix.Open(r.now, flags, 0)
	}
	if err != nil {
		return nil, r.failAt("read", r.at, err)
	}
	f := os.NewFile(uintptr(fd), r.now)
	defer f.Close()
	// A FIFO or a device that took the name meanwhile is not read: that could last for ever.
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Ino != r.st.Ino || st.Dev != r.st.Dev || st.Mode != r.st.Mode {
		return nil, r.failAt("read", r.at, errors.Join(err, errors.New("the file was replaced while the directory was read")))
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, r.failAt("read", r.at, bare(err))
	}
	return b, nil
}

// Done implements Reader.
func (r *treeReader) Done() int64 { return 0 }

// Stop implements Reader: of a directory nothing takes long.
func (r *treeReader) Stop() {}

// Close implements Reader.
func (r *treeReader) Close() error {
	var errs []error
	for _, l := range r.stack {
		errs = append(errs, l.f.Close())
	}
	r.stack = nil
	return errors.Join(errs...)
}

// recognizeTree tells whether a directory looks like the top of a target: it has its configuration, and a part of the namespace.
func recognizeTree(path string) (bool, error) {
	has := func(name string) bool {
		_, err := os.Lstat(path + "/" + name)
		return err == nil
	}
	return has("CONFIGS/mountdata") && (has("ROOT") || has("REMOTE_PARENT_DIR")), nil
}
