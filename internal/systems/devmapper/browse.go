package devmapper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"strconv"
	"strings"

	"fettle/internal/finding"
	"fettle/internal/store"
)

// view shows the four layers as a tree:
//
//	snapshots/NAMESPACE/KEY   joined rows; NAMESPACE is "-" for snapshots that meta.db does not know
//	devices/NAME              device records
//	ids/ID                    device_ids
//	thin/ID                   thin devices; their content is their mappings
//	containers/NAMESPACE/ID   and leases and images likewise
//	files/NAME/...            every file as it is: buckets and keys of databases, the superblock of the thin metadata
//
// The joined part is made from the inventory, a directory at a time; files are read when they are looked at.
type view struct {
	u    *unit
	inv  *Inventory
	root *branch
}

// branch is a directory of the joined part, or a thing in it.
type branch struct {
	kind    string
	names   []string // in order
	below   map[string]*branch
	grow    func(b *branch) // makes what is below when it is first looked at; nil afterwards
	row     int             // of the inventory, -1 for none
	says    func() finding.Evidence
	content func(ctx context.Context, w io.Writer) error // nil for directories
}

// Browse implements store.Browser.
func (u *unit) Browse(ctx context.Context, env store.BrowseEnv) (store.View, error) {
	inv, err := u.inventory(ctx, env)
	if err != nil {
		return nil, err
	}
	v := &view{u: u, inv: inv, root: newBranch()}
	v.plant()
	return v, nil
}

func newBranch() *branch { return &branch{kind: "dir", below: map[string]*branch{}, row: -1} }

// put adds a thing under a path below b; when the name is taken it gets another one.
func (b *branch) put(leaf *branch, path ...string) {
	for _, name := range path[:len(path)-1] {
		b = b.dir(name)
	}
	name := path[len(path)-1]
	for b.below[name] != nil {
		name += "'"
	}
	b.names, b.below[name] = append(b.names, name), leaf
}

func (b *branch) dir(name string) *branch {
	next := b.below[name]
	if next == nil {
		next = newBranch()
		b.names, b.below[name] = append(b.names, name), next
	}
	return next
}

// treeTops are the directories below the root.
var treeTops = []string{"snapshots", "devices", "ids", "thin", "containers", "leases", "images", "files"}

// plant prepares the joined part: what is in a directory is made when somebody looks.
func (v *view) plant() {
	for _, t := range treeTops {
		v.root.dir(t)
	}
	v.root.below["snapshots"].grow = v.growSnapshots
	v.root.below["devices"].grow = v.growDevices
	v.root.below["ids"].grow = v.growIDs
	v.root.below["thin"].grow = v.growThin
	if v.inv.j.meta != nil {
		v.root.below["containers"].grow = v.growContainers
		v.root.below["leases"].grow = v.growLeases
		v.root.below["images"].grow = v.growImages
	}
}

// grown is the branch with what is below it.
func (b *branch) grown() *branch {
	if grow := b.grow; grow != nil {
		b.grow = nil
		grow(b)
	}
	return b
}

func (v *view) growSnapshots(b *branch) {
	for i := range v.inv.Rows {
		r := &v.inv.Rows[i]
		if r.snap == nil && len(r.entries) == 0 {
			continue
		}
		ns, key := r.Namespace, r.Key
		if key == "" {
			ns, key = "-", r.Backend
		}
		b.put(v.rowLeaf(i, snapKind(r)), ns, key)
	}
}

func (v *view) growDevices(b *branch) {
	for i := range v.inv.Rows {
		if r := &v.inv.Rows[i]; r.rec != nil {
			b.put(v.rowLeaf(i, "record"), r.Device)
		}
	}
}

func snapKind(r *Row) string {
	if r.Kind == "" {
		return "lost"
	}
	return r.Kind
}

// rowLeaf shows a row.
func (v *view) rowLeaf(i int, kind string) *branch {
	r := &v.inv.Rows[i]
	return &branch{kind: kind, row: i, content: func(_ context.Context, w io.Writer) error { return writeJSON(w, r) }}
}

