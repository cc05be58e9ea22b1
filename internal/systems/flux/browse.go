package flux

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"

	"fettle/internal/fault"
	"fettle/internal/format/fluid"
	"fettle/internal/format/treeobj"
	"fettle/internal/store"
)

// view shows the tree below one root directory of a content store, however damaged the store is. Nothing is judged here that the
// check does not judge as well; the difference is that every key is shown with what is wrong with it, and everything readable is read.
type view struct {
	u     *unit
	k     *kvs
	scan  treeobj.Scanner
	root  chosenRoot // zero when there is no directory to begin with
	notes []string
}

// browseEnv runs the sweep for a view.
type browseEnv struct {
	quietEnv
	memory   int64
	progress func(done, total int64)
	total    int64
	done     atomic.Int64
}

func (e *browseEnv) Memory() int64        { return e.memory }
func (e *browseEnv) Total(_, bytes int64) { e.total = bytes }
func (e *browseEnv) Did(ctx context.Context, _, bytes int64) error {
	done := e.done.Add(bytes)
	if e.progress != nil {
		e.progress(done, e.total)
	}
	return ctx.Err()
}

// Browse implements store.Browser. The table is swept once to know where every blob lies; then the root is chosen as a check does.
func (u *unit) Browse(ctx context.Context, env store.BrowseEnv) (store.View, error) {
	be := &browseEnv{quietEnv: quietEnv{dir: env.Scratch, workers: env.Workers}, memory: env.Memory, progress: env.Progress}
	if err := u.ensureIndex(ctx, be); err != nil {
		return nil, err
	}
	v := &view{u: u}
	roots, err := u.chooseRoots(ctx)
	if err != nil {
		return nil, err
	}
	if len(roots) > 0 {
		v.setRoot(roots[0])
	} else {
		v.setRoot(chosenRoot{})
	}
	return v, nil
}

// setRoot makes v show another tree and says in the notes what is special about it.
func (v *view) setRoot(r chosenRoot) {
	v.root, v.k, v.notes = r, newKVS(v.u, r.ref), nil
	note := func(format string, args ...any) { v.notes = append(v.notes, fmt.Sprintf(format, args...)) }
	if n := len(v.u.problems) + len(v.u.faults); n > 0 {
		note("the database file is damaged in %d places; %d rows of blobs could be read", n, v.u.counts.Rows)
	}
	switch {
	case r.ref.IsZero():
		note("no root directory can be found in this store; checkpoints and blob show what there is")
	case len(r.rows) > 0 && r.id() == v.newestID():
	case len(r.rows) > 0:
		note("this is %s, not the newest checkpoint%s", r.label(), agoText(r))
	case r.orphan != nil && r.orphan.good:
		note("no checkpoint can be used; this is the newest root directory whose tree is whole, %s", r.ref)
	case r.orphan != nil:
		note("no checkpoint can be used; this is the newest root directory that can be read, %s", r.ref)
	default:
		note("this is the root directory %s, which no checkpoint names", r.ref)
	}
}

// newestID is the row that Flux would start from, 0 without one.
func (v *view) newestID() int64 {
	if len(v.u.checkpoints) > 0 {
		return v.u.checkpoints[0].ID
	}
	return 0
}

func agoText(r chosenRoot) string {
	if t := r.when(); !t.IsZero() {
		return ", made " + t.Format("2006-01-02 15:04:05Z")
	}
	return ""
}

// Notes implements store.View.
func (v *view) Notes() []string { return v.notes }

// Separator implements store.View.
func (v *view) Separator() string { return "." }

// Format implements store.View.
func (v *view) Format(path []string) string { return treeobj.FormatPath(path) }

// Resolve implements store.View. A path is a key; the F58 id of a job stands for its directory.
func (v *view) Resolve(ctx context.Context, cwd []string, text string) ([]string, error) {
	switch text {
	case "", ".":
		return cwd, nil
	case "..":
		return cwd[:max(0, len(cwd)-1)], nil
	}
	if rest, ok := strings.CutPrefix(text, "/"); ok {
		cwd, text = nil, rest
	}
	names, err := treeobj.ParsePath(strings.TrimRight(text, "."))
	if err != nil || len(names) == 0 {
		return cwd, err
	}
	path := append(cwd[:len(cwd):len(cwd)], names...)
	if id, err := fluid.ParseF58(names[0]); err == nil {
		if _, err := v.Lookup(ctx, path[:len(cwd)+1], false); err != nil {
			return append(id.Path(), names[1:]...), nil
		}
	}
	return path, nil
}

