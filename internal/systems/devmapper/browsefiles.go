package devmapper

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"fettle/internal/format/boltfile"
	"fettle/internal/format/quietfile"
	"fettle/internal/format/snapshotdb"
	"fettle/internal/format/thinmeta"
	"fettle/internal/store"
)

// fileNode is the handle of a node below files/.
type fileNode struct {
	bolt  *boltLayer // nil for the thin metadata and for files/ itself
	thin  bool
	super bool     // the superblock of the thin metadata
	keys  []string // from the root of the database
	value []byte   // of a key
	bytes int64    // of the value, or of the file
	isDir bool
	what  string // why a bucket cannot be read
}

// layerNode is the node of one whole file.
func (v *view) layerNodes() []store.Node {
	var out []store.Node
	for _, b := range v.u.bolts {
		n := store.Node{Path: []string{"files", b.target}, Kind: "bolt", Dir: true, Size: -1, Identity: "/files/" + b.target, Handle: fileNode{bolt: b, isDir: true, bytes: b.file.Size()}}
		if len(b.report.Problems) > 0 {
			n.Trouble = b.report.Problems[0].String()
			if more := len(b.report.Problems) - 1 + b.report.More; more > 0 {
				n.Trouble += fmt.Sprintf(", and %d more", more)
			}
		}
		out = append(out, n)
	}
	if v.u.thin == nil {
		return out
	}
	name := "thin"
	if p := v.u.thinPath(); p != "" {
		name = filepath.Base(p)
	}
	n := store.Node{Path: []string{"files", name}, Kind: "thin", Dir: !v.u.thin.xml, Size: -1, Handle: fileNode{thin: true, isDir: !v.u.thin.xml}}
	if !v.u.thin.xml {
		n.Identity = "/files/" + name
		if _, bad := v.u.thin.pool.Super(); len(bad) > 0 {
			n.Trouble = bad[0].Text
		}
	} else if v.u.thin.broken != nil {
		n.Trouble = v.u.thin.broken.Error()
	}
	return append(out, n)
}

// lookupFile finds a node below files/.
func (v *view) lookupFile(path []string) (store.Node, error) {
	if len(path) == 1 {
		return store.Node{Path: path, Kind: "dir", Dir: true, Size: -1, Identity: "/files", Handle: fileNode{isDir: true}}, nil
	}
	for _, n := range v.layerNodes() {
		if n.Path[1] != path[1] {
			continue
		}
		f := n.Handle.(fileNode)
		switch {
		case len(path) == 2:
			return n, nil
		case f.thin && !v.u.thin.xml && len(path) == 3 && path[2] == superName:
			return v.superNode(path), nil
		case f.bolt == nil:
			return store.Node{}, errNoNode{}
		}
		return v.lookupKey(f.bolt, path)
	}
	return store.Node{}, errNoNode{}
}

// lookupKey finds a bucket or key of a database.
func (v *view) lookupKey(l *boltLayer, path []string) (store.Node, error) {
	keys := path[2:]
	b := l.file.Root()
	for i, key := range keys {
		sub, ok, err := b.Bucket([]byte(key))
		if ok {
			b = sub
			continue
		}
		if i == len(keys)-1 {
			value, found, verr := b.Get([]byte(key))
			if found {
				return valueNode(l, path, value), nil
			}
			err = errors.Join(err, verr)
		}
		return store.Node{}, errNoNode{partly: err != nil}
	}
	return bucketNode(l, path, b), nil
}

func valueNode(l *boltLayer, path []string, value []byte) store.Node {
	return store.Node{Path: path, Kind: "key", Size: int64(len(value)), Parts: 1,
		Handle: fileNode{bolt: l, keys: path[2:], value: append([]byte{}, value...), bytes: int64(len(value))}}
}

func bucketNode(l *boltLayer, path []string, b *boltfile.Bucket) store.Node {
	n := store.Node{Path: path, Kind: "bucket", Dir: true, Size: -1}
	f := fileNode{bolt: l, keys: path[2:], isDir: true}
	if p, bad := b.Problem(); bad {
		f.what = p.String()
	}
	n.Trouble, n.Handle = f.what, f
	if !b.Inline() {
		n.Identity = fmt.Sprintf("%s page %d", l.target, b.RootPage())
	}
	return n
}

