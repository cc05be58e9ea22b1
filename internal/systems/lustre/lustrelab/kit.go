package lustrelab

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"

	"fettle/internal/finding"
	"fettle/internal/lab"
	"fettle/internal/store"
)

// Kit is what Lustre contributes to the lab, with file systems of that shape. A store is a directory with mdt*.img. sys is package
// lustre's System, handed in so that nothing here imports it.
func Kit(sys store.System, opt Options) *lab.Kit {
	k := &lab.Kit{System: sys, Recipes: Recipes(), Damage: Damage, Observe: Observe, Files: Files, Paths: Targets,
		Make: func(ctx context.Context, path string, seed uint64) error {
			o := opt
			o.Seed = seed
			_, err := Make(ctx, path, o)
			return err
		}}
	var all, whole, repairable []lab.Injury // whole: without shards that are gone, whose names are not removed
	for _, r := range recipes() {
		if r.all != nil {
			continue
		}
		all = append(all, lab.Injury{Class: r.Class, Count: 2})
		if r.Class != stripeDangling {
			whole = append(whole, lab.Injury{Class: r.Class, Count: 2})
		}
		if r.keeps == "" {
			repairable = append(repairable, lab.Injury{Class: r.Class, Count: 2})
		}
	}
	remove := []string{danglingName + "=remove", stripeLost + "=recreate", wrongMDT + "=rewrite"}
	recreate := []string{danglingName + "=recreate", stripeLost + "=recreate", wrongMDT + "=rewrite"}
	k.Mixed = []lab.Case{
		{Name: "all-at-once", Injuries: all},
		{Name: "all-at-once-removed", Injuries: whole, Policy: remove},
		{Name: "all-at-once-recreated", Injuries: all, Policy: recreate},
		{Name: "all-repairable-at-once", Injuries: repairable},
		{Name: "stripe-lost-recreated", Injuries: []lab.Injury{{Class: stripeLost, Count: 3}}, Policy: recreate},
		{Name: "stripe-dangling-recreated", Injuries: []lab.Injury{{Class: stripeDangling, Count: 3}}, Policy: recreate},
		{Name: "names-and-objects", Injuries: []lab.Injury{{Class: orphan, Percent: 5}, {Class: danglingName, Percent: 5}, {Class: linkMissing, Percent: 5}, {Class: noFID, Percent: 5}}},
	}
	for _, percent := range []float64{1, 10, 50} {
		k.Mixed = append(k.Mixed, lab.Case{Name: fmt.Sprintf("random-names-%g%%", percent), Injuries: []lab.Injury{{Class: randomNames, Percent: percent}}})
	}
	return k
}

// Files are the images in a directory.
func Files(path string) []string {
	if list, err := Targets(path); err == nil {
		return list
	}
	return []string{filepath.Join(path, "mdt0.img")}
}

var fidPattern = regexp.MustCompile(`\[0x[0-9a-f]+:0x[0-9a-f]+:0x[0-9a-f]+\]`)

// Observe reads a finding in the words of the truth: the subject is the FID of the object that it is about. Paths are for people.
func Observe(f *finding.Finding) lab.Expect {
	e := lab.Expect{Class: f.Class, Subject: f.Subject, Note: f.Title}
	if fid := fidPattern.FindString(f.Subject); fid != "" {
		e.Subject = fid
	}
	return e
}