// noKeyError says that a directory does not have a name.
type noKeyError struct{ partly bool }

func (e noKeyError) Error() string {
	if e.partly {
		return "no such key in the part of its directory that can be read"
	}
	return "no such key"
}

// Is makes the error one of fs.ErrNotExist.
func (noKeyError) Is(target error) bool { return target == fs.ErrNotExist }

// maxLinks is how many symbolic links one lookup follows (as in Flux, kvs lookup).
const maxLinks = 10

// object is the handle of a node: a tree object.
type object struct {
	raw  []byte
	typ  treeobj.Type
	rule treeobj.Rule
}

// Lookup implements store.View.
func (v *view) Lookup(ctx context.Context, path []string, follow bool) (store.Node, error) {
	if v.root.ref.IsZero() {
		return store.Node{}, fault.WithHint(fmt.Errorf("there is no root directory"), "checkpoints -a lists the roots that are left; use REF shows one")
	}
	names := path
	for links := 0; ; links++ {
		at, left, o, err := v.descend(ctx, names)
		if err != nil {
			return store.Node{}, err
		}
		n := v.node(at, o, true)
		if o.typ != treeobj.TypeSymlink || len(left) == 0 && !follow {
			return n, nil
		}
		target, err := v.target(o)
		switch {
		case err != nil:
			return store.Node{}, fmt.Errorf("link %s: %w", treeobj.FormatPath(at), err)
		case links == maxLinks:
			return store.Node{}, fmt.Errorf("link %s: more than %d links in a row", treeobj.FormatPath(at), maxLinks)
		}
		names = append(target, left...)
	}
}

// target is where a symlink leads within this tree.
func (v *view) target(o object) ([]string, error) {
	e := &v.scan.Parse(o.raw).Root
	target, ns, hasNS, ok := e.Symlink()
	switch {
	case !ok:
		return nil, fmt.Errorf("it has no target")
	case hasNS && ns != "primary":
		return nil, fault.WithHint(fmt.Errorf("it leads to the namespace %q, which is no part of this tree", ns),
			"other namespaces are not checkpointed: what they held is lost when the instance ends, except as unreferenced blobs")
	}
	return treeobj.SplitKey(target), nil
}

// descend follows names from the root to the end, or to the first link on the way; left are the names behind it.
func (v *view) descend(ctx context.Context, names []string) (at, left []string, o object, err error) {
	raw, err := treeobj.NewDirref(v.root.ref)
	if err != nil {
		return nil, nil, o, err
	}
	o = object{raw: raw, typ: treeobj.TypeDirref}
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, nil, o, err
		}
		if o.typ == treeobj.TypeSymlink {
			return names[:i], names[i:], o, nil
		}
		t, err := v.open(o)
		if err != nil {
			if o.typ == treeobj.TypeVal || o.typ == treeobj.TypeValref {
				return nil, nil, o, fmt.Errorf("%s is a value, not a directory: %w", treeobj.FormatPath(names[:i]), noKeyError{})
			}
			return nil, nil, o, fault.WithHint(fmt.Errorf("%s: %w", showKey(names[:i]), err),
				"an older tree may have it: checkpoints lists them, use ID shows one")
		}
		n := findEntry(t, -1, name)
		if n < 0 {
			return nil, nil, o, noKeyError{partly: t.Broken || t.BadOmitted > 0}
		}
		o = objectOf(&t.Entries[n])
	}
	return names, nil, o, nil
}

func objectOf(e *treeobj.Entry) object {
	return object{raw: append([]byte(nil), e.Raw...), typ: e.Type, rule: e.Rule}
}

// showKey is a path for people.
func showKey(path []string) string {
	if len(path) == 0 {
		return "the root directory"
	}
	return treeobj.FormatPath(path)
}

// open parses the directory that o stands for. The tree is valid until the next use of v.scan; it may be broken.
func (v *view) open(o object) (*treeobj.Tree, error) {
	t := v.scan.Parse(o.raw)
	switch o.typ {
	case treeobj.TypeDir:
		return t, nil
	case treeobj.TypeDirref:
	default:
		return nil, fmt.Errorf("a %s is no directory", o.typ)
	}
	ref := t.Root.Ref
	if ref.IsZero() {
		return nil, fmt.Errorf("the directory reference names no blob")
	}
	row, ok := v.k.f.b.lookup(ref)
	if says := rowTrouble(row, ok); says != "" {
		return nil, fmt.Errorf("directory object %s: %s", ref, says)
	}
	t = v.scan.ParseDir(row.Content)
	// Flux writes the type last: a directory that is cut off has entries, but nothing that says what it is.
	cutOff := t.Broken && t.Root.Type == treeobj.TypeUnknown && len(t.Entries) > 0
	if !t.IsDir() && !cutOff {
		return nil, fmt.Errorf("%s is no directory object: %w", ref, t.Err(-1))
	}
	return t, nil
}

