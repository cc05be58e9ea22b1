package flux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"fettle/internal/fault"
	"fettle/internal/format/fluxdump"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// Limits of a dump: trees that contain themselves, or the same directory over and over, end.
const (
	maxDumpDepth = 1000
	maxDumpAgain = 1 << 20 // directories entered that were entered before, plus eight for each different one
	maxDumpWhole = 8 << 20 // values up to this size in bytes are read once, larger ones twice
	maxDumpNamed = 20      // how many keys that were left out are named
)

// dumper writes one tree to an archive.
type dumper struct {
	v      *view
	w      *fluxdump.Writer
	remark io.Writer
	seen   bitmap // of directory objects, by their number in the index
	dirs   int    // different ones
	again  int    // entered before
	left   int    // keys and directories that are not in the archive
}

// cmdDump writes everything readable below the root. An archive without any key is not left behind.
func (v *view) cmdDump(ctx context.Context, c store.BrowseCall) (err error) {
	name := c.Args[0]
	comp, err := fluxdump.CompressionFor(name)
	if err != nil {
		return fault.NewUsage(err, "the name must end in .tar, .tgz or .tar.gz")
	}
	root, err := v.Lookup(ctx, nil, false)
	if err != nil {
		return err
	}
	out := c.Raw
	if name != "-" {
		f, err := createNew(name)
		if err != nil {
			return err
		}
		out = f
		defer func() {
			if cerr := f.Close(); err == nil && cerr != nil {
				err = fmt.Errorf("write %s: %w", name, cerr)
			}
			if err != nil && !errors.Is(err, store.ErrPartial) {
				os.Remove(name) // half an archive would look like a whole one
			}
		}()
	}
	meta := fluxdump.Meta{UID: os.Getuid(), GID: os.Getgid()}
	if t := v.root.when(); !t.IsZero() {
		meta.Time = t.Unix()
	}
	w, err := fluxdump.NewWriter(out, comp, meta)
	if err != nil {
		return err
	}
	d := &dumper{v: v, w: w, remark: c.Err, seen: newBitmap(v.u.idx.n)}
	if err := d.dir(ctx, root, 0); err != nil {
		return err
	}
	if w.Keys() == 0 {
		return fmt.Errorf("nothing of this tree can be read, so there is no archive")
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	fmt.Fprintf(c.Err, "%d keys in %s, %d left out\n", w.Keys(), name, d.left)
	if d.left > 0 {
		return store.Partial("%d keys or directories are not in %s", d.left, name)
	}
	return nil
}

// skip counts something that is not in the archive.
func (d *dumper) skip(path []string, err error) {
	d.left++
	switch {
	case d.left <= maxDumpNamed:
		fmt.Fprintf(d.remark, "left out: %s: %v\n", showKey(path), err)
	case d.left == maxDumpNamed+1:
		fmt.Fprintln(d.remark, "more is left out; find -damaged lists all of it")
	}
}

// enter counts a directory and tells whether it may be written. Equal directories are normal, each in a directory of its own; what is
// refused is a tree with many more paths than objects.
func (d *dumper) enter(n store.Node) bool {
	ref := d.v.scan.Parse(n.Handle.(object).raw).Root.Ref
	if !n.Dir || ref.IsZero() {
		return true
	}
	at := d.v.u.idx.find(ref.Sum())
	switch {
	case at < 0: // lost; told by whoever lists it
	case !d.seen.has(at):
		d.seen.set(at)
		d.dirs++
	default:
		d.again++
		return d.again <= maxDumpAgain+8*d.dirs
	}
	return true
}

func (d *dumper) dir(ctx context.Context, n store.Node, depth int) error {
	if !d.enter(n) {
		d.skip(n.Path, fmt.Errorf("the same directory was written before, and there are too many like it"))
		return nil
	}
	if depth > maxDumpDepth {
		d.skip(n.Path, fmt.Errorf("more than %d levels deep", maxDumpDepth))
		return nil
	}
	list, err := d.v.List(ctx, n, false)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		d.skip(n.Path, err)
	}
	for _, c := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.Dir {
			err = d.dir(ctx, c, depth+1)
		} else {
			err = d.key(ctx, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// key writes a value or a link; only failures of the archive itself are errors.
func (d *dumper) key(ctx context.Context, n store.Node) error {
	o := n.Handle.(object)
	var err error
	switch o.typ {
	case treeobj.TypeSymlink:
		target, ns, hasNS, ok := d.v.scan.Parse(o.raw).Root.Symlink()
		if !ok {
			d.skip(n.Path, fmt.Errorf("link without a target"))
			return nil
		}
		err = d.w.Symlink(n.Path, target, ns, hasNS)
	case treeobj.TypeVal, treeobj.TypeValref:
		size, content, trouble := d.measure(ctx, n, o)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if trouble != nil {
			d.skip(n.Path, trouble)
			return nil
		}
		err = d.w.Value(n.Path, o.typ == treeobj.TypeVal, size, content)
	default:
		d.skip(n.Path, fmt.Errorf("malformed: %s", o.rule))
		return nil
	}
	if errors.Is(err, fluxdump.ErrAmbiguous) {
		d.skip(n.Path, err)
		return nil
	}
	return err
}

// measure finds out whether a value is whole and how long it is, as the archive needs the size before the content.
func (d *dumper) measure(ctx context.Context, n store.Node, o object) (int64, io.Reader, error) {
	var whole bytes.Buffer
	c := &counter{keep: &whole, limit: maxDumpWhole}
	if o.typ == treeobj.TypeVal {
		c.limit = fluxdump.MaxValue // in memory anyway, as part of its directory
	}
	if err := d.v.Read(ctx, n, -1, c); err != nil {
		return 0, nil, err
	}
	if c.n > fluxdump.MaxValue {
		return 0, nil, fmt.Errorf("%d bytes are more than flux restore can take", c.n)
	}
	if c.n <= c.limit {
		return c.n, &whole, nil
	}
	return c.n, &blobStream{v: d.v, refs: d.v.scan.Parse(o.raw).Root.AppendRefs(nil)}, nil
}

// counter counts bytes and keeps the first ones.
type counter struct {
	n     int64
	keep  *bytes.Buffer
	limit int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	if c.n <= c.limit {
		c.keep.Write(p)
	}
	return len(p), nil
}

// blobStream reads blobs one after the other; one is in memory at a time.
type blobStream struct {
	v    *view
	refs []treeobj.Ref
	rest []byte
}

// Read implements io.Reader.
func (s *blobStream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if len(s.refs) == 0 {
			return 0, io.EOF
		}
		content, ok := s.v.k.f.b.get(s.refs[0])
		if !ok {
			return 0, fmt.Errorf("%s could be read a moment ago: the store is being written to", s.refs[0])
		}
		s.rest, s.refs = content, s.refs[1:]
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