// listFile lists files/, a database, or a bucket.
func (v *view) listFile(ctx context.Context, dir store.Node) ([]store.Node, error) {
	f := dir.Handle.(fileNode)
	switch {
	case !f.isDir:
		return nil, fmt.Errorf("a %s is no directory", dir.Kind)
	case len(dir.Path) == 1:
		return v.layerNodes(), nil
	case f.thin:
		return []store.Node{v.superNode(append(dir.Path[:2:2], superName))}, nil
	}
	b := f.bolt.file.Root()
	for _, key := range f.keys {
		sub, ok, err := b.Bucket([]byte(key))
		if !ok {
			return nil, errors.Join(errNoNode{partly: err != nil}, err)
		}
		b = sub
	}
	var out []store.Node
	err := b.Each(func(key, value []byte, sub *boltfile.Bucket) error {
		path := append(dir.Path[:len(dir.Path):len(dir.Path)], string(key))
		if sub != nil {
			out = append(out, bucketNode(f.bolt, path, sub))
			return ctx.Err()
		}
		n := valueNode(f.bolt, path, nil) // the value is read again when it is wanted
		n.Size = int64(len(value))
		n.Handle = fileNode{bolt: f.bolt, keys: path[2:], bytes: int64(len(value))}
		out = append(out, n)
		return ctx.Err()
	})
	switch {
	case isDamage(err):
		return out, store.Partial("%w", err)
	case err != nil:
		return out, err
	}
	if p, bad := b.Problem(); bad {
		return out, store.Partial("%s", p)
	}
	return out, nil
}

// readFile writes the content of a node.
func (v *view) readFile(ctx context.Context, f fileNode, w io.Writer) error {
	switch {
	case f.super:
		for _, line := range superText(v.u.thin.pool.Super()) {
			if _, err := fmt.Fprintf(w, "%-22s %s\n", line.Name, line.Value); err != nil {
				return err
			}
		}
		return nil
	case f.isDir:
		return errors.New("it is a directory")
	case f.thin:
		in, _, err := quietfile.Open(v.u.thinPath(), 0)
		if err != nil {
			return err
		}
		defer in.Close()
		_, err = io.Copy(w, in)
		return err
	}
	value, err := f.content()
	if err != nil {
		return err
	}
	_, err = w.Write(value)
	return err
}

// content is the value of a key.
func (f *fileNode) content() ([]byte, error) {
	if f.value != nil {
		return f.value, nil
	}
	b := f.bolt.file.Root()
	for _, key := range f.keys[:len(f.keys)-1] {
		sub, ok, err := b.Bucket([]byte(key))
		if !ok {
			return nil, errors.Join(errNoNode{partly: err != nil}, err)
		}
		b = sub
	}
	value, ok, err := b.Get([]byte(f.keys[len(f.keys)-1]))
	if !ok {
		return nil, errors.Join(errNoNode{partly: err != nil}, err)
	}
	return value, nil
}

// fields says what is known about a node.
func (f fileNode) fields(n store.Node) []store.Field {
	var out []store.Field
	add := func(name, format string, args ...any) {
		out = append(out, store.Field{Name: name, Value: fmt.Sprintf(format, args...)})
	}
	switch {
	case f.bolt != nil && len(f.keys) == 0:
		add("file", "%s", f.bolt.path)
		if f.bolt.read != f.bolt.path {
			add("read from", "a copy, because the file is in use")
		}
		add("size", "%d", f.bytes)
		add("page size", "%d", f.bolt.file.PageSize())
		for _, m := range f.bolt.file.Metas() {
			state := "valid"
			if !m.Valid {
				state = "not valid: " + m.Why
			}
			add("meta page", "%d: transaction %d, root page %d, %s", m.Page, m.Txid, m.Root, state)
		}
		for i, p := range f.bolt.report.Problems {
			if i == maxPages {
				add("problem", "and %d more", len(f.bolt.report.Problems)-i+f.bolt.report.More)
				break
			}
			add("problem", "%s", p)
		}
	case f.bolt != nil && f.isDir:
		f.bucketFields(add)
	case f.bolt != nil:
		add("size", "%d", f.bytes)
		if value, err := f.content(); err != nil {
			add("trouble", "%v", err)
		} else if text := decodeValue(f.keys, value); text != "" {
			add("means", "%s", text)
		} else {
			add("value", "%s", showBytes(value))
		}
	case n.Trouble != "":
		add("trouble", "%s", n.Trouble)
	}
	return out
}

