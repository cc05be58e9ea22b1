package lustre

import (
	"bytes"
	"errors"
	"fmt"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// role is what a directory of the target itself is for.
type role uint8

const (
	roleNone    role = iota
	roleLocal        // files of the target: O, CONFIGS, LFSCK, quota and the like
	roleRemote       // REMOTE_PARENT_DIR
	rolePending      // PENDING
	roleBackend      // lost+found of ext4
)

// maxLocal bounds how many entries of local directories are looked at: logs and quota files, not objects of users.
const maxLocal = 4 << 20

// maxLocalHarm bounds how much damage to local directories is remembered.
const maxLocalHarm = 1000

// landmarks are the inodes of one target that do not belong to the namespace, and ROOT. Numbers are 0 when there is none.
type landmarks struct {
	root      uint32
	remote    uint32 // REMOTE_PARENT_DIR
	pending   uint32
	fld       uint32
	mountdata uint32
	lastRcvd  uint32
	seqSrv    uint32              // seq_srv: the sequences that the target has left
	oi        []uint32            // by number of the file; 0 where one is missing
	dirs      map[uint32]role     // directories of the target itself
	held      map[uint32]struct{} // files in them
	maybe     []uint64            // bits of the last digits of both: tells of nearly all other inodes, without a look into maps; nil says nothing
	trouble   string              // what could not be read, "" for nothing
	hidden    string              // why names of the target's own files may be hidden, "" if none are
	harm      []ext4.Problem      // damage met on the way, the first maxLocalHarm
}

// findLandmarks walks the directories of the target itself. Damage leaves out what cannot be read.
func findLandmarks(fs *ext4.FS) landmarks {
	m := landmarks{dirs: map[uint32]role{ext4.InoRoot: roleLocal}, held: map[uint32]struct{}{}}
	m.holdReserved(fs)
	todo := []uint32{ext4.InoRoot}
	for n := 0; len(todo) > 0; {
		dir := todo[0]
		todo = todo[1:]
		in, err := fs.Inode(dir)
		if err != nil || !in.IsDir() {
			m.hide(ext4.Problem{Kind: kindOwnName, Inode: dir, Offset: -1, Text: fmt.Sprintf("inode %d, a directory of the target itself, cannot be read", dir)})
			continue
		}
		dots := 0
		err = fs.Dir(in, func(d ext4.Dirent) bool {
			if bytes.Equal(d.Name, []byte(".")) || bytes.Equal(d.Name, []byte("..")) {
				dots |= len(d.Name)
				if d.Inode != dir && (len(d.Name) == 1 || dir == ext4.InoRoot) {
					m.hurt(ext4.Problem{Kind: kindNoDot, Inode: dir, Offset: d.At, Text: fmt.Sprintf("inode %d: %q leads to inode %d", dir, d.Name, d.Inode)})
				}
				return true
			}
			if n++; n > maxLocal {
				m.trouble = "the target has more files of its own than are looked at"
				return false
			}
			if next := m.entry(fs, dir, d); next != 0 {
				todo = append(todo, next)
			}
			return true
		}, m.hide)
		switch {
		case err != nil:
			m.trouble = err.Error()
		case dots != 1|2:
			m.hurt(ext4.Problem{Kind: kindNoDot, Inode: dir, Offset: -1, Text: fmt.Sprintf("inode %d, a directory of the target itself, has no '.' or no '..'", dir)})
		}
	}
	m.sift()
	return m
}

// hurt takes note of damage to the target's own directories. What is hidden behind it may be taken for objects of users.
func (m *landmarks) hurt(p ext4.Problem) {
	m.trouble = "a directory of the target itself is damaged: " + p.Text
	m.tell(p)
}

// tell remembers damage, as far as there is room.
func (m *landmarks) tell(p ext4.Problem) {
	if len(m.harm) < maxLocalHarm {
		m.harm = append(m.harm, p)
	}
}

// hide takes note of damage behind which names of the target's own files may be hidden.
func (m *landmarks) hide(p ext4.Problem) {
	m.hidden = p.Text
	m.hurt(p)
}

// holdReserved takes out what belongs to ext4.
func (m *landmarks) holdReserved(fs *ext4.FS) {
	s := fs.Super()
	for ino := uint32(1); ino < min(s.FirstIno, 64); ino++ {
		m.held[ino] = struct{}{}
	}
	for _, ino := range []uint32{s.JournalInum, s.UserQuotaInum, s.GroupQuotaInum, s.ProjectQuotaInum, s.OrphanFileInum} {
		m.held[ino] = struct{}{}
	}
}

// entry takes note of one entry of a local directory, and returns the directory that has to be walked for it, if any.
func (m *landmarks) entry(fs *ext4.FS, dir uint32, d ext4.Dirent) uint32 {
	what := roleLocal
	if dir == ext4.InoRoot {
		switch text := string(d.Name); text {
		case "ROOT":
			m.root = d.Inode
			m.isDir(fs, dir, d) // says so if it is none
			return 0
		case "REMOTE_PARENT_DIR":
			m.remote, what = d.Inode, roleRemote
		case "PENDING":
			m.pending, what = d.Inode, rolePending
		case "lost+found":
			what = roleBackend
		case "fld":
			m.fld = d.Inode
		case "last_rcvd":
			m.lastRcvd = d.Inode
		case "seq_srv":
			m.seqSrv = d.Inode
		default:
			m.index(text, d.Inode)
		}
	}
	if string(d.Name) == "mountdata" && m.mountdata == 0 {
		m.mountdata = d.Inode
	}
	if !m.isDir(fs, dir, d) {
		m.held[d.Inode] = struct{}{}
		return 0
	}
	if _, known := m.dirs[d.Inode]; known {
		return 0
	}
	m.dirs[d.Inode] = what
	if what == roleLocal {
		return d.Inode
	}
	return 0
}

// isDir tells whether a local name is that of a directory, which the inode knows better than the name.
func (m *landmarks) isDir(fs *ext4.FS, dir uint32, d ext4.Dirent) bool {
	in, err := fs.Inode(d.Inode)
	if err != nil || !in.Allocated {
		m.hurt(ext4.Problem{Kind: kindOwnName, Inode: d.Inode, Offset: d.At,
			Text: fmt.Sprintf("inode %d, which %q in inode %d leads to, is free or cannot be read", d.Inode, d.Name, dir)})
		return d.Type == ext4.TypeDir
	}
	if want := ext4.DirentTypeOf(in.Mode); d.Type != want && d.Type != 0 { // servers up to 2.3 made names that do not say it
		m.tell(ext4.Problem{Kind: kindOwnName, Inode: d.Inode, Offset: d.At,
			Text: fmt.Sprintf("inode %d, a %s, is of type %s by its name %q in inode %d", d.Inode, ext4.TypeName(want), ext4.TypeName(d.Type), d.Name, dir)})
	}
	return in.IsDir()
}

// index takes note of a file of the object index.
func (m *landmarks) index(name string, ino uint32) {
	n, ok := lustre.ParseOIName(name)
	if !ok || n >= 1024 {
		return
	}
	for len(m.oi) <= n {
		m.oi = append(m.oi, 0)
	}
	m.oi[n] = ino
}

const maybeBits = 1 << 16

// sift fills maybe.
func (m *landmarks) sift() {
	m.maybe = make([]uint64, maybeBits/64)
	for ino := range m.held {
		m.maybe[ino%maybeBits/64] |= 1 << (ino % 64)
	}
	for ino := range m.dirs {
		m.maybe[ino%maybeBits/64] |= 1 << (ino % 64)
	}
}

// own tells whether an inode belongs to the target itself.
func (m *landmarks) own(ino uint32) bool {
	if m.maybe != nil && m.maybe[ino%maybeBits/64]>>(ino%64)&1 == 0 {
		return false
	}
	if _, ok := m.held[ino]; ok {
		return true
	}
	return m.dirs[ino] != roleNone
}

// early tells whether the target was made by a release before 2.4: its ROOT has no LMA, and neither have other objects whose FIDs are
// the same everywhere. A later release gives ROOT one when it is upgraded.
func (m *landmarks) early(fs *ext4.FS) bool {
	in, err := fs.Inode(m.root)
	if err != nil || m.root == 0 || !in.IsDir() {
		return false
	}
	x := attrs{}
	return x.read(fs, in, nil) == nil && !x.known
}

// content is the first bytes of a file, nil if it cannot be read.
func (m *landmarks) content(fs *ext4.FS, ino uint32, most int64) []byte {
	if ino == 0 {
		return nil
	}
	in, err := fs.Inode(ino)
	if err != nil {
		return nil
	}
	b, err := fs.ReadAll(in, most)
	if err != nil {
		return nil
	}
	return b
}

// maxFLD is the most that is read of a file fld: 64 MiB, room for more than a million ranges.
const maxFLD = 64 << 20

// ranges gives what the target's FLD says. The error says that it has none that could be read.
func (m *landmarks) ranges(fs *ext4.FS) ([]lustre.Range, error) {
	out, _, err := m.rangesAnd(fs)
	return out, err
}

// rangesAnd gives what is wrong with records as well.
func (m *landmarks) rangesAnd(fs *ext4.FS) (out []lustre.Range, ps []lustre.Problem, err error) {
	b := m.content(fs, m.fld, maxFLD)
	if b == nil {
		return nil, nil, errors.New("the file fld cannot be read")
	}
	size := int(fs.Super().BlockSize)
	for ; len(b) >= size; b = b[size:] {
		if lustre.IAMBlockKind(b[:size]) != lustre.IAMLeafBlock {
			continue
		}
		more, err := lustre.FLDRanges(b[:size], func(r lustre.Range) bool { out = append(out, r); return true })
		if ps = append(ps, more...); err != nil {
			return out, ps, err
		}
	}
	return out, ps, nil
}
