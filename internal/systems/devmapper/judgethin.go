package devmapper

import (
	"fmt"
	"slices"

	"fettle/internal/finding"
	"fettle/internal/format/thinmeta"
)

// thinClasses says to which class a problem of the thin metadata belongs.
var thinClasses = map[thinmeta.ProblemKind]string{
	thinmeta.SuperblockChecksum: ThinSuperChecksum,
	thinmeta.SuperblockInvalid:  ThinSuperInvalid,
	thinmeta.NodeChecksum:       ThinNodeChecksum,
	thinmeta.NodeInvalid:        ThinNodeInvalid,
	thinmeta.BitmapChecksum:     ThinBitmapChecksum,
	thinmeta.IndexChecksum:      ThinBitmapChecksum,
	thinmeta.DetailsMissing:     ThinDetailsMissing,
	thinmeta.MappingMissing:     ThinMappingMissing,
	thinmeta.MappedBlocksWrong:  ThinMappedWrong,
	thinmeta.DataRefcountLow:    ThinDataLow,
	thinmeta.DataRefcountHigh:   ThinDataHigh,
	thinmeta.DataBlockLeaked:    ThinDataLeaked,
	thinmeta.MetadataRefcntLow:  ThinMetadataLow,
	thinmeta.MetadataRefcntHigh: ThinMetadataHigh,
	thinmeta.MetadataLeaked:     ThinMetadataLeaked,
	thinmeta.SpaceMapTotal:      ThinSpaceMapTotal,
	thinmeta.SpaceMapIndex:      ThinSpaceMapIndex,
	thinmeta.TimeWrong:          ThinTime,
	thinmeta.NeedsCheck:         ThinNeedsCheck,
	thinmeta.OutOfDataSpace:     ThinOutOfData,
	thinmeta.OutOfMetadataSpace: ThinOutOfMetadata,
	thinmeta.HeldRoot:           ThinHeldRoot,
	thinmeta.TransactionID:      ThinTransaction,
}

// judgeThin makes findings of what is wrong with the thin metadata itself.
func judgeThin(t *thinView) []judged {
	if t == nil {
		return nil
	}
	if t.broken != nil {
		return []judged{{Finding: finding.Finding{Class: ThinXMLUnreadable, Subject: "thin.xml", Evidence: []finding.Evidence{says("thin.xml", "%v", t.broken)}}, ent: -1}}
	}
	var out []judged
	first := map[string]string{} // key of the first finding of a class
	root := ""
	for _, p := range ranges(t.report.Problems) {
		class := thinClasses[p.Kind]
		f := judged{Finding: finding.Finding{Class: class, Subject: thinSubject(p), Evidence: thinEvidence(p)}, ent: -1}
		f.with(detail{Block: &p.Block, Want: fmt.Sprint(p.Want), Have: fmt.Sprint(p.Have)})
		if p.Device >= 0 {
			id := uint32(p.Device)
			f.with(detail{DeviceID: &id, Block: &p.Block, Want: fmt.Sprint(p.Want), Have: fmt.Sprint(p.Have)})
		}
		if !p.Consequence && root == "" && structural(class) {
			root = f.key()
		}
		if _, ok := first[class]; !ok {
			first[class] = f.key()
		}
		if p.Consequence {
			f.cause = root
			f.offer("may be only the shadow of the damage that it follows from", finding.Ignore, finding.Rebuild)
		}
		out = append(out, f)
	}
	for i := range out {
		f := &out[i]
		if f.Class == ThinSpaceMapTotal && f.cause == "" {
			for _, c := range []string{ThinDataLeaked, ThinMetadataLeaked, ThinBitmapChecksum, ThinDataLow, ThinMetadataLow} {
				if f.cause == "" {
					f.cause = first[c]
				}
			}
		}
	}
	adviseThin(out)
	return out
}

