package lustre

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/store"
)

// Kinds of nodes that are no types of files.
const (
	kindStriped = "striped"  // a directory over several shards
	kindShard   = "shard"    // one of them, in a target's own tree
	kindAgent   = "agent"    // stands for an object of another MDT, in a target's own tree
	kindGone    = "dangling" // a name without an object
	kindUnseen  = "unseen"   // a name of an object on an MDT that was not given
	kindBad     = "damaged"  // an inode that cannot be read, or is free
)

// node makes a node of a thing.
func (v *view) node(path []string, th *thing) store.Node {
	n := store.Node{Path: path, Size: -1, Handle: th, Trouble: th.trouble}
	switch {
	case th.top:
		n.Kind, n.Dir, n.Identity = "dir", true, "top"
		return n
	case th.none && (th.fids || th.fid == lustre.FIDDotLustre && th.entry == nil):
		n.Kind, n.Dir, n.Identity = "dir", true, "made "+th.fid.String()
		return n
	case th.none:
		n.Kind = kindGone
		if _, known := v.home(th.fid); th.fid != (lustre.FID{}) && !known {
			n.Kind = kindUnseen
		}
		return n
	}
	fs := v.targets[th.at.mdt].fs
	in, err := fs.Inode(th.at.ino)
	switch {
	case err != nil:
		n.Kind, n.Trouble = kindBad, err.Error()
		return n
	case !in.Allocated:
		n.Kind, n.Trouble = kindBad, fmt.Sprintf("inode %d is free", th.at.ino)
		return n
	}
	n.Dir = in.IsDir()
	n.Kind = v.kind(th, in)
	if n.Dir {
		n.Identity = fmt.Sprintf("%t %d %d", th.raw, th.at.mdt, th.at.ino)
	}
	if in.IsSymlink() {
		if b, err := fs.ReadAll(in, 4096); err == nil {
			n.Link = strings.TrimRight(string(b), "\x00")
		} else {
			n.Trouble = err.Error()
		}
	}
	if th.raw && in.IsRegular() {
		n.Size = v.readable(fs, in)
	}
	if th.raw && th.entry != nil && n.Trouble == "" && th.entry.typ != 0 && th.entry.typ != ext4.DirentTypeOf(in.Mode) {
		n.Trouble = fmt.Sprintf("the name says %s", ext4.TypeName(th.entry.typ))
	}
	return n
}

// kind is the word for what an inode is.
func (v *view) kind(th *thing, in *ext4.Inode) string {
	if b, ok := in.Xattr(ext4.XattrIndexTrusted, "lma"); ok && th.raw {
		if l, err := lustre.DecodeLMA(b); err == nil && l.Has(lustre.LMAIAgent) && v.tenant(th.at).agent {
			return kindAgent
		}
	}
	if in.IsDir() {
		switch lustre.LMVMagic(v.attribute(th.at, "lmv")) {
		case lustre.LMVMaster:
			return kindStriped
		case lustre.LMVShard:
			return kindShard
		}
	}
	switch ext4.DirentTypeOf(in.Mode) {
	case 1:
		return "file"
	case 2:
		return "dir"
	case 3:
		return "chardev"
	case 4:
		return "blockdev"
	case 5:
		return "fifo"
	case 6:
		return "socket"
	case 7:
		return "symlink"
	}
	return kindBad
}

// readable is how many bytes of a file can be read: up to the last block that is there.
func (v *view) readable(fs *ext4.FS, in *ext4.Inode) int64 {
	f, err := fs.File(in, nil)
	if err != nil {
		return -1
	}
	return min(f.Size(), f.Mapped())
}

// Stat implements store.View.
func (v *view) Stat(_ context.Context, n store.Node) ([]store.Field, error) {
	th := n.Handle.(*thing)
	var out []store.Field
	add := func(name, format string, args ...any) {
		out = append(out, store.Field{Name: name, Value: fmt.Sprintf(format, args...)})
	}
	add("path", "/%s", v.Format(n.Path))
	add("kind", "%s", n.Kind)
	if th.trouble != "" {
		add("trouble", "%s", th.trouble)
	}
	if l, ok := lustre.ParseLostName(n.Name()); ok {
		add("such a name means", "%s", l.Explain())
	}
	if r := th.entry; r != nil {
		fid := "no FID"
		if r.hasFID {
			fid = r.fid.String()
		}
		add("name", "in %s inode %d (%v) at byte %d: %s, inode %d, %s", v.targets[th.dir.mdt].name(), th.dir.ino, r.parent, r.at, ext4.TypeName(r.typ), r.ino, fid)
	}
	if th.fid != (lustre.FID{}) {
		add("fid", "%v", th.fid)
		add("owner", "%s", v.owner(th.fid))
	}
	if th.none || th.top {
		return out, nil
	}
	fs := v.targets[th.at.mdt].fs
	in, err := fs.Inode(th.at.ino)
	if err != nil {
		add("inode", "%s %d: %v", v.targets[th.at.mdt].name(), th.at.ino, err)
		return out, nil
	}
	add("inode", "%s %d, generation %d", v.targets[th.at.mdt].name(), in.Number, in.Generation)
	add("mode", "%06o", in.Mode)
	add("links", "%d", in.Links)
	add("uid, gid, project", "%d, %d, %d", in.UID, in.GID, in.ProjID)
	add("size on the MDT", "%d", in.Size)
	for _, t := range []struct {
		name string
		at   ext4.Time
	}{{"atime", in.Atime()}, {"mtime", in.Mtime()}, {"ctime", in.Ctime()}} {
		add(t.name, "%s", time.Unix(t.at.Sec, int64(t.at.Nsec)).UTC().Format(time.RFC3339Nano))
	}
	if n.Link != "" {
		add("target", "%q", n.Link)
	}
	texts, err := v.attributes(in, th.at)
	out = append(out, texts...)
	if err != nil {
		add("attributes", "%v", err)
	}
	return out, nil
}

