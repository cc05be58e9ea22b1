package lustre

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4edit"
	"fettle/internal/format/lustre"
	"fettle/internal/store"
)

// Records of a plan, by the begin of their address. Numbers are those of inodes of the target. Contents are JSON, except for nlink.
//
//	dirent/DIR/NAME   a name: inode, type, FID. NAME is quoted as Go does where text cannot hold it
//	dotdot/DIR        '..' of a directory
//	link/INODE        trusted.link: the names that an object knows
//	lma/INODE         trusted.lma: which object it is
//	lmv/INODE         trusted.lmv: how a directory is striped
//	lov/INODE         trusted.lov: where the data of a file is
//	nlink/INODE       link count
//	oi/FID            entry of the object index
//	inode/INODE       an inode that is made or freed
//	object/INODE      an object that is destroyed, with all that it has on the target
//	seq/seq_srv       sequences that the target has still to give
const (
	recDirent = "dirent"
	recDotdot = "dotdot"
	recLink   = "link"
	recLMA    = "lma"
	recLMV    = "lmv"
	recLOV    = "lov"
	recNlink  = "nlink"
	recOI     = "oi"
	recInode  = "inode"
	recObject = "object"
	recSeq    = "seq"
)

// seqFile is the file in the root of a target that says which sequences it has to give.
const seqFile = "seq_srv"

// direntRecord is the content of a name, and of '..'.
type direntRecord struct {
	Inode uint32 `json:"inode"`
	Type  string `json:"type,omitempty"`
	FID   string `json:"fid,omitempty"`
	Other uint8  `json:"other_records,omitempty"` // flags of data records other than the FID
}

// linkRecord is the content of a link EA. Raw is used where the rest does not give the same bytes.
type linkRecord struct {
	Links    []linkDetail `json:"links,omitempty"`
	Overflow uint32       `json:"overflow,omitempty"`
	Raw      []byte       `json:"raw,omitempty"`
}

// lmaRecord is the content of an LMA.
type lmaRecord struct {
	FID      string `json:"fid,omitempty"`
	Compat   uint32 `json:"compat,omitempty"`
	Incompat uint32 `json:"incompat,omitempty"`
	Raw      []byte `json:"raw,omitempty"`
}

// lmvRecord is the content of an LMV, and of a layout: in words, and as it is.
type lmvRecord struct {
	Says string `json:"says,omitempty"`
	Raw  []byte `json:"raw"`
}

// oiRecord is an entry of the object index.
type oiRecord struct {
	Inode      uint32 `json:"inode"`
	Generation uint32 `json:"generation"`
}

// inodeRecord is an inode that is made: Near, Parent and FID say where and with what '..'. Of an inode that is freed it says what it was.
type inodeRecord struct {
	Type  string `json:"type"`
	Mode  uint16 `json:"mode"` // permissions
	Near  uint32 `json:"near,omitempty"`
	Up    uint32 `json:"up,omitempty"`
	UpFID string `json:"up_fid,omitempty"`
	Agent string `json:"agent_of,omitempty"`
	// Target is that of a symbolic link.
	Target string `json:"target,omitempty"`
	// Not are free inodes that are passed over, because names of lost objects still have their numbers.
	Not []uint32 `json:"not,omitempty"`
}

// seqRecord is the space of sequences: from Start up to, not including, End.
type seqRecord struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

// address makes the address of a record about an inode.
func address(kind string, ino uint32) string { return kind + "/" + strconv.Itoa(int(ino)) }

// nameAddress makes that of a name.
func nameAddress(dir uint32, name string) string {
	if shown(name) != name || strings.HasPrefix(name, `"`) {
		name = strconv.Quote(name)
	}
	return address(recDirent, dir) + "/" + name
}

// parsed is an address taken apart.
type parsed struct {
	kind string
	ino  uint32
	name string
	fid  lustre.FID
}

