package lustre

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/store"
)

// striping is how a client sees a striped directory: the names of all shards together.
type striping struct {
	lmv    lustre.LMV
	shards []shard  // in the order of their numbers
	lost   []string // what of it cannot be looked into
}

type shard struct {
	index int
	at    place
}

// maxStripings bounds how many striped directories are remembered.
const maxStripings = 4096

// striped tells how a directory is striped, nil if it is not, or has lost its layout: then clients see the names of the shards too.
func (v *view) striped(ctx context.Context, dir place) (*striping, error) {
	if s, ok := v.stripes[dir]; ok {
		return s, nil
	}
	s, err := v.stripe(ctx, dir)
	if err != nil {
		return nil, err
	}
	if len(v.stripes) >= maxStripings {
		clear(v.stripes)
	}
	v.stripes[dir] = s
	return s, nil
}

func (v *view) stripe(ctx context.Context, dir place) (*striping, error) {
	b := v.attribute(dir, "lmv")
	if lustre.LMVMagic(b) != lustre.LMVMaster {
		return nil, nil
	}
	lmv, err := lustre.DecodeLMV(b)
	if err != nil {
		return nil, nil // it says nothing; the node's facts show why
	}
	s := &striping{lmv: lmv}
	seen := map[place]bool{dir: true} // a damaged master may have itself as a shard
	err = v.readDir(ctx, dir, func(r dirRecord) error {
		_, index, ok := lustre.ParseShardName(r.text)
		if !ok {
			return nil
		}
		th, err := v.follow(ctx, dir, r)
		switch {
		case err != nil:
			return err
		case th.none || !dirMode(v.tenant(th.at).mode):
			s.lost = append(s.lost, fmt.Sprintf("shard %d: %s", index, cmp.Or(th.trouble, "it is no directory")))
		case !seen[th.at] && len(s.shards) < lustre.LMVMaxCount:
			seen[th.at] = true
			s.shards = append(s.shards, shard{index, th.at})
		}
		return nil
	})
	if errors.Is(err, store.ErrPartial) {
		s.lost = append(s.lost, err.Error())
	} else if err != nil {
		return nil, err
	}
	if n := len(s.shards) + len(s.lost); uint32(n) < lmv.Count {
		s.lost = append(s.lost, fmt.Sprintf("%d of %d shards have no name", lmv.Count-uint32(n), lmv.Count))
	}
	slices.SortStableFunc(s.shards, func(a, b shard) int { return a.index - b.index })
	return s, nil
}

// fits says what is wrong with a name in a shard, "" for nothing.
func (s *striping) fits(name string, index int) string {
	allowed := s.lmv.Allowed(name)
	if allowed == nil || slices.Contains(allowed, index) {
		return ""
	}
	return fmt.Sprintf("it is in shard %d; its hash leads to shard %d, where clients look for it", index, allowed[0])
}

// inMaster is what is wrong with a name that a master must not hold.
const inMaster = "it is in the master of a striped directory, where clients do not see it"

// named finds a name in a directory as clients see it.
func (v *view) named(ctx context.Context, th *thing, name string) (*thing, error) {
	if th.none {
		if th.fid == lustre.FIDDotLustre && name == "fid" {
			return &thing{none: true, fids: true, fid: lustre.FIDDotLustreFID}, nil
		}
		return nil, errNoNode{}
	}
	if name == "." || name == ".." {
		return nil, errNoNode{}
	}
	s, err := v.striped(ctx, th.at)
	if err != nil {
		return nil, err
	}
	if s == nil {
		if r, ok := v.find(th.at, name); ok {
			return v.follow(ctx, th.at, r)
		}
		return nil, errNoNode{v.hidden(ctx, th.at)}
	}
	right := func(sh shard) bool { return s.fits(name, sh.index) == "" }
	for _, turn := range []bool{true, false} {
		for _, sh := range s.shards {
			if right(sh) != turn {
				continue
			}
			if r, ok := v.find(sh.at, name); ok {
				return v.followed(ctx, sh.at, r, s.fits(name, sh.index))
			}
		}
	}
	if _, _, ok := lustre.ParseShardName(name); !ok {
		if r, ok := v.find(th.at, name); ok {
			return v.followed(ctx, th.at, r, inMaster)
		}
	}
	return nil, errNoNode{strings.Join(s.lost, "; ")}
}

// listNames lists a directory as clients see it.
func (v *view) listNames(ctx context.Context, th *thing, add func(string, *thing) error) error {
	s, err := v.striped(ctx, th.at)
	if err != nil {
		return err
	}
	if s == nil {
		return v.readDir(ctx, th.at, func(r dirRecord) error {
			t, err := v.follow(ctx, th.at, r)
			if err != nil {
				return err
			}
			return add(r.text, t)
		})
	}
	partly := slices.Clone(s.lost)
	each := func(dir place, fits func(string) (string, bool)) error {
		err := v.readDir(ctx, dir, func(r dirRecord) error {
			what, show := fits(r.text)
			if !show {
				return nil
			}
			t, err := v.followed(ctx, dir, r, what)
			if err != nil {
				return err
			}
			return add(r.text, t)
		})
		if errors.Is(err, store.ErrPartial) {
			partly, err = append(partly, err.Error()), nil
		}
		return err
	}
	for _, sh := range s.shards {
		if err := each(sh.at, func(name string) (string, bool) { return s.fits(name, sh.index), true }); err != nil {
			return err
		}
	}
	if err := each(th.at, func(name string) (string, bool) {
		_, _, ok := lustre.ParseShardName(name)
		return inMaster, !ok
	}); err != nil {
		return err
	}
	if len(partly) > 0 {
		return store.Partial("%s", strings.Join(slices.Compact(partly), "; "))
	}
	return nil
}

