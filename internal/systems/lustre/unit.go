package lustre

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
	"fettle/internal/store"
)

// unit is one file system: all its MDTs that were given.
type unit struct {
	targets []*target // by index
	shape
}

// shape is what judges have to know of the file system as a whole.
type shape struct {
	fld     *lustre.FLD
	places  map[uint32]int // of the MDTs that were given: index to place in the list of targets
	missing []uint32       // indexes of the MDTs that exist and were not given
	remotes []uint32       // inode number of REMOTE_PARENT_DIR by place, 0 if there is none
	roots   []uint32       // inode number of ROOT by place
	early   []bool         // by place: from before 2.4, see landmarks.early
	// attrRoom is, by place, how long an attribute can be for sure that has to leave its inode.
	attrRoom []int
	indexes  []uint32 // of the MDTs by place
	dirdata  []bool   // by place: names carry FIDs
	hasOI    []bool   // by place: there is an object index
	backups  []bool   // by place: it is a file-level backup
	blind    []string // what of the given targets could not be looked at
}

// attrRoom is what an attribute block has room for beside its header and a small attribute; with ea_inode there is no such limit.
func attrRoom(s *ext4.Superblock) int {
	if s.HasIncompat(ext4.IncompatEAInode) {
		return lustre.LinkEAMax
	}
	return int(s.BlockSize) - 128
}

// complete tells whether every MDT was given.
func (s *shape) complete() bool { return len(s.missing) == 0 }

// home tells on which of the targets an object of that FID has to be. known is false when that cannot be told or the MDT was not
// given; then nothing may be said of its absence.
func (s *shape) home(f lustre.FID) (place int, known bool) {
	index, what := s.fld.Lookup(f)
	if what != lustre.PlaceMDT {
		// Nobody has the sequence. With all MDTs at hand that means that there is no such object.
		return -1, s.complete()
	}
	p, given := s.places[index]
	if !given {
		return -1, false
	}
	return p, true
}

// standsIn tells whether an inode whose LMA says that it is an agent is one. An agent stands for an object of another MDT and has nothing of its
// own: neither permissions nor a link EA. What has them, and a FID that belongs to this very MDT, is an object with a wrong mark.
func (s *shape) standsIn(mdt int, l lustre.LMA, mode uint16, linked bool) bool {
	if !l.Has(lustre.LMAIAgent) {
		return false
	}
	if !l.FID.IsNormal() || mode&0o7777 == 0 && !linked {
		return true
	}
	home, known := s.home(l.FID)
	return !known || home != mdt
}

// survey finds out what the file system consists of.
func (u *unit) survey() {
	s := shape{places: map[uint32]int{}}
	var ranges []lustre.Range
	for i, t := range u.targets {
		s.places[t.index] = i
		s.remotes, s.indexes = append(s.remotes, t.marks.remote), append(s.indexes, t.index)
		s.roots, s.early = append(s.roots, t.marks.root), append(s.early, t.marks.early(t.fs))
		s.attrRoom = append(s.attrRoom, attrRoom(t.fs.Super()))
		s.dirdata, s.hasOI = append(s.dirdata, t.fs.Super().Dirdata()), append(s.hasOI, len(t.marks.oi) > 0)
		s.backups = append(s.backups, t.backup != nil)
		if t.backup != nil {
			for _, note := range t.backup.Notes() {
				s.blind = append(s.blind, t.name()+": "+note)
			}
		}
		if t.marks.trouble != "" {
			s.blind = append(s.blind, t.name()+": "+t.marks.trouble)
		}
		if len(ranges) > 0 && u.targets[0].index == 0 {
			continue // MDT0 has the whole table
		}
		rs, err := t.marks.ranges(t.fs)
		if err != nil && t.index == 0 && !(t.marks.fld == 0 && s.early[i]) { // 1.8 had no FLD
			s.blind = append(s.blind, t.name()+": "+err.Error())
		}
		ranges = append(ranges, rs...)
	}
	s.fld, _ = lustre.NewFLD(ranges)
	exist := map[uint32]bool{0: true}
	for _, r := range s.fld.Ranges() {
		if !r.IsOST() {
			exist[r.Index] = true
		}
	}
	for index := range exist {
		if _, given := s.places[index]; !given {
			s.missing = append(s.missing, index)
		}
	}
	slices.Sort(s.missing)
	u.shape = s
}

// unseen says what the check cannot look at.
func (u *unit) unseen() []string {
	var out []string
	for _, index := range u.missing {
		out = append(out, fmt.Sprintf("%s-%s was not given: what depends on it was not judged", u.ID(), lustre.MDTName(index)))
	}
	for _, t := range u.targets {
		if t.stale != "" {
			out = append(out, t.stale+": what was found there may be changes that were under way")
		}
	}
	return append(out, u.blind...)
}

// ID implements store.Unit: the name of the file system.
func (u *unit) ID() string { return u.targets[0].fsname }

// Targets implements store.Unit.
func (u *unit) Targets() []store.Target {
	var out []store.Target
	for _, t := range u.targets {
		out = append(out, t.target())
	}
	return out
}

// Fingerprint implements store.Unit: superblocks, sizes and times of the targets.
func (u *unit) Fingerprint(ctx context.Context) (string, error) {
	var parts []string
	for _, t := range u.targets {
		fp, err := t.fingerprint(ctx)
		if err != nil {
			return "", err
		}
		parts = append(parts, fp)
	}
	return strings.Join(parts, " "), nil
}

// InUse implements store.Unit: mounted here, or on another host as far as multi-mount protection tells.
func (u *unit) InUse(ctx context.Context) (string, error) {
	var holders []string
	for _, t := range u.targets {
		if who := t.inUse(); who != "" {
			holders = append(holders, who)
		}
	}
	return strings.Join(holders, ", "), nil
}

// Passes implements store.Unit.
func (u *unit) Passes() []store.Pass {
	return []store.Pass{
		{Name: "sweep", Title: "reading inodes, names and object indexes", Run: u.sweep},
		{Name: "match", Title: "comparing what was said of each object", Run: u.match},
		{Name: "parents", Title: "looking for directories that only their children know", Run: u.parents},
		{Name: "report", Title: "putting findings in order", Run: u.report},
	}
}

func (u *unit) close() error {
	var errs []error
	for _, t := range u.targets {
		errs = append(errs, t.close())
	}
	u.targets = nil
	return errors.Join(errs...)
}