func parseAddress(addr string) (p parsed, err error) {
	bad := fmt.Errorf("bad address of a record: %q", addr)
	kind, rest, ok := strings.Cut(addr, "/")
	if p.kind = kind; !ok {
		return p, bad
	}
	switch kind {
	case recOI:
		p.fid, err = lustre.ParseFID(rest)
		return p, err
	case recSeq:
		if rest != seqFile {
			return p, bad
		}
		return p, nil
	case recDirent:
		num, name, ok := strings.Cut(rest, "/")
		if !ok || name == "" {
			return p, bad
		}
		if strings.HasPrefix(name, `"`) {
			if name, err = strconv.Unquote(name); err != nil || name == "" {
				return p, bad
			}
		}
		rest, p.name = num, name
	case recDotdot, recLink, recLMA, recLMV, recLOV, recNlink, recInode, recObject:
	default:
		return p, bad
	}
	n, err := strconv.ParseUint(rest, 10, 32)
	if err != nil || n == 0 {
		return p, bad
	}
	p.ino = uint32(n)
	return p, nil
}

// bench is an edit of every target. What it reads is what was written to it.
type bench struct {
	edits  []*ext4edit.Edit
	shadow *unit  // the unit as it becomes
	world  *world // reads it
}

// newBench begins edits of all targets. reader gives an open file system of a target.
func newBench(u *unit, fs []*ext4.FS, opt ext4edit.Options) (*bench, error) {
	b := &bench{shadow: &unit{shape: u.shape}}
	for i, t := range u.targets {
		e, err := ext4edit.Open(fs[i], opt)
		if err != nil {
			return nil, err
		}
		b.edits = append(b.edits, e)
		s := *t
		s.fs = e.View()
		b.shadow.targets = append(b.shadow.targets, &s)
	}
	b.world = newWorld(b.shadow)
	b.world.all = true
	return b, nil
}