// readDir hands out the names of one directory of a target, "." and ".." left out. The error wraps store.ErrPartial when damage hides
// some of them.
func (v *view) readDir(ctx context.Context, dir place, fn func(dirRecord) error) error {
	fs := v.targets[dir.mdt].fs
	in, err := fs.Inode(dir.ino)
	if err != nil {
		return store.Partial("%s inode %d: %v", v.targets[dir.mdt].name(), dir.ino, err)
	}
	if !in.IsDir() {
		return store.Partial("%s inode %d is no directory any more", v.targets[dir.mdt].name(), dir.ino)
	}
	parent, sure := v.fidAt(dir)
	var failed error
	problems, first := 0, ""
	err = fs.Dir(in, func(e ext4.Dirent) bool {
		if name := string(e.Name); name != "." && name != ".." {
			r := dirRecord{written{text: name, typ: e.Type, ino: e.Inode, parent: parent, sure: sure}, e.At}
			if b, ok := e.LUFID(); ok {
				r.fid, r.hasFID = lustre.BigFID(b), true
			}
			failed = cmp.Or(fn(r), ctx.Err())
		}
		return failed == nil
	}, func(p ext4.Problem) {
		if problems++; problems == 1 {
			first = p.String()
		}
	})
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return store.Partial("%s: %v", v.targets[dir.mdt].name(), err)
	case problems == 1:
		return store.Partial("%s: %s", v.targets[dir.mdt].name(), first)
	case problems > 1:
		return store.Partial("%s: %s, and %d more", v.targets[dir.mdt].name(), first, problems-1)
	}
	return nil
}

// hidden says what hides names of a directory, "" if nothing does.
func (v *view) hidden(ctx context.Context, dir place) string {
	if err := v.readDir(ctx, dir, func(dirRecord) error { return nil }); err != nil {
		return err.Error()
	}
	return ""
}

// follow finds the object that a name means: by its FID, as servers do. Where that leads nowhere the inode number is what is left.
func (v *view) follow(ctx context.Context, dir place, r dirRecord) (*thing, error) {
	here := place{dir.mdt, r.ino}
	t := v.tenant(here)
	th := &thing{entry: &r, dir: dir, at: here}
	fid, has := r.fid, r.hasFID && r.fid.Sane()
	if !has && t.agent {
		fid, has = t.fid, true
	}
	if !has {
		th.fid, th.none = t.fid, t.unread || t.free
		switch {
		case th.none:
			th.trouble = fmt.Sprintf("inode %d, which it leads to, %v", r.ino, t)
		case r.hasFID:
			th.trouble = fmt.Sprintf("the FID in the name, %v, cannot be one", r.fid)
		case v.dirdata[dir.mdt]:
			th.trouble = "the name has no FID"
		}
		return th, nil
	}
	th.fid = fid
	old := !t.known && !t.unread && !t.free && fid == lustre.IGIF(r.ino, t.gen)
	if old || t.known && t.fid == fid && !t.agent {
		return th, nil
	}
	p, how, err := v.seek(ctx, fid)
	if err != nil {
		return nil, err
	}
	switch {
	case how == locFound:
		th.at = p
		if p.mdt == dir.mdt {
			th.trouble = fmt.Sprintf("the inode number in the name is %d, that of the object %d", r.ino, p.ino)
		} else if !t.agent || t.fid != fid {
			th.trouble = "the name has no agent: its inode " + t.String()
		}
	case how == locUnseen:
		th.none, th.trouble = true, v.unseenText(fid)
	case t.unread || t.free || t.held || t.agent:
		th.none, th.trouble = true, fmt.Sprintf("no inode is %v", fid)
	default:
		th.trouble = fmt.Sprintf("no inode is %v, the FID in the name; the inode of the name %v", fid, t)
	}
	return th, nil
}

// followed is follow for a name that is not where it should be, or is if what is "".
func (v *view) followed(ctx context.Context, dir place, r dirRecord, what string) (*thing, error) {
	th, err := v.follow(ctx, dir, r)
	if err == nil && what != "" {
		th.trouble = strings.TrimSuffix(what+"; "+th.trouble, "; ")
	}
	return th, err
}

// rawThing is what a name of a target's own tree leads to: the inode of that number.
func (v *view) rawThing(dir place, r dirRecord) *thing {
	return &thing{raw: true, at: place{dir.mdt, r.ino}, entry: &r, dir: dir}
}

// attribute gives a trusted attribute of an inode, nil if it has none that can be read.
func (v *view) attribute(p place, name string) []byte {
	fs := v.targets[p.mdt].fs
	in, err := fs.Inode(p.ino)
	if err != nil {
		return nil
	}
	b, ok, err := fs.Xattr(in, ext4.XattrIndexTrusted, name)
	if err != nil || !ok {
		return nil
	}
	return b
}