// ranges brings together problems of adjacent blocks that say the same.
func ranges(ps []thinmeta.Problem) []thinmeta.Problem {
	var out []thinmeta.Problem
	for _, p := range ps {
		if n := len(out); n > 0 {
			q := &out[n-1]
			switch p.Kind {
			case thinmeta.DataRefcountLow, thinmeta.DataRefcountHigh, thinmeta.DataBlockLeaked, thinmeta.MetadataRefcntLow, thinmeta.MetadataRefcntHigh, thinmeta.MetadataLeaked:
				if q.Kind == p.Kind && q.Block+q.Count == p.Block && q.Want == p.Want && q.Have == p.Have && q.Consequence == p.Consequence {
					q.Count += p.Count
					q.Text = fmt.Sprintf("blocks %d to %d: counted %d, expected %d", q.Block, q.Block+q.Count-1, q.Have, q.Want)
					continue
				}
			}
		}
		out = append(out, p)
	}
	return out
}

// structural classes are those whose damage hides other things.
func structural(class string) bool {
	switch class {
	case ThinSuperChecksum, ThinSuperInvalid, ThinNodeChecksum, ThinNodeInvalid, ThinBitmapChecksum:
		return true
	}
	return false
}

// adviseThin says what can be done. Thin metadata is only rewritten when asked for.
func adviseThin(all []judged) {
	others := 0
	for i := range all {
		switch all[i].Class {
		case ThinNeedsCheck, ThinTransaction, ThinHeldRoot, ThinOutOfData:
		default:
			others++
		}
	}
	for i := range all {
		f := &all[i]
		switch f.Class {
		case ThinNeedsCheck:
			if others > 0 {
				f.offer("the metadata has other damage: mend that first", finding.Ignore)
			} else {
				f.offer("nothing else is wrong with the metadata: --policy "+f.Class+"=rewrite clears the flag", finding.Ignore, finding.Rewrite)
			}
		case ThinDataLow, ThinMetadataLow:
			f.offer("do not activate the pool for writing: --policy "+f.Class+"=rebuild writes all counts anew", finding.Ignore, finding.Rebuild)
		}
	}
}

// timesOfStrangers tells of times that are too low with the device that nobody uses, if there is one: what was not made as a snapshot, but
// put there with the blocks of another device, goes with that device. They are no findings of their own then.
func timesOfStrangers(all []judged) []judged {
	stranger := -1
	for i := range all {
		switch f := &all[i]; f.Class {
		case LeakedDevice, NoSnapshot, BlocksNextID, UnknownInPool, FreeIDInPool:
			if stranger < 0 && f.thin != nil {
				stranger = i
			}
		}
	}
	if stranger < 0 {
		return all
	}
	for i := range all {
		if f := &all[i]; f.Class == ThinTime && f.Subject != "superblock" && f.cause == "" {
			all[stranger].Evidence = append(all[stranger].Evidence, f.Evidence...)
		}
	}
	return slices.DeleteFunc(all, func(f judged) bool { return f.Class == ThinTime && f.Subject != "superblock" && f.cause == "" })
}

func thinSubject(p thinmeta.Problem) string {
	unit := "metadata block"
	switch p.Kind {
	case thinmeta.SuperblockChecksum, thinmeta.SuperblockInvalid, thinmeta.NeedsCheck, thinmeta.TransactionID, thinmeta.HeldRoot:
		return "superblock"
	case thinmeta.OutOfDataSpace, thinmeta.OutOfMetadataSpace:
		return "pool"
	case thinmeta.SpaceMapTotal:
		if p.Block == 0 {
			return "data space map"
		}
		return "metadata space map"
	case thinmeta.TimeWrong:
		if p.Device < 0 {
			return "superblock"
		}
		return devSubject(uint32(p.Device))
	case thinmeta.DetailsMissing, thinmeta.MappingMissing, thinmeta.MappedBlocksWrong:
		return devSubject(uint32(p.Device))
	case thinmeta.DataRefcountLow, thinmeta.DataRefcountHigh, thinmeta.DataBlockLeaked:
		unit = "data block"
	}
	if p.Count > 1 {
		return fmt.Sprintf("%ss %d-%d", unit, p.Block, p.Block+p.Count-1)
	}
	return fmt.Sprintf("%s %d", unit, p.Block)
}

func thinEvidence(p thinmeta.Problem) []finding.Evidence {
	ev := []finding.Evidence{says("thin metadata", "%s", p.Text)}
	if p.Device >= 0 {
		ev = append(ev, says("thin metadata", "concerns device %d", p.Device))
	}
	return ev
}
