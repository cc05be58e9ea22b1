package mdtimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"fettle/internal/format/ext4"
	"fettle/internal/format/mdtbackup"
	"fettle/internal/systems/lustre/mkldiskfs"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNoAttributes is for a backup in which nothing has the attribute trusted.lma.
	ErrNoAttributes = errors.New("nothing in the backup has the attribute trusted.lma")
	// ErrNoTarget is for a backup whose top does not look like that of a metadata target.
	ErrNoTarget = errors.New("the backup has neither ROOT nor REMOTE_PARENT_DIR nor CONFIGS at its top")
)

// Tops are names of which the top of a metadata target has one at least.
var Tops = []string{"ROOT", "REMOTE_PARENT_DIR", "CONFIGS"}

// Options say how to lay a backup out.
type Options struct {
	// Dir is where temporary files lie; "" means $TMPDIR.
	Dir string
	// Progress is told now and then how many members and bytes of the archive were read since the last time; nil for nobody.
	Progress func(members, bytes int64)

	free func() (free, size int64, err error) // for tests: the space where the image lies
}

const (
	inodeSize = 1024 // room for the attributes of nearly all objects
	perGroup  = 8192 // inodes: their table is held in memory
	maxValue  = 64 << 10
	maxXattrs = 64
)

// What is kept of the contents of a target's own files. Those of users are not looked at.
const (
	maxContent = 1 << 20   // of one file
	maxTable   = 64 << 20  // of the file fld, the table of who owns which FIDs
	maxTotal   = 256 << 20 // of all
)

// maxAhead bounds what is remembered of hard links to names whose directories have not come yet, in bytes. tar writes none; those above it lead to nothing.
const maxAhead = 64 << 20

// Image is a backup that is laid out.
type Image struct {
	f       *os.File
	size    int64
	origins *origins
	notes   []string
}

// ReadAt implements io.ReaderAt.
func (im *Image) ReadAt(p []byte, off int64) (int, error) { return im.f.ReadAt(p, off) }

// Size is that of the image in bytes.
func (im *Image) Size() int64 { return im.size }

// Path is the path in the backup that an inode stands for; of a file with several names the first one. It is "." for the top, "" for an inode
// that stands for nothing.
func (im *Image) Path(ino uint32) string { return im.origins.path(ino) }

// Notes say what of the backup could not be laid out.
func (im *Image) Notes() []string { return im.notes }

// Close gives the temporary files back.
func (im *Image) Close() error { return errors.Join(im.f.Close(), im.origins.close()) }

// dirKey is a name in a directory.
type dirKey struct {
	dir  uint32
	name string
}

// further is a further name of a file that has several.
type further struct {
	of   dirKey
	path string // of the other name, if its directory has not come yet
}

// dirNode is a directory with the one that it is in.
type dirNode struct{ ino, up uint32 }

// layer lays one backup out.
type layer struct {
	r       mdtbackup.Reader
	opt     Options
	img     *mkldiskfs.Image
	out     *Image
	names   *nameSorter
	dirs    map[dirKey]uint32
	nodes   []dirNode // ascending by ino
	links   []further
	ahead   int      // bytes of paths in links
	near    []string // parts of the directory that was met last
	nearIno uint32

	content  int64 // bytes that were kept
	lma, top bool
	clashes  tally // names of a directory and of something else
	space    space // of the place where the image lies
	cut      tally // attributes that were left out or cut off
	lost     tally // hard links to nothing
}

// tally counts something and keeps the first.
type tally struct {
	n     int64
	first string
}

func (t *tally) add(first string) {
	if t.n++; t.n == 1 {
		t.first = first
	}
}

// Lay lays a backup out. The reader is read to its end, and not closed.
func Lay(ctx context.Context, r mdtbackup.Reader, opt Options) (_ *Image, err error) {
	l := &layer{r: r, opt: opt, out: &Image{}, names: newNameSorter(opt.Dir), dirs: map[dirKey]uint32{}}
	defer func() { err = errors.Join(err, l.names.close()) }()
	if l.out.f, err = tempFile(opt.Dir); err != nil {
		return nil, err
	}
	l.space.left = func() (free, size int64, err error) { return freeAt(l.out.f) }
	if opt.free != nil {
		l.space.left = opt.free
	}
	if l.out.origins, err = newOrigins(opt.Dir); err != nil {
		return nil, errors.Join(err, l.out.f.Close())
	}
	if err := l.lay(ctx); err != nil {
		return nil, errors.Join(err, l.out.Close())
	}
	return l.out, nil
}

