package mdtimage

import (
	"context"
	"fmt"
	"strings"

	"fettle/internal/format/ext4"
	"fettle/internal/systems/lustre/mkldiskfs"
)

// maxLinks is the highest link count of a directory; more are written as 1.
const maxLinks = 65000

// found is the name that a hard link is a further name of.
type found struct {
	ino  uint32 // 0: nothing of that name has an inode of its own
	typ  uint8
	next *dirKey // it is a further name of something itself
}

// finisher turns sorted names into directories.
type finisher struct {
	*layer
	targets map[dirKey]*found
	multi   map[uint32]uint16 // names of inodes that have further ones

	node    int // place in nodes of the directory that is being written
	stream  *mkldiskfs.DirStream
	subdirs int
	held    record // not yet written: a later one of the same name wins
	holds   bool
}

// finish writes all directories.
func (l *layer) finish(ctx context.Context) error {
	f := &finisher{layer: l, targets: map[dirKey]*found{}, multi: map[uint32]uint16{}}
	if err := f.resolve(); err != nil {
		return err
	}
	if err := f.begin(); err != nil {
		return err
	}
	n := 0
	err := l.names.each(func(r record) error {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case f.holds && f.held.dir == r.dir && f.held.name == r.name:
			f.drop(f.held)
		case f.holds:
			if err := f.write(f.held); err != nil {
				return err
			}
		}
		f.held, f.holds = r, true
		return nil
	})
	if err != nil {
		return err
	}
	if f.holds {
		if err := f.write(f.held); err != nil {
			return err
		}
	}
	for f.node < len(f.nodes) {
		if err := f.end(); err != nil {
			return err
		}
	}
	for ino, names := range f.multi {
		if names == 0 {
			l.img.FreeInode(ino, false)
		} else if err := l.img.SetLinks(ino, names); err != nil {
			return err
		}
	}
	return nil
}

// resolve finds what hard links are further names of.
func (f *finisher) resolve() error {
	if len(f.links) == 0 {
		return nil
	}
	for i := range f.links {
		if k := &f.links[i]; k.path != "" {
			k.of, _ = f.lookup(strings.Split(k.path, "/")) // what is nowhere is in no directory, which none has the number of
		}
		if key := f.links[i].of; f.targets[key] == nil {
			f.targets[key] = &found{}
		}
	}
	err := f.names.each(func(r record) error {
		t := f.targets[dirKey{r.dir, r.name}]
		switch {
		case t == nil || r.typ == ext4.TypeDir:
		case r.typ == typeLink:
			t.next = &f.links[r.ino].of
		default:
			t.ino, t.typ, t.next = r.ino, r.typ, nil
		}
		return nil
	})
	for k := range f.links {
		if ino, _ := f.target(k); ino != 0 {
			f.multi[ino] = 0
		}
	}
	return err
}

// maxChain bounds how far hard links to hard links are followed; tar makes them all to the first name.
const maxChain = 64

// target gives the inode that a hard link is a name of, 0 if there is none: its target is not there, or hard links lead to each other.
func (f *finisher) target(link int) (ino uint32, typ uint8) {
	key := &f.links[link].of
	for n := 0; n < maxChain && key != nil; n++ {
		t := f.targets[*key]
		if t.ino != 0 {
			ino, typ = t.ino, t.typ
		}
		key = t.next
	}
	return ino, typ
}

// begin opens the directory at the current place.
func (f *finisher) begin() (err error) {
	n := f.nodes[f.node]
	f.subdirs = 0
	if err := f.space.take(mkldiskfs.BlockSize); err != nil {
		return err
	}
	f.stream, err = f.img.StreamDir(n.ino, f.img.Generation(n.ino), mkldiskfs.Entry{Ino: n.up})
	return err
}

// end completes the directory and goes on to the next.
func (f *finisher) end() error {
	m, err := f.stream.Finish()
	if err != nil {
		return err
	}
	links := 2 + f.subdirs
	if links >= maxLinks {
		links = 1
	}
	if err := f.img.SetContent(f.nodes[f.node].ino, uint16(links), m); err != nil {
		return err
	}
	if f.node++; f.node < len(f.nodes) {
		return f.begin()
	}
	return nil
}

// write puts a name into its directory. Names come in the order of the directories.
func (f *finisher) write(r record) error {
	for f.nodes[f.node].ino < r.dir {
		if err := f.end(); err != nil {
			return err
		}
		if f.node == len(f.nodes) {
			return fmt.Errorf("a name in inode %d, which is no directory", r.dir)
		}
	}
	e := mkldiskfs.Entry{Name: r.name, Ino: r.ino, Type: r.typ}
	if r.typ == typeLink {
		var err error
		if e.Ino, e.Type, err = f.further(r); err != nil {
			return err
		}
	}
	if _, ok := f.multi[e.Ino]; ok {
		f.multi[e.Ino]++
	}
	if e.Type == ext4.TypeDir {
		f.subdirs++
	}
	if err := f.space.take(int64(ext4.DirentHeader + len(e.Name))); err != nil {
		return err
	}
	return f.stream.Add(e)
}

// further gives what a hard link leads to. One that leads to nothing gets the number of an inode that is not in use.
func (f *finisher) further(r record) (ino uint32, typ uint8, err error) {
	link := int(r.ino)
	if ino, typ = f.target(link); ino != 0 {
		return ino, typ, nil
	}
	first := ""
	if f.lost.n == 0 { // to find its path takes long where directories lie deep
		first = f.out.origins.name(r.dir, r.name)
	}
	f.lost.add(first)
	if ino, err = f.img.AllocInode(false); err != nil {
		return 0, 0, err
	}
	f.img.FreeInode(ino, false)
	return ino, ext4.TypeRegular, nil
}

// drop forgets a name that a later member has as well.
func (f *finisher) drop(r record) {
	if r.typ == typeLink || r.typ == ext4.TypeDir {
		return
	}
	if _, ok := f.multi[r.ino]; !ok {
		f.img.FreeInode(r.ino, false)
	}
}

// note says what was not laid out.
func (l *layer) note() {
	say := func(t tally, text string) {
		if t.n > 0 {
			l.out.notes = append(l.out.notes, fmt.Sprintf("%d %s, such as %.200q", t.n, text, t.first))
		}
	}
	if n, first := l.r.Odd(); n > 0 {
		l.out.notes = append(l.out.notes, fmt.Sprintf("%d members of the backup were left out, such as %s", n, first))
	}
	say(l.clashes, "names of the backup are those of directories as well")
	say(l.cut, "attributes of the backup were too long to be read in full")
	say(l.lost, "hard links of the backup are further names of something that is not in it")
}