// owner says which MDT an object belongs to.
func (v *view) owner(f lustre.FID) string {
	index, what := v.fld.Lookup(f)
	switch what {
	case lustre.PlaceMDT:
		text := lustre.MDTName(index)
		if _, given := v.places[index]; !given {
			text += " (not given)"
		}
		return text
	case lustre.PlaceOST:
		return fmt.Sprintf("OST%04x", index)
	case lustre.PlaceLocal:
		return "every target has its own"
	}
	return "nobody has the sequence, as far as the given MDTs know"
}

// maxHex is how many bytes of an attribute that nobody can decode are shown.
const maxHex = 256

// attributes tells what all attributes of an inode say. The error says that damage hides some.
func (v *view) attributes(in *ext4.Inode, p place) (out []store.Field, err error) {
	first := ""
	failed := in.Xattrs(v.targets[p.mdt].fs, func(x ext4.Xattr) bool {
		name := x.FullName()
		text, ok := lustre.Describe(name, x.Value)
		if name == lustre.XattrLFSCKNS {
			text, ok = lfsckText(x.Value)
		}
		if !ok {
			text = plainValue(x.Value)
			if what, known := lustre.KnownXattr(name); known {
				text += " (" + what + ")"
			}
		}
		out = append(out, store.Field{Name: formatName(name), Value: text})
		return true
	}, func(p ext4.Problem) {
		if first == "" {
			first = p.String()
		}
	})
	if failed != nil {
		return out, store.Partial("%v", failed)
	}
	if first != "" {
		return out, store.Partial("%s", first)
	}
	return out, nil
}

func lfsckText(b []byte) (string, bool) {
	n, err := lustre.DecodeLFSCKNamespace(b)
	if err != nil {
		return err.Error(), true
	}
	return n.Text(lustre.LFSCKBookmark{}, lustre.LFSCKLive{Current: n.LastCheckpointPos}, n.LastCompleted), true
}

// plainValue shows bytes as text where they are some, else in hex.
func plainValue(b []byte) string {
	text := strings.TrimRight(string(b), "\x00")
	if text != "" && len(text) <= maxHex && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl) {
		return strconv.Quote(text)
	}
	if len(b) > maxHex {
		return fmt.Sprintf("%s... (%d bytes)", hex.EncodeToString(b[:maxHex]), len(b))
	}
	return hex.EncodeToString(b)
}

// Read implements store.View. The content of files of the namespace is on OSTs: what an MDT has of them are attributes. Files in a
// target's own tree are given as they are.
func (v *view) Read(ctx context.Context, n store.Node, part int, w io.Writer) error {
	th := n.Handle.(*thing)
	switch {
	case part > 0:
		return fmt.Errorf("it has one part; there is no part %d", part)
	case n.Dir && th.raw:
		return errors.New("it is a directory; xattrs shows its attributes")
	case th.none || th.top:
		return errors.New("it has no inode")
	}
	fs := v.targets[th.at.mdt].fs
	in, err := fs.Inode(th.at.ino)
	if err != nil {
		return err
	}
	if th.raw && in.IsRegular() {
		return v.copyFile(ctx, fs, in, w)
	}
	return v.writeAttributes(in, th.at, w)
}

func (v *view) writeAttributes(in *ext4.Inode, p place, w io.Writer) error {
	fields, partly := v.attributes(in, p)
	for _, f := range fields {
		if _, err := fmt.Fprintf(w, "%s: %s\n", f.Name, strings.ReplaceAll(strings.TrimRight(f.Value, "\n"), "\n", "\n    ")); err != nil {
			return err
		}
	}
	return partly
}

// copyFile writes a file of a target up to the last block that is there.
func (v *view) copyFile(ctx context.Context, fs *ext4.FS, in *ext4.Inode, w io.Writer) error {
	first := ""
	f, err := fs.File(in, func(p ext4.Problem) {
		if first == "" {
			first = p.String()
		}
	})
	if err != nil {
		return err
	}
	buf, end := make([]byte, 256<<10), min(f.Size(), f.Mapped())
	for at := int64(0); at < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		at += int64(n)
		if at < end && (err != nil || n == 0) {
			return store.Partial("byte %d: %v", at, err)
		}
	}
	if first != "" {
		return store.Partial("%s", first)
	}
	return nil
}
