package flux

import (
	"context"
	"fmt"
	"strconv"

	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// node describes a tree object. With sizes the blobs of a value are read to add up their sizes; without, what the sweep remembers of
// them is enough.
func (v *view) node(path []string, o object, sizes bool) store.Node {
	n := store.Node{Path: path, Kind: o.typ.String(), Size: -1, Handle: o}
	e := &v.scan.Parse(o.raw).Root
	switch o.typ {
	case treeobj.TypeDir:
		n.Dir = true
	case treeobj.TypeDirref:
		n.Dir, n.Identity = true, e.Ref.String()
		n.Trouble = v.dirTrouble(e.Ref)
	case treeobj.TypeVal:
		n.Parts = 1
		if content, err := e.Value(); err == nil {
			n.Size = int64(len(content))
		}
	case treeobj.TypeValref:
		v.valueNode(&n, e, sizes)
	case treeobj.TypeSymlink:
		if target, ns, hasNS, ok := e.Symlink(); ok {
			n.Link = linkText(target, ns, hasNS)
		}
	}
	if o.rule != treeobj.RuleNone {
		n.Trouble = "malformed: " + o.rule.String()
		if o.rule.FluxRejects() {
			n.Trouble += ", so that Flux cannot decode its directory"
		}
	}
	return n
}

// linkText is a symlink's target for people, in the form that flux dump uses.
func linkText(target, ns string, hasNS bool) string {
	text := treeobj.FormatPath(treeobj.SplitKey(target))
	if text == "" {
		text = "."
	}
	if hasNS {
		return strconv.Quote(ns) + "::" + text
	}
	return text
}

// dirTrouble says what is wrong with a directory object as a whole.
func (v *view) dirTrouble(ref treeobj.Ref) string {
	if ref.IsZero() {
		return "the reference names no blob"
	}
	n := v.u.idx.find(ref.Sum())
	if n < 0 {
		return "lost: no blob " + ref.String()
	}
	e := v.u.idx.at(n)
	if e.status() != statusGood || !e.has(flagDirLike) {
		// Rare: what the sweep remembers is not enough to say it exactly.
		row, ok := v.k.f.b.lookup(ref)
		if says := rowTrouble(row, ok); says != "" {
			return "lost: " + says
		}
		if t := new(treeobj.Scanner).ParseDir(row.Content); !t.IsDir() || t.Broken {
			return fmt.Sprintf("%s is no directory object: %v", ref, t.Err(-1))
		}
	}
	if e.has(flagBlobKey) {
		return "Flux cannot find it: the key of its row has storage class BLOB"
	}
	return ""
}

// valueNode fills in size and trouble of a valref.
func (v *view) valueNode(n *store.Node, e *treeobj.Entry, sizes bool) {
	n.Parts = int(e.Count)
	var bad, hidden []int
	if sizes {
		n.Size = 0
	}
	e.EachRef(func(i int, ref treeobj.Ref) bool {
		at := v.u.idx.find(ref.Sum())
		if at < 0 || !v.u.idx.at(at).goodContent() {
			bad = append(bad, i)
			return true
		}
		if v.u.idx.at(at).has(flagBlobKey) {
			hidden = append(hidden, i)
		}
		if sizes {
			if row, ok := v.k.f.b.lookup(ref); ok {
				n.Size += int64(len(row.Content))
			}
		}
		return true
	})
	switch {
	case len(bad) > 0:
		n.Trouble = fmt.Sprintf("%d of %d blobs lost or damaged: index %s", len(bad), n.Parts, intsText(bad, 10))
	case len(hidden) > 0:
		n.Trouble = fmt.Sprintf("Flux cannot find %d of %d blobs (key of storage class BLOB): index %s", len(hidden), n.Parts, intsText(hidden, 10))
	}
}

// intsText lists numbers, neighbours as ranges, at most n of those: "3, 7-9, ...".
func intsText(ns []int, n int) string {
	text := ""
	for i := 0; i < len(ns); n-- {
		j := i
		for j+1 < len(ns) && ns[j+1] == ns[j]+1 {
			j++
		}
		if text != "" {
			text += ", "
		}
		if n == 0 {
			return text + "..."
		}
		text += strconv.Itoa(ns[i])
		if j > i {
			text += "-" + strconv.Itoa(ns[j])
		}
		i = j + 1
	}
	return text
}

// maxStatBlobs is how many blobs of one value stat lists.
const maxStatBlobs = 200

// Stat implements store.View.
func (v *view) Stat(ctx context.Context, n store.Node) ([]store.Field, error) {
	o := n.Handle.(object)
	n = v.node(n.Path, o, true)
	key := treeobj.FormatPath(n.Path)
	if key == "" {
		key = ". (the root of " + v.root.label() + ")"
	}
	out := []store.Field{{Name: "key", Value: key}}
	add := func(name, format string, args ...any) {
		out = append(out, store.Field{Name: name, Value: fmt.Sprintf(format, args...)})
	}
	if id := jobOf(treeobj.FormatKey(n.Path)); id != "" {
		add("job", "%s", id)
	}
	add("type", "%s", n.Kind)
	if n.Trouble != "" {
		add("trouble", "%s", n.Trouble)
	}
	refs := v.scan.Parse(o.raw).Root.AppendRefs(nil)
	switch o.typ {
	case treeobj.TypeSymlink:
		v.statLink(ctx, n, o, add)
	case treeobj.TypeDir, treeobj.TypeDirref:
		if len(refs) > 0 {
			add("object", "%s", v.refText(refs[0]))
		}
		if t, err := v.open(o); err == nil {
			count := 0
			for i := range t.Entries {
				if t.Entries[i].Parent == -1 {
					count++
				}
			}
			add("entries", "%d", count)
			if t.Broken {
				add("broken", "%v", t.Err(-1))
			}
		}
	default:
		if n.Size >= 0 {
			add("size", "%d", n.Size)
		}
		add("stored", "%s", map[bool]string{true: "in its directory", false: fmt.Sprintf("in %d blobs", len(refs))}[o.typ == treeobj.TypeVal])
		for i, ref := range refs[:min(len(refs), maxStatBlobs)] {
			if err := ctx.Err(); err != nil {
				return out, err
			}
			add(fmt.Sprintf("blob %d", i), "%s", v.refText(ref))
		}
		if len(refs) > maxStatBlobs {
			add("", "and %d more", len(refs)-maxStatBlobs)
		}
	}
	if o.rule != treeobj.RuleNone || o.typ == treeobj.TypeUnknown {
		add("text", "%.300s", o.raw)
	}
	return out, nil
}

func (v *view) statLink(ctx context.Context, n store.Node, o object, add func(name, format string, args ...any)) {
	target, ns, hasNS, ok := v.scan.Parse(o.raw).Root.Symlink()
	if !ok {
		return
	}
	add("target", "%s", target)
	if hasNS {
		add("namespace", "%s", ns)
	}
	if found, err := v.Lookup(ctx, n.Path, true); err == nil {
		add("leads to", "%s (%s)", showKey(found.Path), found.Kind)
	} else {
		add("leads to", "nothing: %v", err)
	}
}

// refText is a reference with the state of its blob.
func (v *view) refText(ref treeobj.Ref) string {
	row, ok := v.k.f.b.lookup(ref)
	if says := rowTrouble(row, ok); says != "" {
		return ref.String() + "  ! " + says
	}
	text := fmt.Sprintf("%s  %d bytes", ref, len(row.Content))
	if row.BlobKey {
		text += "  ! key of storage class BLOB"
	}
	return text
}