// textLeaf shows a value and what is said about it.
func textLeaf(kind string, row int, value any, says func() finding.Evidence) *branch {
	return &branch{kind: kind, row: row, says: says, content: func(_ context.Context, w io.Writer) error { return writeJSON(w, value) }}
}

func writeJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}

// rowOfDevice is the first row about a device id, -1 for none.
func (v *view) rowOfDevice(id uint32) int {
	if all := v.inv.index.byDev[id]; len(all) > 0 {
		return all[0]
	}
	return -1
}

func (v *view) growIDs(b *branch) {
	pool := v.inv.j.pool
	if pool == nil {
		return
	}
	for i := range pool.IDs {
		id := &pool.IDs[i]
		text, row := idStateName(id.State), -1
		if id.Err != nil {
			text = id.Err.Error()
		} else {
			row = v.rowOfDevice(id.ID)
		}
		b.put(textLeaf("id", row, text, func() finding.Evidence { return says(witPool+" device_ids", "%s: %s", id.Key, text) }), id.Key)
	}
}

func (v *view) growThin(b *branch) {
	if v.inv.j.thin == nil {
		return
	}
	for i := range v.inv.j.thin.report.Devices {
		id := v.inv.j.thin.report.Devices[i].ID
		b.put(&branch{kind: "thin", row: v.rowOfDevice(id), content: func(ctx context.Context, w io.Writer) error { return v.writeRuns(ctx, id, w) }},
			strconv.FormatUint(uint64(id), 10))
	}
}

func (v *view) growContainers(b *branch) {
	m := v.inv.j.meta
	for i := range m.Containers {
		c := &m.Containers[i]
		row := -1
		if k, ok := v.inv.index.byEntry[nsKey{c.Namespace, c.SnapshotKey}]; ok {
			row = k
		}
		b.put(textLeaf("containr", row, c, func() finding.Evidence { return says(witMeta, "runs on snapshot %s, image %s", c.SnapshotKey, c.Image) }), c.Namespace, c.ID)
	}
}

func (v *view) growLeases(b *branch) {
	m := v.inv.j.meta
	for i := range m.Leases {
		l := &m.Leases[i]
		b.put(textLeaf("lease", -1, l, func() finding.Evidence { return says(witMeta, "holds %d snapshots", len(l.Snapshots)) }), l.Namespace, l.ID)
	}
}

func (v *view) growImages(b *branch) {
	m := v.inv.j.meta
	for i := range m.Images {
		img := &m.Images[i]
		b.put(textLeaf("image", -1, img, func() finding.Evidence { return says(witMeta, "target %s", img.Digest) }), img.Namespace, img.Name)
	}
}

// Notes implements store.View.
func (v *view) Notes() []string { return v.inv.Notes }

// Separator implements store.View.
func (v *view) Separator() string { return "/" }

// Names are escaped as in a URL where they hold what is no plain text; colons, "@" and the like stay.
var unescape = strings.NewReplacer("%20", " ")

// formatName escapes one name. "." and ".." are names of their own; an empty one, which only damage makes, is a lone "%".
func formatName(name string) string {
	switch name {
	case "":
		return "%"
	case ".":
		return "%2E"
	case "..":
		return "%2E."
	}
	return unescape.Replace(url.PathEscape(name))
}

// parseName takes the escapes off a name. A text with a "%" that is no escape stands for itself.
func parseName(text string) string {
	if text == "%" {
		return ""
	}
	name, err := url.PathUnescape(text)
	if err != nil {
		return text
	}
	return name
}

// Format implements store.View.
func (v *view) Format(path []string) string {
	out := make([]string, len(path))
	for i, n := range path {
		out[i] = formatName(n)
	}
	return strings.Join(out, "/")
}

// Resolve implements store.View. Names may hold slashes: below the directories whose depth is known, what is left of the text is one name.
func (v *view) Resolve(_ context.Context, cwd []string, text string) ([]string, error) {
	path := store.SlashPath(cwd, text, parseName)
	if len(path) == 0 {
		return path, nil
	}
	deep := 0
	switch path[0] {
	case "snapshots", "containers", "leases", "images":
		deep = 2
	case "devices", "ids", "thin":
		deep = 1
	}
	if deep > 0 && len(path) > deep+1 {
		path = append(path[:deep:deep], strings.Join(path[deep:], "/"))
	}
	return path, nil
}

