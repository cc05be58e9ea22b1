package lustre

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf8"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/store"
)

// view shows the namespace as one tree, as a client sees it, over all MDTs that were given, and each target by itself:
//
//	/dir/name            names of remote directories and of all shards of a striped one are where a client has them
//	/.lustre/fid/FID     an object by its FID, also one that no name leads to
//	/MDT0001/...         the target's own ldiskfs tree: ROOT, REMOTE_PARENT_DIR, PENDING, agents, shards, every file as it is
//
// Nothing is read before it is looked at. Where the object index does not help, an object is searched for in the inode tables (browsefind.go).
type view struct {
	*world
	memory  int64
	table   *fidTable           // made by the first search
	stripes map[place]*striping // of directories that were looked into; nil for those that are not striped
}

// thing is what a node of the tree is.
type thing struct {
	top     bool // the root of the view
	raw     bool // a part of a target's own tree
	at      place
	none    bool       // there is no inode to look at
	fid     lustre.FID // zero if nothing tells
	entry   *dirRecord // the name that leads to it, nil where none was followed
	dir     place      // the directory that has the name
	trouble string
	fids    bool // .lustre/fid without an inode of its own
}

// Browse implements store.Browser.
func (u *unit) Browse(ctx context.Context, env store.BrowseEnv) (store.View, error) {
	w := newWorld(u)
	w.asked = map[lustre.FID]bool{}
	return &view{world: w, memory: max(env.Memory, 16<<20), stripes: map[place]*striping{}}, ctx.Err()
}

// Notes implements store.View.
func (v *view) Notes() []string {
	var out []string
	for _, index := range v.missing {
		out = append(out, fmt.Sprintf("%s was not given: what is on it cannot be seen", lustre.MDTName(index)))
	}
	for _, t := range v.targets {
		if t.stale != "" {
			out = append(out, t.stale+": what is seen may be older than it should be")
		}
	}
	if _, ok := v.root(); !ok {
		out = append(out, "ROOT is not on the given MDTs: begin at /.lustre/fid/FID or with a target's own tree")
	}
	return append(out, v.blind...)
}

// Separator implements store.View.
func (v *view) Separator() string { return "/" }

// root gives the place of ROOT, if MDT0 was given and has it.
func (v *view) root() (place, bool) {
	i, given := v.places[0]
	if !given || v.targets[i].marks.root == 0 {
		return place{}, false
	}
	p := place{i, v.targets[i].marks.root}
	return p, dirMode(v.tenant(p).mode)
}

const hexDigits = "0123456789ABCDEF"

// formatName escapes one name: what is no plain text becomes %XX. "." and ".." are names of their own, and an empty one, which
// only damage makes, is a lone "%".
func formatName(name string) string {
	switch name {
	case "":
		return "%"
	case ".":
		return "%2E"
	case "..":
		return "%2E."
	}
	var b strings.Builder
	for at := 0; at < len(name); {
		r, n := utf8.DecodeRuneInString(name[at:])
		switch {
		case r == utf8.RuneError || unicode.IsControl(r) || r == '%' || r == '/':
			for _, c := range []byte(name[at : at+n]) {
				b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
			}
		default:
			b.WriteString(name[at : at+n])
		}
		at += n
	}
	return b.String()
}

// parseName takes the escapes off a name. A "%" that begins no escape stands for itself.
func parseName(text string) string {
	if text == "%" {
		return ""
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			hi, lo := strings.IndexByte(hexDigits, upper(text[i+1])), strings.IndexByte(hexDigits, upper(text[i+2]))
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'f' {
		return c - 'a' + 'A'
	}
	return c
}

// Format implements store.View.
func (v *view) Format(path []string) string {
	out := make([]string, len(path))
	for i, n := range path {
		out[i] = formatName(n)
	}
	return strings.Join(out, "/")
}

// Resolve implements store.View.
func (v *view) Resolve(_ context.Context, cwd []string, text string) ([]string, error) {
	return store.SlashPath(cwd, text, parseName), nil
}

// errNoNode is the error of a lookup that finds nothing. why says what hides the rest, "" if nothing does.
type errNoNode struct{ why string }

func (e errNoNode) Error() string {
	if e.why != "" {
		return "no such name in the part that can be read (" + e.why + ")"
	}
	return "no such name"
}

// Is makes the error one of fs.ErrNotExist.
func (errNoNode) Is(target error) bool { return target == fs.ErrNotExist }

// maxFollow bounds how many symbolic links one lookup follows.
const maxFollow = 40

var errLoop = errors.New("too many symbolic links")

// Lookup implements store.View. Symbolic links with an absolute target lead out of the file system, which is mounted somewhere: they
// are not followed.
func (v *view) Lookup(ctx context.Context, path []string, follow bool) (store.Node, error) {
	links := 0
	return v.walk(ctx, path, follow, &links)
}

func (v *view) walk(ctx context.Context, path []string, follow bool, links *int) (store.Node, error) {
	n := v.node(nil, &thing{top: true})
	for i, name := range path {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		at := n
		th, err := v.child(ctx, n, name)
		if err != nil {
			return n, err
		}
		n = v.node(append(at.Path[:len(at.Path):len(at.Path)], name), th)
		last := i == len(path)-1
		if n.Link == "" || strings.HasPrefix(n.Link, "/") || last && !follow {
			continue
		}
		if *links++; *links > maxFollow {
			return n, errLoop
		}
		to, err := v.Resolve(ctx, at.Path, escapeLink(n.Link))
		if err != nil {
			return n, err
		}
		target, err := v.walk(ctx, to, true, links)
		switch {
		case err == nil:
			n = target
		case !last || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errLoop):
			return n, err // a last link that leads nowhere is shown itself
		}
	}
	return n, nil
}