func (f fileNode) bucketFields(add func(name, format string, args ...any)) {
	b := f.bolt.file.Root()
	for _, key := range f.keys {
		sub, ok, _ := b.Bucket([]byte(key)) // what cannot be read shows no fields
		if !ok {
			return
		}
		b = sub
	}
	if b.Inline() {
		add("page", "none: it lies within its parent")
	} else {
		add("page", "%d", b.RootPage())
	}
	add("sequence", "%d", b.Sequence())
	if f.what != "" {
		add("trouble", "%s", f.what)
	}
}

// decodeValue says what a value means, as far as containerd's layouts tell; "" when they do not.
func decodeValue(keys []string, value []byte) string {
	name, parent := keys[len(keys)-1], ""
	if len(keys) > 1 {
		parent = keys[len(keys)-2]
	}
	switch {
	case parent == snapshotdb.BucketDeviceIDs && len(value) == 1:
		return idStateName(value[0])
	case parent == "parents":
		return decodeParent(name, value)
	}
	switch name {
	case "createdat", "updatedat", "startedat":
		var t time.Time
		if t.UnmarshalBinary(value) == nil {
			return t.UTC().Format(time.RFC3339Nano)
		}
	case "id":
		if n, err := snapshotdb.Uvarint(value); err == nil {
			return "snapshot " + strconv.FormatUint(n, 10)
		}
	case "kind":
		if len(value) == 1 {
			return snapshotdb.Kind(value[0]).String()
		}
	case "size", "inodes", "version":
		if n, k := binary.Varint(value); k == len(value) && k > 0 {
			return strconv.FormatInt(n, 10)
		}
	}
	return ""
}

// decodeParent decodes an entry of v1/parents.
func decodeParent(key string, value []byte) string {
	parent, n := binary.Uvarint([]byte(key))
	if n <= 0 || n >= len(key) || key[n] != 0 {
		return ""
	}
	child, m := binary.Uvarint([]byte(key[n+1:]))
	if m <= 0 || n+1+m != len(key) {
		return ""
	}
	return fmt.Sprintf("snapshot %d is a child of %d: %s", child, parent, value)
}

// showBytes is a value as text, or in hex when it is none; long ones are cut.
func showBytes(b []byte) string {
	const most = 200
	cut := ""
	if len(b) > most {
		b, cut = b[:most], fmt.Sprintf("... (%d bytes)", len(b))
	}
	if utf8.Valid(b) && !strings.ContainsFunc(string(b), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return string(b) + cut
	}
	return hex.EncodeToString(b) + cut
}

// superName is the node of the superblock.
const superName = "superblock"

func (v *view) superNode(path []string) store.Node {
	n := store.Node{Path: path, Kind: "super", Size: -1, Handle: fileNode{thin: true, super: true}}
	if _, bad := v.u.thin.pool.Super(); len(bad) > 0 {
		n.Trouble = bad[0].Text
	}
	return n
}

// superText is a superblock for people.
func superText(s thinmeta.Superblock, bad []thinmeta.Problem) []store.Field {
	n := func(v uint64) string { return strconv.FormatUint(v, 10) }
	out := []store.Field{
		{Name: "magic", Value: n(s.Magic)}, {Name: "version", Value: n(uint64(s.Version))}, {Name: "flags", Value: n(uint64(s.Flags))},
		{Name: "uuid", Value: hex.EncodeToString(s.UUID[:])}, {Name: "time", Value: n(uint64(s.Time))}, {Name: "transaction id", Value: n(s.TransactionID)},
		{Name: "metadata snapshot", Value: n(s.HeldRoot)}, {Name: "mapping root", Value: n(s.MappingRoot)}, {Name: "details root", Value: n(s.DetailsRoot)},
		{Name: "data block size", Value: n(uint64(s.DataBlockSize)) + " sectors"}, {Name: "data blocks", Value: n(s.Data.Blocks)},
		{Name: "data blocks used", Value: n(s.Data.Allocated)}, {Name: "metadata blocks", Value: n(s.MetadataBlocks)},
		{Name: "metadata blocks used", Value: n(s.Metadata.Allocated)},
	}
	for _, p := range bad {
		out = append(out, store.Field{Name: "problem", Value: p.Text})
	}
	return out
}
