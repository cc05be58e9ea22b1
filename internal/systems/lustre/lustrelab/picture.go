package lustrelab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// Picture is what there is in the namespace of a file system: all objects that a client can reach or had open, by FID. It is what a repair
// is measured by: made by the naive program, which shares nothing with the check but the decoders.
type Picture map[lustre.FID]Thing

// Thing is one object of a Picture.
type Thing struct {
	MDT      int
	Mode     uint16
	UID, GID uint32
	Size     uint64            // bytes, 0 for directories
	Names    []string          // DIRECTORY/NAME, sorted; DIRECTORY is a FID, lost+found/MDTxxxx, or PENDING
	Attrs    map[string]string // extended attributes but LMA and link EA: layouts, the LMV, what users set
}

// Look takes the picture of the file system in a directory, and says what is inconsistent in it.
func Look(ctx context.Context, dir string) (pic Picture, wrong []string, err error) {
	paths, err := Targets(dir)
	if err != nil {
		return nil, nil, err
	}
	var images []*ext4.FS
	for _, path := range paths {
		fs, err := ext4.Open(path)
		if err != nil {
			return nil, nil, fmt.Errorf("look at %s: %w", path, err)
		}
		defer fs.Close()
		images = append(images, fs)
	}
	w, err := readWorld(ctx, images)
	if err != nil {
		return nil, nil, err
	}
	w.check()
	pic, err = w.picture()
	return pic, w.wrong, err
}

// picture describes everything with the names that are known now.
func (w *world) picture() (Picture, error) {
	pic := Picture{}
	for i, m := range w.mdts {
		for _, s := range m.byIno {
			if w.objects[s.lma.FID] != s && !w.pending[s.lma.FID] || s.lma.Has(lustre.LMAIAgent) || w.lostDir(s) != "" {
				continue
			}
			t := Thing{MDT: i, Mode: s.in.Mode, UID: s.in.UID, GID: s.in.GID, Attrs: map[string]string{}, Names: w.nameTexts(s)}
			if !s.isDir() {
				t.Size = s.in.Size
			}
			in, err := m.fs.Inode(s.in.Number)
			if err != nil {
				return nil, err
			}
			err = in.Xattrs(m.fs, func(x ext4.Xattr) bool {
				if name := string(x.Name); x.Index != ext4.XattrIndexTrusted || name != "lma" && name != "link" {
					t.Attrs[attrName(x.Index, name)] = string(x.Value)
				}
				return true
			}, nil)
			if err != nil {
				return nil, err
			}
			pic[s.lma.FID] = t
		}
	}
	return pic, nil
}

func attrName(index uint8, name string) string { return fmt.Sprintf("%d.%s", index, name) }

// nameTexts are the names of an object for a Picture.
func (w *world) nameTexts(s *seen) []string {
	var out []string
	for _, r := range w.refs[s.lma.FID] {
		dir := w.lostDir(r.dir)
		if dir == "" {
			dir = r.dir.lma.FID.String()
		}
		out = append(out, dir+"/"+r.name().text)
	}
	if w.pending[s.lma.FID] {
		out = append(out, "PENDING/"+lustre.PendingName(s.lma.FID))
	}
	slices.Sort(out)
	return out
}

// lostDir tells whether a directory is .lustre/lost+found/MDTxxxx, whose FID nobody can foretell, and gives its name.
func (w *world) lostDir(s *seen) string {
	for _, r := range w.refs[s.lma.FID] {
		if r.dir.lma.FID == lustre.FIDDotLustreLost {
			return "lost+found/" + r.name().text
		}
	}
	return ""
}

// Diff says in which objects two pictures differ, and how.
func (p Picture) Diff(now Picture) (out []string) {
	fids := slices.SortedFunc(maps.Keys(p), lustre.FID.Compare)
	for f := range now {
		if _, ok := p[f]; !ok {
			fids = append(fids, f)
		}
	}
	for _, f := range fids {
		want, ok1 := p[f]
		have, ok2 := now[f]
		switch {
		case !ok2:
			out = append(out, fmt.Sprintf("%v is not there; it was to be %v", f, want.Names))
		case !ok1:
			out = append(out, fmt.Sprintf("%v is there, as %v", f, have.Names))
		default:
			for _, d := range want.diff(&have) {
				out = append(out, f.String()+" "+d)
			}
		}
	}
	return out
}

func (t *Thing) diff(now *Thing) (out []string) {
	if t.MDT != now.MDT || t.Mode != now.Mode || t.UID != now.UID || t.GID != now.GID || t.Size != now.Size {
		out = append(out, fmt.Sprintf("is on MDT%04x with mode %o, owner %d:%d, %d bytes; want MDT%04x, %o, %d:%d, %d", now.MDT, now.Mode, now.UID, now.GID, now.Size,
			t.MDT, t.Mode, t.UID, t.GID, t.Size))
	}
	if !slices.Equal(t.Names, now.Names) {
		out = append(out, fmt.Sprintf("is %q; want %q", now.Names, t.Names))
	}
	names := slices.Sorted(maps.Keys(t.Attrs))
	for n := range now.Attrs {
		if _, ok := t.Attrs[n]; !ok {
			names = append(names, n)
		}
	}
	for _, n := range names {
		if !bytes.Equal([]byte(t.Attrs[n]), []byte(now.Attrs[n])) {
			out = append(out, fmt.Sprintf("has %s = %x; want %x", n, now.Attrs[n], t.Attrs[n]))
		}
	}
	return out
}

// expect gives what has to be there when the damage of a scenario is repaired: what was there before it, with the names that p knows
// now. Steps change p's names when they are to stay changed.
func (p *patient) expect(before Picture) (Picture, error) {
	if before == nil {
		return nil, errors.New("no picture was taken")
	}
	for f, t := range before {
		s := p.w.objects[f]
		if s == nil && !p.w.pending[f] {
			delete(before, f) // removed, as a client does it
			continue
		}
		if s != nil {
			t.Names = p.w.nameTexts(s)
			before[f] = t
		}
	}
	return before, nil
}
