package lustre

import (
	"strings"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// maxDepth bounds how far up a path is followed.
const maxDepth = 1000

// pathOf gives the path of a directory as clients see it, without a slash at the end: "" for ROOT. Where it cannot be followed any
// further it begins with the FID of the last directory: "[0x200000402:0x2:0x0]/sub".
func (w *world) pathOf(dir place) string {
	if p, ok := w.paths[dir]; ok {
		return p
	}
	var parts []string // from the bottom up
	var way []place
	at, head := dir, ""
	for depth := 0; ; depth++ {
		if p, ok := w.paths[at]; ok && depth > 0 {
			head = p
			break
		}
		up, name, fid, top := w.climb(at)
		if top {
			break
		}
		if up == at || depth == maxDepth {
			if head = name; name == "" || depth == maxDepth {
				head = fid.String()
			}
			break
		}
		parts, way = append(parts, name), append(way, at)
		at = up
	}
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i] != "" { // a shard is invisible
			head += "/" + lustre.NameText(parts[i])
		}
		w.remember(way[i], head)
	}
	w.remember(dir, head)
	return head
}

func (w *world) remember(p place, path string) {
	if len(w.paths) >= maxPaths {
		clear(w.paths)
	}
	w.paths[p] = path
}

// climb gives the parent of a directory and its name there; "" for a shard in its master. top says that it is ROOT. When the parent
// cannot be found up is the directory itself, and name what is known of its path.
func (w *world) climb(p place) (up place, name string, fid lustre.FID, top bool) {
	t := w.tenant(p)
	fid = t.fid
	if fid.IsRoot() || p.ino == w.targets[p.mdt].marks.root {
		return p, "", fid, true
	}
	far := ""
	for _, l := range t.link.Links {
		if !l.Parent.Sane() {
			continue
		}
		if far == "" {
			far = farPath(l)
		}
		parent, how := w.locate(l.Parent)
		if how != locFound {
			if parent = w.dotdot(p); parent == (place{}) {
				continue
			}
			if got, sure := w.fidAt(parent); !sure || got != l.Parent {
				continue
			}
		}
		if shard, _, ok := lustre.ParseShardName(l.Name); ok && shard == fid {
			return parent, "", fid, false
		}
		return parent, l.Name, fid, false
	}
	if parent := w.dotdot(p); parent != (place{}) {
		if name := w.nameIn(parent, p, fid); name != "" {
			return parent, name, fid, false
		}
	}
	return p, far, fid, false
}

// farPath is what a link EA tells of a path whose directory cannot be found.
func farPath(l lustre.Link) string {
	switch _, _, shard := lustre.ParseShardName(l.Name); {
	case l.Parent.IsRoot():
		return "/" + lustre.NameText(l.Name)
	case shard:
		return l.Parent.String()
	}
	return l.Parent.String() + "/" + lustre.NameText(l.Name)
}

// dotdot gives the inode that '..' of a directory leads to, zero if there is none that could be in the namespace.
func (w *world) dotdot(p place) place {
	fs := w.targets[p.mdt].fs
	in, err := fs.Inode(p.ino)
	if err != nil || !in.IsDir() {
		return place{}
	}
	var out place
	if err := fs.Dir(in, func(e ext4.Dirent) bool {
		if string(e.Name) == ".." && !w.targets[p.mdt].marks.own(e.Inode) {
			out = place{p.mdt, e.Inode}
		}
		return string(e.Name) == "." || out == place{} && e.Logical == 0 && e.Offset < 64
	}, nil); err != nil {
		return place{}
	}
	return out
}

// nameIn gives the name that a directory has for one of its sub-directories, "" if there is none.
func (w *world) nameIn(parent, child place, fid lustre.FID) (name string) {
	fs := w.targets[parent.mdt].fs
	in, err := fs.Inode(parent.ino)
	if err != nil || !in.IsDir() {
		return ""
	}
	if err := fs.Dir(in, func(e ext4.Dirent) bool {
		if string(e.Name) == "." || string(e.Name) == ".." {
			return true
		}
		b, ok := e.LUFID()
		if ok && lustre.BigFID(b) == fid || e.Inode == child.ino && parent.mdt == child.mdt {
			name = string(e.Name)
		}
		return name == ""
	}, nil); err != nil {
		return ""
	}
	return name
}

// path gives the path of what a draft is about, "" if nothing is known of it.
func (w *world) path(d *draft) string {
	dir := place{d.Dir.MDT, d.Dir.Ino}
	if dir.ino == 0 || dir.mdt >= len(w.targets) {
		return ""
	}
	if !d.Named {
		p := w.pathOf(dir)
		if p == "" && dir.ino == w.targets[dir.mdt].marks.root {
			return "/"
		}
		if p == (lustre.FID{}).String() {
			return ""
		}
		return p
	}
	head := w.pathOf(dir)
	if head == (lustre.FID{}).String() {
		return "" // not even the directory is known
	}
	if _, _, ok := lustre.ParseShardName(d.Name); ok && !strings.Contains(d.Name, "/") {
		// The names in a master are not seen by clients: what people know is the striped directory.
		if head == "" {
			return "/"
		}
		return head
	}
	return head + "/" + lustre.NameText(d.Name)
}