// encode makes JSON of a record. Its types cannot fail.
func encode(v any) store.Bytes {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// read gives the content of a record, nil if there is none.
func (b *bench) read(mdt int, addr string) (store.Bytes, error) {
	if isAccount(addr) {
		return b.readAccount(mdt, addr)
	}
	p, err := parseAddress(addr)
	if err != nil {
		return nil, err
	}
	switch p.kind {
	case recDirent:
		_, rec, err := b.dirent(mdt, p.ino, p.name)
		if rec == nil || err != nil {
			return nil, err
		}
		return encode(rec), nil
	case recDotdot:
		return b.readDotdot(mdt, p.ino)
	case recLink, recLMA, recLMV, recLOV:
		return b.readXattr(mdt, p.ino, p.kind)
	case recNlink:
		in, err := b.inode(mdt, p.ino)
		if err != nil {
			return nil, err
		}
		return store.Bytes(strconv.Itoa(int(in.Links))), nil
	case recOI:
		file, err := b.oiFile(mdt, p.fid)
		if err != nil {
			return nil, err
		}
		x, err := b.edits[mdt].OIFind(file, p.fid)
		if errors.Is(err, ext4edit.ErrAbsent) {
			return nil, nil
		}
		return encode(oiRecord{x.Ino, x.Generation}), err
	case recInode:
		return b.readInode(mdt, p.ino)
	case recObject:
		return b.readObject(mdt, p.ino)
	}
	start, end, _, err := b.space(mdt)
	return encode(seqRecord{fmt.Sprintf("%#x", start), fmt.Sprintf("%#x", end)}), err
}

// dirent finds a name; rec is nil if there is none.
func (b *bench) dirent(mdt int, dir uint32, name string) (ext4edit.Entry, *direntRecord, error) {
	x, err := b.edits[mdt].Find(dir, []byte(name))
	if errors.Is(err, ext4edit.ErrAbsent) {
		return x, nil, nil
	}
	if err != nil {
		return x, nil, err
	}
	rec := &direntRecord{Inode: x.Inode, Type: typeName(x.Type & lustre.DirTypeMask), Other: x.Flags &^ ext4.DirdataLUFID}
	if x.Flags&ext4.DirdataLUFID != 0 && len(x.Data) > lustre.FIDSize {
		rec.FID = lustre.BigFID(x.Data[1:]).String()
	}
	return x, rec, nil
}

func (b *bench) inode(mdt int, ino uint32) (*ext4.Inode, error) {
	return b.edits[mdt].View().Inode(ino)
}

// readDotdot reads '..', which is the second entry of a directory.
func (b *bench) readDotdot(mdt int, ino uint32) (store.Bytes, error) {
	in, err := b.inode(mdt, ino)
	if err != nil {
		return nil, err
	}
	var out store.Bytes
	n := 0
	err = b.edits[mdt].View().Dir(in, func(d ext4.Dirent) bool {
		if n++; string(d.Name) == ".." {
			rec := direntRecord{Inode: d.Inode}
			if f, ok := d.LUFID(); ok {
				rec.FID = lustre.BigFID(f).String()
			}
			out = encode(rec)
		}
		return n < 2
	}, nil)
	return out, err
}

func (b *bench) xattr(mdt int, ino uint32, name string) ([]byte, error) {
	in, err := b.inode(mdt, ino)
	if err != nil {
		return nil, err
	}
	v, ok, err := b.edits[mdt].View().Xattr(in, ext4.XattrIndexTrusted, name)
	if err != nil || !ok {
		return nil, err
	}
	return append([]byte{}, v...), nil
}

func (b *bench) readXattr(mdt int, ino uint32, kind string) (store.Bytes, error) {
	raw, err := b.xattr(mdt, ino, kind)
	if raw == nil || err != nil {
		return nil, err
	}
	switch kind {
	case recLMA:
		if l, err := lustre.DecodeLMA(raw); err == nil && string(l.Encode()) == string(raw) {
			return encode(lmaRecord{FID: l.FID.String(), Compat: l.Compat, Incompat: l.Incompat}), nil
		}
		return encode(lmaRecord{Raw: raw}), nil
	case recLMV:
		rec := lmvRecord{Raw: raw}
		if v, err := lustre.DecodeLMV(raw); err == nil {
			rec.Says = v.String()
		}
		return encode(rec), nil
	case recLOV:
		rec := lmvRecord{Raw: raw}
		if v, err := lustre.DecodeLOV(raw); err == nil {
			rec.Says = v.String()
		}
		return encode(rec), nil
	}
	ea, _, err := lustre.DecodeLinkEA(raw)
	if err == nil {
		if again, dropped := ea.Encode(ea.Overflow); dropped == 0 && string(again) == string(raw) {
			return encode(linkRecord{Links: links(ea.Links), Overflow: ea.Overflow}), nil
		}
	}
	return encode(linkRecord{Raw: raw}), nil
}

func (b *bench) readInode(mdt int, ino uint32) (store.Bytes, error) {
	used, err := b.edits[mdt].InUse(ino)
	if err != nil || !used {
		return nil, err
	}
	in, err := b.inode(mdt, ino)
	if err != nil {
		return nil, err
	}
	rec := inodeRecord{Type: typeName(typeOf(in.Mode)), Mode: in.Mode &^ ext4.ModeTypeMask}
	if l, ok := b.lma(mdt, ino); ok && l.Has(lustre.LMAIAgent) {
		rec.Agent = l.FID.String()
	}
	return encode(rec), nil
}

// lma gives the LMA of an inode in use. What is left in a free one means nothing, nor in one that was cleared and is still marked.
func (b *bench) lma(mdt int, ino uint32) (lustre.LMA, bool) {
	if used, err := b.edits[mdt].InUse(ino); err != nil || !used {
		return lustre.LMA{}, false
	}
	if in, err := b.inode(mdt, ino); err != nil || in.IsFree() {
		return lustre.LMA{}, false
	}
	raw, err := b.xattr(mdt, ino, recLMA)
	if raw == nil || err != nil {
		return lustre.LMA{}, false
	}
	l, err := lustre.DecodeLMA(raw)
	return l, err == nil
}

// oiFile is the inode of the file of the object index that holds a FID.
func (b *bench) oiFile(mdt int, f lustre.FID) (uint32, error) {
	oi := b.shadow.targets[mdt].marks.oi
	n, err := lustre.OIFile(f, len(oi))
	if err == nil && oi[n] == 0 {
		err = left("the file %s of the object index is missing", lustre.OIName(n))
	}
	if err != nil {
		return 0, err
	}
	return oi[n], nil
}

// space gives the sequences that a target has to give, and the inode of the file that says so.
func (b *bench) space(mdt int) (start, end uint64, ino uint32, err error) {
	x, err := b.edits[mdt].Find(ext4.InoRoot, []byte(seqFile))
	if err != nil {
		return 0, 0, 0, fmt.Errorf("read %s: %w", seqFile, err)
	}
	var buf [lustre.RangeSize]byte
	n, err := b.edits[mdt].View().ReadFile(x.Inode, 0, buf[:])
	if n < len(buf) {
		return 0, 0, 0, errors.Join(fmt.Errorf("%s is too short", seqFile), err)
	}
	return binary.LittleEndian.Uint64(buf[:]), binary.LittleEndian.Uint64(buf[8:]), x.Inode, nil
}
