package flux

import (
	"bytes"
	"context"

	"fettle/internal/format/fluxdump"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// DumpCounts says how much of a store an emergency dump holds.
type DumpCounts struct {
	Keys    int `json:"keys"`    // whole ones, in their place
	Partial int `json:"partial"` // what is left of damaged ones, below lost+found
	Older   int `json:"older"`   // older versions of lost directories, below lost+found
	Lost    int `json:"lost"`    // keys and directories of which nothing can be read
	Skipped int `json:"skipped"` // that have no form in an archive, or are too large for one
}

// Bounds of a dump against stores in which few objects stand for very many keys or bytes.
const (
	maxRelicVisits = 1000      // times that one directory object is listed under different keys
	maxRelicValue  = 256 << 20 // bytes of one value
	maxRelicDepth  = 200
)

// Dump writes everything that is readable below the best root, in the layout of flux dump. Damaged keys go below lost+found
// as a repair would put them, so that nobody takes half a log for a whole one; the logs that Flux reads in parts stay in
// their place. The caller looks at w.Keys: an archive without keys is no dump.
func (r *Relic) Dump(ctx context.Context, w *fluxdump.Writer) (DumpCounts, error) {
	d := &relicDumper{ctx: ctx, r: r, w: w, k: newKVS(r.u, r.root), visits: map[treeobj.Ref]int{}}
	if r.root.IsZero() {
		return d.counts, nil
	}
	raw, err := treeobj.NewDirref(r.root)
	if err != nil {
		return d.counts, err
	}
	total := int64(0)
	if len(r.u.roots) > 0 && r.u.roots[0].ref == r.root { // of other trees nobody has counted the keys
		total = r.u.reach.counts.Keys
	}
	d.part = store.Begin(ctx, "dump", "writing all that can be read to a dump", total, 0)
	defer d.part.End()
	err = d.dir(raw, nil, nil)
	return d.counts, err
}

type relicDumper struct {
	ctx    context.Context
	r      *Relic
	w      *fluxdump.Writer
	k      *kvs
	visits map[treeobj.Ref]int
	counts DumpCounts
	part   *store.Part
	tries  int // lost directories for which older versions were looked for
}

// maxRelicTries bounds the search for older versions.
const maxRelicTries = 1000

// dir lists a directory. path is its key, prefix is put before it in the archive.
func (d *relicDumper) dir(raw []byte, prefix, path []string) error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	var scan treeobj.Scanner
	t := scan.Parse(raw)
	if t.Root.Type == treeobj.TypeDirref {
		ref := t.Root.Ref
		if d.visits[ref]++; d.visits[ref] > maxRelicVisits {
			d.counts.Skipped++
			return nil
		}
	}
	if len(path) > maxRelicDepth {
		d.counts.Skipped++
		return nil
	}
	children, err := d.k.list(raw)
	if err != nil {
		return d.lostDir(prefix, path)
	}
	for _, c := range children {
		p := append(path[:len(path):len(path)], c.name)
		switch {
		case c.rule != treeobj.RuleNone:
			d.counts.Lost++
		case c.typ == treeobj.TypeDir || c.typ == treeobj.TypeDirref:
			err = d.dir(c.raw, prefix, p)
		case c.typ == treeobj.TypeSymlink:
			err = d.symlink(c.raw, prefix, p)
		default:
			err = d.value(c, prefix, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lostDir puts an older version of a directory that cannot be read below lost+found.
func (d *relicDumper) lostDir(prefix, path []string) error {
	if len(prefix) > 0 || len(path) == 0 || d.tries >= maxRelicTries {
		d.counts.Lost++
		return nil
	}
	d.tries++
	v, err := d.r.vf.anywhere(d.ctx, treeobj.FormatKey(path))
	if err != nil {
		return err
	}
	if v == nil {
		d.counts.Lost++
		return nil
	}
	before := d.w.Keys()
	err = d.dir(v.Entry, []string{lostFound}, path)
	d.counts.Older += d.w.Keys() - before
	return err
}

func (d *relicDumper) symlink(raw []byte, prefix, path []string) error {
	d.part.Did(1, 0)
	var scan treeobj.Scanner
	t := scan.Parse(raw)
	target, ns, has, ok := t.Root.Symlink()
	if !ok || d.w.Symlink(join(prefix, path), target, ns, has) != nil {
		d.counts.Skipped++ // ambiguous in an archive; nothing was written for it
		return nil
	}
	d.counts.Keys++
	return nil
}

func (d *relicDumper) value(c child, prefix, path []string) error {
	d.part.Did(1, 0)
	if c.typ == treeobj.TypeValref && d.length(c.raw) > maxRelicValue {
		d.counts.Skipped++
		return nil
	}
	content, bad := d.k.content(c.raw)
	key := treeobj.JoinKey(path)
	switch {
	case len(bad) > 0 && len(content) == 0:
		d.counts.Lost++
		return nil
	case len(bad) > 0 && key != keyResourceLog:
		prefix = []string{lostFound}
	}
	name := join(prefix, path)
	if !archivable(name) {
		d.counts.Skipped++
		return nil
	}
	if err := d.w.Value(name, c.typ == treeobj.TypeVal, int64(len(content)), bytes.NewReader(content)); err != nil {
		return err
	}
	if len(bad) > 0 {
		d.counts.Partial++
	} else {
		d.counts.Keys++
	}
	return nil
}

// length adds up the content of a valref until it is more than a dump takes.
func (d *relicDumper) length(raw []byte) int64 {
	var scan treeobj.Scanner
	total := int64(0)
	t := scan.Parse(raw)
	t.Root.EachRef(func(_ int, r treeobj.Ref) bool {
		if part, ok := d.k.f.b.get(r); ok {
			total += int64(len(part))
		}
		return total <= maxRelicValue
	})
	return total
}

// archivable tells whether a key has a faithful name in an archive.
func archivable(path []string) bool {
	for _, n := range path {
		if n == "" || bytes.ContainsAny([]byte(n), ".\x00") || len(bytes.Trim([]byte(n), "/")) == 0 {
			return false
		}
	}
	return len(path) > 0
}

func join(prefix, path []string) []string {
	return append(append(make([]string, 0, len(prefix)+len(path)), prefix...), path...)
}