// escapeLink makes the target of a symbolic link a text for Resolve.
func escapeLink(link string) string { return strings.ReplaceAll(link, "%", "%25") }

// child finds a name in a directory.
func (v *view) child(ctx context.Context, n store.Node, name string) (*thing, error) {
	th := n.Handle.(*thing)
	switch {
	case th.top:
		return v.below(ctx, name)
	case !n.Dir:
		return nil, fmt.Errorf("%s is no directory: %w", v.Format(n.Path), errNoNode{})
	case th.raw:
		r, ok := v.find(th.at, name)
		if !ok {
			return nil, errNoNode{v.hidden(ctx, th.at)}
		}
		return v.rawThing(th.at, r), nil
	case th.fids || th.fid == lustre.FIDDotLustreFID:
		return v.byFID(ctx, name)
	}
	return v.named(ctx, th, name)
}

// below finds a name in the root of the view. Names of the namespace come before those of targets.
func (v *view) below(ctx context.Context, name string) (*thing, error) {
	why := ""
	if p, ok := v.root(); ok {
		th, err := v.named(ctx, &thing{at: p, fid: v.tenant(p).fid}, name)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return th, err
		}
		why = v.hidden(ctx, p)
	}
	for i, t := range v.targets {
		if t.name() == name {
			return &thing{raw: true, at: place{i, ext4.InoRoot}}, nil
		}
	}
	if name == dotLustre {
		return &thing{none: true, fid: lustre.FIDDotLustre}, nil
	}
	return nil, errNoNode{why}
}

// dotLustre is there also when the MDT that holds it is not.
const dotLustre = ".lustre"

// byFID is the object of a FID, as .lustre/fid shows it to clients.
func (v *view) byFID(ctx context.Context, text string) (*thing, error) {
	f, err := lustre.ParseFID(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errNoNode{})
	}
	p, how, err := v.seek(ctx, f)
	switch {
	case err != nil:
		return nil, err
	case how == locUnseen:
		return nil, fmt.Errorf("%v: %s: %w", f, v.unseenText(f), errNoNode{})
	case how != locFound:
		return nil, fmt.Errorf("no inode is %v: %w", f, errNoNode{})
	}
	return &thing{at: p, fid: f}, nil
}

// unseenText says why an object cannot be looked for.
func (v *view) unseenText(f lustre.FID) string {
	if index, what := v.fld.Lookup(f); what == lustre.PlaceMDT {
		return lustre.MDTName(index) + " was not given"
	}
	return "no table tells which MDT it is on, and not all MDTs were given"
}

// List implements store.View.
func (v *view) List(ctx context.Context, dir store.Node, _ bool) ([]store.Node, error) {
	th := dir.Handle.(*thing)
	var out []store.Node
	add := func(name string, t *thing) error {
		out = append(out, v.node(append(dir.Path[:len(dir.Path):len(dir.Path)], name), t))
		return ctx.Err()
	}
	var err error
	switch {
	case th.top:
		err = v.listTop(ctx, add)
	case !dir.Dir:
		return nil, fmt.Errorf("a %s is no directory", dir.Kind)
	case th.none && th.fid == lustre.FIDDotLustre:
		err = add("fid", &thing{none: true, fids: true, fid: lustre.FIDDotLustreFID})
	case th.none:
	case th.raw:
		err = v.readDir(ctx, th.at, func(r dirRecord) error { return add(r.text, v.rawThing(th.at, r)) })
	default:
		err = v.listNames(ctx, th, add)
	}
	return out, err
}

// listTop lists the root of the view.
func (v *view) listTop(ctx context.Context, add func(string, *thing) error) error {
	taken := map[string]bool{}
	var partly error
	if p, ok := v.root(); ok {
		err := v.listNames(ctx, &thing{at: p, fid: v.tenant(p).fid}, func(name string, t *thing) error {
			if len(taken) < maxListed {
				taken[name] = true
			}
			return add(name, t)
		})
		if err != nil && !errors.Is(err, store.ErrPartial) {
			return err
		}
		partly = err
	}
	if !taken[dotLustre] {
		if err := add(dotLustre, &thing{none: true, fid: lustre.FIDDotLustre}); err != nil {
			return err
		}
	}
	for i, t := range v.targets {
		if taken[t.name()] {
			continue
		}
		if err := add(t.name(), &thing{raw: true, at: place{i, ext4.InoRoot}}); err != nil {
			return err
		}
	}
	return partly
}
