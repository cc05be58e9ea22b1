package lustre

import (
	"encoding/binary"
	"hash/fnv"
	"sync"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// world reads records of the targets again, one at a time. It is for what is rare: what the claims do not settle.
type world struct {
	*unit
	mu    sync.Mutex
	paths map[place]string               // of directories
	tells map[place]*shardsWord          // of masters that shards contradict: what the shards say, nil if they do not agree
	lists map[place]map[string]dirRecord // names of directories that were looked into
	room  int                            // entries that lists may still take
	known map[lustre.FID]place           // directories that were searched for
	asked map[lustre.FID]bool            // what was searched for: what is not in known does not exist
	all   bool                           // there is no more searching
}

// dirRecord is one name of a directory that was looked into.
type dirRecord struct {
	written
	at int64
}

const (
	maxListed = 500_000 // names that are remembered
	maxPaths  = 100_000 // directories whose path is remembered
)

func newWorld(u *unit) *world {
	return &world{unit: u, paths: map[place]string{}, tells: map[place]*shardsWord{}, lists: map[place]map[string]dirRecord{}, room: maxListed, known: map[lustre.FID]place{}}
}

// tenant reads an inode.
func (w *world) tenant(p place) *tenant {
	t := w.targets[p.mdt]
	in, err := t.fs.Inode(p.ino)
	if err != nil {
		return &tenant{unread: true}
	}
	if !in.Allocated || in.IsFree() { // also one that was cleared and is still marked as in use
		out := &tenant{free: true}
		if in.Links != 0 && in.Dtime() == 0 && ext4.DirentTypeOf(in.Mode) != 0 && !t.marks.own(p.ino) && !w.fromBackup(p.mdt) {
			if whole := w.says(t, in); whole.known && !whole.agent {
				out.intact = whole
			}
		}
		return out
	}
	return w.says(t, in)
}

// says reads what an inode says of itself, whether it is marked as in use or not.
func (w *world) says(t *target, in *ext4.Inode) *tenant {
	out := &tenant{mode: in.Mode, links: in.Links, gen: in.Generation, held: t.marks.own(in.Number), blocks: blocksOf(in)}
	var lma lustre.LMA
	err := in.Xattrs(t.fs, func(a ext4.Xattr) bool {
		if a.Index != ext4.XattrIndexTrusted {
			return true
		}
		switch string(a.Name) {
		case "lma":
			if l, err := lustre.DecodeLMA(a.Value); err == nil && l.FID.Sane() {
				out.known, out.fid, lma = true, l.FID, l
			}
		case "link":
			out.hasLink = true
			out.link, out.problems, out.crash = lustre.DecodeLinkEA(a.Value)
		case "lov":
			out.lov = digestOf(a.Value)
		}
		return true
	}, nil)
	if err != nil {
		return &tenant{unread: true}
	}
	out.agent = w.standsIn(w.places[t.index], lma, in.Mode, out.hasLink)
	return out
}

// blocksOf is a digest of where the blocks of an inode are: of two inodes with the same one each thinks that they are its own. 0 if it has none.
func blocksOf(in *ext4.Inode) uint64 {
	if in.Sectors == 0 || len(in.Raw) < ext4.InodeGoodOldSize {
		return 0
	}
	return digestOf(in.BlockField(), binary.LittleEndian.AppendUint64(nil, in.FileACL))
}

func digestOf(parts ...[]byte) uint64 {
	h := fnv.New64a()
	for _, b := range parts {
		h.Write(b)
	}
	return max(h.Sum64(), 1)
}

// fidAt gives the FID that an inode says it has.
func (w *world) fidAt(p place) (lustre.FID, bool) {
	t := w.tenant(p)
	if !t.known {
		return lustre.IGIF(p.ino, t.gen), false
	}
	return t.fid, true
}

// Answers of locate.
const (
	locFound = iota
	locGone
	locUnseen
	locAsk // it has to be searched for
)

// locate tells where an object is: by the object index, whose answer is verified, or by an earlier search.
func (w *world) locate(f lustre.FID) (place, int) {
	home, known := w.home(f)
	if !known {
		return place{}, locUnseen
	}
	if p, ok := w.known[f]; ok {
		return p, locFound
	}
	if home >= 0 {
		if ino, ok := w.indexed(home, f); ok {
			p := place{home, ino}
			if t := w.tenant(p); t.known && t.fid == f && !t.agent {
				return p, locFound
			}
		}
	}
	if w.all || w.asked[f] {
		return place{}, locGone
	}
	return place{}, locAsk
}

// indexed looks a FID up in the object index of a target.
func (w *world) indexed(mdt int, f lustre.FID) (ino uint32, ok bool) {
	e, ok := w.indexEntry(mdt, f)
	return e.Ino, ok
}

func (w *world) indexEntry(mdt int, f lustre.FID) (found lustre.OIEntry, ok bool) {
	t := w.targets[mdt]
	n, err := lustre.OIFile(f, len(t.marks.oi))
	if err != nil || t.marks.oi[n] == 0 {
		return found, false
	}
	size := int64(t.fs.Super().BlockSize)
	buf := make([]byte, size)
	read := func(block uint64) bool {
		got, err := t.fs.ReadFile(t.marks.oi[n], int64(block)*size, buf)
		return err == nil && got == len(buf)
	}
	if !read(0) {
		return found, false
	}
	root, err := lustre.DecodeIAMRoot(buf)
	if err != nil || root.Shape != lustre.ShapeOI {
		return found, false
	}
	key := f.AppendBig(nil)
	for level := 0; level <= root.Levels; level++ {
		block, err := root.Shape.Child(buf, level == 0, key)
		if err != nil || block > 1<<32 || !read(block) {
			return found, false
		}
	}
	_, err = lustre.OIEntries(buf, func(e lustre.OIEntry) bool {
		if e.FID == f {
			found, ok = e, true
		}
		return !ok
	})
	return found, ok && err == nil
}

// find looks for a name in a directory.
func (w *world) find(dir place, text string) (dirRecord, bool) {
	if list, ok := w.lists[dir]; ok {
		r, ok := list[text]
		return r, ok
	}
	fs := w.targets[dir.mdt].fs
	in, err := fs.Inode(dir.ino)
	if err != nil || !in.IsDir() {
		return dirRecord{}, false
	}
	var list map[string]dirRecord
	if in.Size/24 < uint64(maxListed/4) {
		list = map[string]dirRecord{}
	}
	var out dirRecord
	found := false
	parent, sure := w.fidAt(dir)
	if err := fs.Dir(in, func(e ext4.Dirent) bool {
		mine := string(e.Name) == text
		if !mine && list == nil {
			return true
		}
		r := dirRecord{written{text: string(e.Name), typ: e.Type, ino: e.Inode, parent: parent, sure: sure}, e.At}
		if b, ok := e.LUFID(); ok {
			r.fid, r.hasFID = lustre.BigFID(b), true
		}
		if mine && !found {
			out, found = r, true
		}
		if list != nil && len(list) < maxListed/4 {
			if _, twice := list[r.text]; !twice {
				list[r.text] = r
			}
		}
		return list != nil || !found
	}, nil); err != nil {
		return out, found
	}
	if list != nil && len(list) < maxListed/4 {
		if w.room -= len(list); w.room < 0 {
			w.lists, w.room = map[place]map[string]dirRecord{}, maxListed-len(list)
		}
		w.lists[dir] = list
	}
	return out, found
}

// enrich reads again what a group's claims speak of.
func (w *world) enrich(a *about) {
	f := &facts{inodes: map[place]*tenant{}, far: map[lustre.FID]*tenant{}, lookups: map[lustre.Link]*lookup{}}
	a.facts = f
	need := func(p place) *tenant {
		if f.inodes[p] == nil {
			f.inodes[p] = w.tenant(p)
		}
		return f.inodes[p]
	}
	for i := range a.objects {
		need(place{a.objects[i].mdt, a.objects[i].ino})
	}
	for _, e := range a.index {
		need(place{e.mdt, e.ino})
	}
	for _, e := range a.remote {
		need(place{e.mdt, e.ino})
	}
	for i := range a.names {
		n := &a.names[i]
		f.texts = append(f.texts, w.entry(n.mdt, n.dir, n.at))
		t := need(place{n.mdt, n.ino})
		if t.agent && t.fid != a.fid {
			w.enrichFar(f, t.fid)
		}
	}
	if len(a.objects)+len(a.names) == 0 { // an inode that the object index has may have lost its LMA, and its name
		for p, t := range f.inodes {
			if t.known || t.free || t.unread || t.held {
				continue
			}
			for _, l := range f.links(&object{mdt: p.mdt, ino: p.ino}) {
				f.lookups[l] = w.lookup(f, l)
			}
		}
	}
	for i := range a.objects {
		o := &a.objects[i]
		if a.unnamed(o) {
			continue
		}
		for _, l := range f.links(o) {
			if !a.hasName(l) && f.lookups[l] == nil {
				f.lookups[l] = w.lookup(f, l)
			}
		}
		w.enrichShard(a, o)
	}
}

// enrichShard asks the other shards where a shard and its master do not agree.
func (w *world) enrichShard(a *about, o *object) {
	if len(a.names) != 1 || !a.names[0].has(nameInMaster) || !a.names[0].has(nameShardForm) || !o.has(objLMV) {
		return
	}
	n := &a.names[0]
	m, err1 := lustre.DecodeLMV(n.master)
	v, err2 := lustre.DecodeLMV(o.lmv)
	if err1 != nil || err2 != nil || m.Insane() != "" || v.Insane() != "" || !m.IsMaster() || !v.IsShard() || m.Changing() || sameLayout(&m, &v) && !a.dirOf(o).mostAstray() {
		return
	}
	at := place{n.mdt, n.dir}
	told, known := w.tells[at]
	if !known {
		before := len(a.blocked)
		if t, ok := w.shardsTell(a.facts, at, &m); ok {
			told = &t
		}
		if w.tells != nil && len(a.blocked) == before && len(w.tells) < maxPaths {
			w.tells[at] = told
		}
	}
	a.told = told
}

// enrichFar reads the object that an agent stands for.
func (w *world) enrichFar(f *facts, fid lustre.FID) {
	switch p, how := w.locate(fid); how {
	case locFound:
		f.far[fid] = w.tenant(p)
	case locAsk:
		f.blocked = append(f.blocked, fid)
	}
}

// lookup finds out what is where a link EA's record says that the object is named.
func (w *world) lookup(f *facts, l lustre.Link) *lookup {
	dir, how := w.locate(l.Parent)
	switch how {
	case locUnseen:
		return &lookup{state: lookUnseen}
	case locAsk:
		f.blocked = append(f.blocked, l.Parent)
		return &lookup{state: lookUnseen}
	case locGone:
		return &lookup{state: lookGone}
	}
	if t := w.tenant(dir); !dirMode(t.mode) {
		return &lookup{state: lookGone, dir: dir}
	}
	r, found := w.find(dir, l.Name)
	if !found {
		return &lookup{state: lookFree, dir: dir}
	}
	out := &lookup{state: lookTaken, dir: dir, entry: r.written, at: r.at}
	t := w.tenant(place{dir.mdt, r.ino})
	if t.agent {
		out.agent = t.fid
	}
	if w.fromBackup(dir.mdt) && t.known { // a name of a backup means what it leads to
		r.fid, r.hasFID = t.fid, true
		out.entry = r.written
	}
	if r.hasFID && r.fid.Sane() {
		switch _, how := w.locate(r.fid); how {
		case locFound, locUnseen:
			out.exists = true
		case locAsk:
			f.blocked = append(f.blocked, r.fid)
		}
	}
	return out
}

// hasName tells whether one of the group's names is the record.
func (a *about) hasName(l lustre.Link) bool {
	for i := range a.texts {
		t := &a.texts[i]
		if t.text == l.Name && (t.parent == l.Parent || !t.sure) {
			return true
		}
	}
	return false
}
