package mdtimage

import (
	"slices"
	"strings"

	"fettle/internal/format/ext4"
	"fettle/internal/format/mdtbackup"
	"fettle/internal/systems/lustre/mkldiskfs"
)

// room is how long a file may be so that its content is kept: those of the target itself that are small.
func (l *layer) room(m *mdtbackup.Member) int64 {
	switch top := m.Parts[0]; {
	case l.content >= maxTotal || top == "ROOT" || top == "REMOTE_PARENT_DIR" || top == "PENDING" || top == "lost+found" || strings.HasPrefix(top, "oi.16"):
		return 0
	case top == "fld":
		return maxTable
	}
	return maxContent
}

// xattrs gives the attributes that find room, those that judges look at first.
func (l *layer) xattrs(m *mdtbackup.Member) []mkldiskfs.Xattr {
	weight := func(x mdtbackup.Xattr) int {
		if i := slices.Index([]string{"lma", "link", "lmv", "lov"}, x.Name); i >= 0 {
			return i
		}
		return 4
	}
	all := slices.Clone(m.Xattrs)
	slices.SortStableFunc(all, func(a, b mdtbackup.Xattr) int { return weight(a) - weight(b) })
	var out []mkldiskfs.Xattr
	for i, x := range all {
		if len(x.Value) > maxValue {
			l.cut.add("trusted." + x.Name + " of " + m.Path())
			x.Value = x.Value[:maxValue]
		}
		more := append(out, mkldiskfs.Xattr{Index: ext4.XattrIndexTrusted, Name: x.Name, Value: x.Value})
		if i >= maxXattrs || !l.img.Fits(more) {
			l.cut.add("trusted." + x.Name + " of " + m.Path())
			continue
		}
		out = more
	}
	return out
}