// errNoNode is the error of a lookup that finds nothing.
type errNoNode struct{ partly bool }

func (e errNoNode) Error() string {
	if e.partly {
		return "no such thing in the part that can be read"
	}
	return "no such thing"
}

// Is makes the error one of fs.ErrNotExist.
func (errNoNode) Is(target error) bool { return target == fs.ErrNotExist }

// Lookup implements store.View.
func (v *view) Lookup(ctx context.Context, path []string, _ bool) (store.Node, error) {
	if len(path) > 0 && path[0] == "files" {
		return v.lookupFile(path)
	}
	b := v.root
	for i, name := range path {
		if b.content != nil {
			return store.Node{}, fmt.Errorf("%s is a %s, not a directory: %w", v.Format(path[:i]), b.kind, errNoNode{})
		}
		if b = b.grown().below[name]; b == nil {
			return store.Node{}, errNoNode{partly: !v.inv.Whole}
		}
	}
	return v.node(path, b), nil
}

// node is a thing of the joined part.
func (v *view) node(path []string, b *branch) store.Node {
	n := store.Node{Path: path, Kind: b.kind, Dir: b.content == nil, Size: -1, Handle: b}
	if n.Dir {
		n.Identity = "/" + v.Format(path)
	}
	if b.row >= 0 {
		var short []string
		for _, c := range v.inv.Rows[b.row].Trouble {
			short = append(short, strings.TrimPrefix(c, "devmapper/"))
		}
		n.Trouble = strings.Join(short, ", ")
	}
	return n
}

// List implements store.View.
func (v *view) List(ctx context.Context, dir store.Node, _ bool) ([]store.Node, error) {
	if len(dir.Path) > 0 && dir.Path[0] == "files" {
		return v.listFile(ctx, dir)
	}
	b := dir.Handle.(*branch)
	if b.content != nil {
		return nil, fmt.Errorf("a %s is no directory", b.kind)
	}
	b.grown()
	out := make([]store.Node, 0, len(b.names))
	for _, name := range b.names {
		path := append(dir.Path[:len(dir.Path):len(dir.Path)], name)
		if len(path) == 1 && name == "files" {
			out = append(out, store.Node{Path: path, Kind: "dir", Dir: true, Size: -1, Identity: "/files", Handle: fileNode{isDir: true}})
			continue
		}
		out = append(out, v.node(path, b.below[name]))
	}
	return out, ctx.Err()
}

// Stat implements store.View.
func (v *view) Stat(_ context.Context, n store.Node) ([]store.Field, error) {
	out := []store.Field{{Name: "path", Value: "/" + v.Format(n.Path)}, {Name: "kind", Value: n.Kind}}
	if f, ok := n.Handle.(fileNode); ok {
		return append(out, f.fields(n)...), nil
	}
	b := n.Handle.(*branch)
	if b.content == nil {
		out = append(out, store.Field{Name: "entries", Value: strconv.Itoa(len(b.grown().names))})
	}
	if b.says != nil {
		e := b.says()
		out = append(out, store.Field{Name: e.Witness, Value: e.Says})
	}
	if b.row >= 0 {
		for _, e := range v.inv.Claims(b.row) {
			out = append(out, store.Field{Name: e.Witness, Value: e.Says})
		}
		for _, f := range v.inv.Findings(b.row) {
			out = append(out, store.Field{Name: string(f.Severity), Value: f.Class + ": " + f.Title})
		}
	}
	return out, nil
}

// Read implements store.View.
func (v *view) Read(ctx context.Context, n store.Node, part int, w io.Writer) error {
	if part > 0 {
		return fmt.Errorf("it has one part; there is no part %d", part)
	}
	if f, ok := n.Handle.(fileNode); ok {
		return v.readFile(ctx, f, w)
	}
	b := n.Handle.(*branch)
	if b.content == nil {
		return errors.New("it is a directory")
	}
	return b.content(ctx, w)
}