func (l *layer) lay(ctx context.Context) (err error) {
	opt := mkldiskfs.Options{Inodes: 1, InodeSize: inodeSize, InodesPerGroup: perGroup, Extents: true, EAInode: true, Linear: true, NoDirdata: true, Grow: true}
	if l.img, err = mkldiskfs.CreateIn(l.out.f, opt); err != nil {
		return err
	}
	l.img.UseRoot()
	if err := l.directory(ext4.InoRoot, &mdtbackup.Member{Mode: mdtbackup.ModeDirectory | 0o755}); err != nil {
		return err
	}
	l.nodes = append(l.nodes, dirNode{ext4.InoRoot, ext4.InoRoot})
	if err := l.members(ctx); err != nil {
		return err
	}
	switch {
	case !l.top:
		return ErrNoTarget
	case !l.lma:
		return ErrNoAttributes
	}
	if err := l.finish(ctx); err != nil {
		return err
	}
	if err := errors.Join(l.img.Finish(), l.out.origins.flush()); err != nil {
		return err
	}
	l.note()
	l.out.size, err = l.out.f.Seek(0, io.SeekEnd)
	return err
}

// members takes all members.
func (l *layer) members(ctx context.Context) error {
	defer context.AfterFunc(ctx, l.r.Stop)()
	done := int64(0)
	for n := int64(1); ; n++ {
		m, err := l.r.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			if err = l.take(m); err != nil {
				err = fmt.Errorf("lay out %.500q: %w", m.Path(), err)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if n%512 != 0 {
			continue
		}
		if l.opt.Progress != nil {
			at := l.r.Done()
			l.opt.Progress(512, at-done)
			done = at
		}
	}
}

// take takes one member.
func (l *layer) take(m *mdtbackup.Member) error {
	takes := int64(inodeSize + 64)
	for _, x := range m.Xattrs {
		l.lma = l.lma || x.Name == "lma"
		takes += int64(len(x.Value))
	}
	if err := l.space.take(takes); err != nil {
		return err
	}
	last := len(m.Parts) - 1
	if last < 0 {
		return l.directory(ext4.InoRoot, m)
	}
	if last == 0 {
		l.top = l.top || slices.Contains(Tops, m.Parts[0])
	}
	up, err := l.dirOf(m.Parts[:last])
	if err != nil {
		return err
	}
	name := m.Parts[last]
	if m.IsDir() {
		ino, err := l.dir(up, name)
		if err != nil {
			return err
		}
		return l.directory(ino, m)
	}
	if _, clash := l.dirs[dirKey{up, name}]; clash {
		l.clashes.add(m.Path())
		return nil
	}
	if m.Same != nil {
		if slices.Equal(m.Same, m.Parts) {
			return nil // a name is what it is
		}
		link := further{}
		if key, ok := l.lookup(m.Same); ok {
			link.of = dirKey{key.dir, strings.Clone(key.name)}
		} else if path := strings.Join(m.Same, "/"); l.ahead+len(path) <= maxAhead {
			link.path, l.ahead = path, l.ahead+len(path)
		}
		l.links = append(l.links, link)
		return l.names.add(record{dir: up, name: name, ino: uint32(len(l.links) - 1), typ: typeLink})
	}
	return l.file(up, name, m)
}

// dirOf gives the inode of a directory; what has not come yet is made up.
func (l *layer) dirOf(parts []string) (uint32, error) {
	if l.near != nil && slices.Equal(parts, l.near) {
		return l.nearIno, nil
	}
	ino := uint32(ext4.InoRoot)
	for _, p := range parts {
		next, err := l.dir(ino, p)
		if err != nil {
			return 0, err
		}
		ino = next
	}
	l.near, l.nearIno = parts, ino
	return ino, nil
}

// lookup gives the place of a path, if its directory is there.
func (l *layer) lookup(parts []string) (dirKey, bool) {
	dir, ok := uint32(ext4.InoRoot), true
	for _, p := range parts[:len(parts)-1] {
		if dir, ok = l.dirs[dirKey{dir, p}]; !ok {
			return dirKey{}, false
		}
	}
	return dirKey{dir, parts[len(parts)-1]}, true
}

// dir gives the inode of a directory by its name, a new one if there is none.
func (l *layer) dir(up uint32, name string) (uint32, error) {
	if ino, ok := l.dirs[dirKey{up, name}]; ok {
		return ino, nil
	}
	ino, err := l.inode(up, name, true)
	if err != nil {
		return 0, err
	}
	l.dirs[dirKey{up, strings.Clone(name)}] = ino
	l.nodes = append(l.nodes, dirNode{ino, up})
	if up == ext4.InoRoot {
		l.top = l.top || slices.Contains(Tops, name)
	}
	if err := l.directory(ino, &mdtbackup.Member{Mode: mdtbackup.ModeDirectory | 0o755}); err != nil {
		return 0, err
	}
	return ino, l.names.add(record{dir: up, name: name, ino: ino, typ: ext4.TypeDir})
}

// inode takes a new inode for a name.
func (l *layer) inode(up uint32, name string, dir bool) (uint32, error) {
	ino, err := l.img.AllocInode(dir)
	if err != nil {
		return 0, err
	}
	return ino, l.out.origins.put(ino, up, name)
}

// directory writes the inode of a directory; what is in it follows at the end.
func (l *layer) directory(ino uint32, m *mdtbackup.Member) error {
	return l.img.PutInode(ino, &mkldiskfs.Inode{Mode: m.Mode, Links: 2, Generation: l.img.Generation(ino), UID: m.UID, GID: m.GID, Xattrs: l.xattrs(m)})
}

// file writes anything but a directory.
func (l *layer) file(up uint32, name string, m *mdtbackup.Member) error {
	ino, err := l.inode(up, name, false)
	if err != nil {
		return err
	}
	in := &mkldiskfs.Inode{Mode: m.Mode, Links: 1, Generation: l.img.Generation(ino), UID: m.UID, GID: m.GID, Xattrs: l.xattrs(m)}
	if in.Map, err = l.body(ino, in.Generation, m); err != nil {
		return err
	}
	if err := l.img.PutInode(ino, in); err != nil {
		return err
	}
	return l.names.add(record{dir: up, name: name, ino: ino, typ: direntType(m.Mode)})
}

// body writes what is kept of a content.
func (l *layer) body(ino, gen uint32, m *mdtbackup.Member) (mkldiskfs.Map, error) {
	switch m.Mode & mdtbackup.ModeType {
	case mdtbackup.ModeRegular:
		if m.Size > 0 && m.Size <= l.room(m) {
			b, err := l.r.Content(m.Size)
			if err != nil {
				return mkldiskfs.Map{}, err
			}
			l.content += int64(len(b))
			return l.img.PutFile(ino, gen, b)
		}
		return l.img.MapRuns(ino, gen, nil, uint64(max(m.Size, 0)))
	case mdtbackup.ModeSymlink:
		if len(m.Target) < 60 {
			return mkldiskfs.FastSymlink(m.Target), nil
		}
		return l.img.PutFile(ino, gen, []byte(m.Target[:min(len(m.Target), mkldiskfs.BlockSize-1)]))
	}
	return mkldiskfs.Map{}, nil
}

// direntType is the type of a directory entry for a mode.
func direntType(mode uint16) uint8 {
	switch mode & mdtbackup.ModeType {
	case mdtbackup.ModeDirectory:
		return ext4.TypeDir
	case mdtbackup.ModeChar:
		return 3
	case mdtbackup.ModeBlock:
		return 4
	case mdtbackup.ModeFIFO:
		return 5
	case mdtbackup.ModeSocket:
		return 6
	case mdtbackup.ModeSymlink:
		return 7
	}
	return ext4.TypeRegular
}