// rowTrouble says why the content of a row cannot be used, "" if it can.
func rowTrouble(row *blobRow, ok bool) string {
	switch {
	case !ok:
		return "it is lost"
	case row.Status == statusMismatch:
		return "wrong content: " + row.Why
	case row.Status == statusUndecodable:
		return "it cannot be decoded: " + row.Why
	}
	return ""
}

// List implements store.View.
func (v *view) List(ctx context.Context, dir store.Node, sizes bool) ([]store.Node, error) {
	o, err := v.followed(ctx, &dir)
	if err != nil {
		return nil, err
	}
	t, err := v.open(o)
	if err != nil {
		return nil, err
	}
	var objects []object
	var names []string
	for i := range t.Entries {
		if e := &t.Entries[i]; e.Parent == -1 {
			names, objects = append(names, string(e.Name)), append(objects, objectOf(e))
		}
	}
	if t.Broken {
		err = store.Partial("the directory is broken, these are the entries before the fault: %w", t.Err(-1))
	} else if t.BadOmitted > 0 {
		err = store.Partial("%d malformed entries are left out", t.BadOmitted)
	}
	out := make([]store.Node, len(objects))
	for i, o := range objects {
		if ctx.Err() != nil {
			return out[:i], ctx.Err()
		}
		out[i] = v.node(append(dir.Path[:len(dir.Path):len(dir.Path)], names[i]), o, sizes)
	}
	return out, err
}

// followed is the object of a node; a link is followed and replaced by its target.
func (v *view) followed(ctx context.Context, n *store.Node) (object, error) {
	o := n.Handle.(object)
	if o.typ == treeobj.TypeSymlink {
		found, err := v.Lookup(ctx, n.Path, true)
		if err != nil {
			return o, err
		}
		*n = found
		o = found.Handle.(object)
	}
	return o, nil
}

// Commands implements store.View.
func (v *view) Commands() []store.BrowseCommand {
	return []store.BrowseCommand{
		{Name: "checkpoints", Usage: "[-a] [-t]", Short: "list the checkpoints (-a: and other root directories; -t: read their whole trees)", MaxArgs: 2, Run: v.cmdCheckpoints},
		{Name: "use", Usage: "CHECKPOINT|ROOTREF", Short: "show the tree of another checkpoint (row id or sequence) or root", MinArgs: 1, MaxArgs: 1, Run: v.cmdUse},
		{Name: "jobs", Usage: "[-a]", Short: "list active jobs (-a: all), as replayed from their eventlogs", MaxArgs: 1, Run: v.cmdJobs},
		{Name: "job", Usage: "ID", Short: "show one job; ID is F58, decimal, hex or dotted", MinArgs: 1, MaxArgs: 1, Run: v.cmdJob},
		{Name: "drained", Short: "list drained nodes, from checkpoint.resource and resource.eventlog", Run: v.cmdDrained},
		{Name: "eventlog", Usage: "KEY", Short: "print an eventlog readably, with gaps marked", MinArgs: 1, MaxArgs: 1, Paths: true, Run: v.cmdEventlog},
		{Name: "blob", Usage: "stat REF | dump REF [FILE] | load FILE", Short: "look at one blob, save it, or tell the reference of a file", MinArgs: 2, MaxArgs: 3, Run: v.cmdBlob,
			Long: "stat REF         where the blob lies in the database and whether it is good\n" +
				"dump REF [FILE]  its content, also if it does not match its name; FILE must not exist\n" +
				"load FILE        the reference that the content of FILE would have, and whether the store has it; nothing is written"},
		{Name: "dump", Usage: "FILE.tar|FILE.tgz", Short: "write everything readable of this tree to an archive in the layout of flux dump", MinArgs: 1, MaxArgs: 1, Run: v.cmdDump,
			Long: "Values that are not whole are left out and counted; the exit status then is not 0. FILE must not exist.\nflux restore reads the archive."},
	}
}
