package lustre

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// fidTable is every inode that says which object it is, in the order of FIDs. whole is false when the budget has no room for it.
type fidTable struct {
	rows  []fidRow
	whole bool
}

type fidRow struct {
	fid lustre.FID
	at  place
}

// fidRowSize is what a row takes, with the room that growing needs.
const fidRowSize = 2 * 32

// seek finds an object by its FID: by the object index, else by a search through the inode tables. The answer is one of locFound,
// locGone and locUnseen.
func (v *view) seek(ctx context.Context, f lustre.FID) (place, int, error) {
	p, how := v.locate(f)
	if how != locAsk {
		return p, how, nil
	}
	if f.IsIGIF() {
		// Objects from before there were FIDs may say nothing of themselves: the FID is the inode.
		p := place{v.places[0], uint32(f.Seq)}
		if t := v.tenant(p); !t.unread && !t.free && !t.known && t.gen == f.OID {
			return p, locFound, nil
		}
	}
	p, ok, err := v.search(ctx, f)
	if err != nil {
		return place{}, locGone, err
	}
	if len(v.known)+len(v.asked) >= maxPaths {
		clear(v.known)
		clear(v.asked)
	}
	if ok {
		v.known[f] = p
		return p, locFound, nil
	}
	v.asked[f] = true
	return place{}, locGone, nil
}

// search looks for an object in the inode tables of all targets. The first search keeps what it saw, if there is room.
func (v *view) search(ctx context.Context, f lustre.FID) (found place, ok bool, err error) {
	if v.table == nil {
		if err := v.tabulate(ctx); err != nil {
			return place{}, false, err
		}
	}
	if v.table.whole {
		i, ok := slices.BinarySearchFunc(v.table.rows, f, func(r fidRow, f lustre.FID) int { return r.fid.Compare(f) })
		if !ok {
			return place{}, false, nil
		}
		return v.table.rows[i].at, true, nil
	}
	err = v.eachObject(ctx, func(g lustre.FID, at place) error {
		if g != f {
			return nil
		}
		found, ok = at, true
		return errPause
	})
	return found, ok, err
}

// tabulate makes the table of all objects.
func (v *view) tabulate(ctx context.Context) error {
	t := &fidTable{whole: true}
	most := int(v.memory / 2 / fidRowSize)
	err := v.eachObject(ctx, func(f lustre.FID, at place) error {
		if len(t.rows) >= most {
			t.whole, t.rows = false, nil
			return errPause
		}
		t.rows = append(t.rows, fidRow{f, at})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(t.rows, func(a, b fidRow) int { return a.fid.Compare(b.fid) })
	v.table = t
	return nil
}

// eachObject hands out all inodes that say which object they are, agents and the target's own files left out, until fn returns errPause.
func (v *view) eachObject(ctx context.Context, fn func(lustre.FID, place) error) error {
	for i, t := range v.targets {
		err := t.fs.SweepInodes(ctx, ext4.SweepOptions{}, func(in *ext4.Inode) error {
			if t.marks.own(in.Number) {
				return nil
			}
			b, ok := in.Xattr(ext4.XattrIndexTrusted, "lma")
			if !ok && in.FileACL != 0 {
				var err error
				if b, ok, err = t.fs.Xattr(in, ext4.XattrIndexTrusted, "lma"); err != nil {
					ok = false // it cannot be read, so that it says nothing
				}
			}
			if !ok {
				return nil
			}
			l, err := lustre.DecodeLMA(b)
			if err != nil || !l.FID.Sane() || l.Has(lustre.LMAIAgent) && v.tenant(place{i, in.Number}).agent {
				return nil
			}
			return fn(l.FID, place{i, in.Number})
		})
		if errors.Is(err, errPause) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("search the inodes of %s: %w", t.name(), err)
		}
	}
	return nil
}
