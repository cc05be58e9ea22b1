package lustre

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"

	"fettle/internal/finding"
	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// record is one record that a finding rests on, and what it was. Exactly one of Inode, At, Dir, Index says which.
type record struct {
	MDT   uint32 `json:"mdt"`
	Inode uint32 `json:"inode,omitempty"`
	At    int64  `json:"at,omitempty"`  // a directory entry, by its byte
	Dir   uint32 `json:"dir,omitempty"` // what a directory has under Name
	Name  string `json:"name,omitempty"`
	Index string `json:"index,omitempty"` // what the object index has for a FID
	Was   string `json:"was,omitempty"`   // digest
}

// digest reads a record and gives its digest.
func (w *world) digest(r record) (string, error) {
	mdt, ok := w.places[r.MDT]
	if !ok {
		return "", fmt.Errorf("MDT%04x was not given", r.MDT)
	}
	h := fnv.New64a()
	switch {
	case r.Inode != 0:
		if err := w.digestInode(h, place{mdt, r.Inode}); err != nil {
			return "", err
		}
	case r.At != 0:
		e := w.rawEntry(mdt, r.At)
		if e == nil {
			return "none", nil
		}
		// Up to what is used: a new neighbour may shorten the entry.
		fmt.Fprintf(h, "%x %x", e[:4], e[ext4.DirentNameLen:max(lustre.EntryUsed(e), ext4.DirentHeader)])
	case r.Dir != 0:
		rec, found := w.find(place{mdt, r.Dir}, r.Name)
		fmt.Fprint(h, found, rec.ino, rec.typ, rec.fid)
	case r.Index != "":
		f, err := lustre.ParseFID(r.Index)
		if err != nil {
			return "", err
		}
		e, found := w.indexEntry(mdt, f)
		fmt.Fprint(h, found, e.Ino, e.Generation)
	}
	return fmt.Sprintf("%016x", h.Sum64()), nil
}

// digestInode takes in everything of an inode that judges look at, and nothing that changes when it is only used.
func (w *world) digestInode(h interface{ Write([]byte) (int, error) }, p place) error {
	fs := w.targets[p.mdt].fs
	in, err := fs.Inode(p.ino)
	if err != nil {
		if unreadable(err) {
			return nil
		}
		return err
	}
	fmt.Fprint(h, in.Allocated)
	if !in.Allocated {
		return nil
	}
	fmt.Fprint(h, in.Mode, in.Links, in.Generation, in.Flags)
	return in.Xattrs(fs, func(a ext4.Xattr) bool {
		switch name := string(a.Name); {
		case a.Index == ext4.XattrIndexTrusted && (name == "lma" || name == "link" || name == "lmv"):
			fmt.Fprintf(h, "%s %x", name, a.Value)
		}
		return true
	}, nil)
}

// seal puts the digests of the records into a finding's detail.
func (w *world) seal(d *draft) error {
	seen := map[record]bool{}
	for _, r := range d.Rests {
		if seen[r] {
			continue
		}
		seen[r] = true
		was, err := w.digest(r)
		if err != nil {
			return err
		}
		r.Was = was
		d.Detail.Records = append(d.Detail.Records, r)
	}
	return nil
}

// Confirm implements store.Unit: the records that the finding rests on are what they were.
func (u *unit) Confirm(ctx context.Context, f *finding.Finding) (bool, error) {
	var d detail
	if err := json.Unmarshal(f.Detail, &d); err != nil {
		return false, fmt.Errorf("confirm a finding of class %s: its detail cannot be read: %w", f.Class, err)
	}
	w := newWorld(u)
	for _, r := range d.Records {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		was := r.Was
		r.Was = ""
		now, err := w.digest(r)
		if err != nil {
			return false, fmt.Errorf("confirm a finding of class %s: %w", f.Class, err)
		}
		if now != was {
			return false, nil
		}
	}
	return true, nil
}
