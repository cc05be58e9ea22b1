package devmapper

import (
	"context"
	"fmt"
	"time"

	"fettle/internal/finding"
	"fettle/internal/format/boltfile"
	"fettle/internal/format/thinmeta"
	"fettle/internal/store"
)

// judgeAll is the pass that says what is wrong.
func (u *unit) judgeAll(ctx context.Context, env store.Env) error {
	if !u.tried || len(u.bolts) > 0 && u.bolts[0].file == nil {
		if err := u.analyseAgain(ctx, env); err != nil { // the run was resumed: the passes before this one ran in another process
			return err
		}
	}
	if u.ev == nil {
		if err := u.judge(ctx); err != nil {
			return err
		}
	}
	if err := u.steady(ctx, env); err != nil {
		return err
	}
	u.facts(env)
	for _, l := range []struct{ path, what string }{{u.meta, "meta.db"}, {u.store, "metadata.db"}, {u.pool, "the pool database"}} {
		if l.path == "" {
			env.Unseen(l.what + " is not there: what it has to say about the other layers was not judged")
		}
	}
	if why := u.thinUnseen(); why != "" {
		env.Unseen("the thin metadata was not read, and what it has to say about the other layers was not judged: " + why)
	}
	found := u.found // Emit may lead to Confirm, which judges anew
	env.Total(int64(len(found)), 0)
	numbers := map[string]int{}
	for i := range found {
		f := &found[i]
		out := f.Finding
		if n, ok := numbers[f.cause]; ok && f.cause != "" {
			out.CausedBy = &n
		}
		n, err := env.Emit(out)
		if err != nil {
			return err
		}
		numbers[f.key()] = n
		if err := env.Did(ctx, 1, 0); err != nil {
			return err
		}
	}
	return nil
}

func (u *unit) analyseAgain(ctx context.Context, env store.Env) error {
	u.forget()
	if err := u.readDatabases(ctx, env.Scratch(), nil); err != nil {
		return err
	}
	return u.readThin(ctx, env.Note, thinmeta.CheckOptions{Memory: env.Memory(), Workers: env.Workers()})
}

func (u *unit) facts(env store.Env) {
	if u.ev.pool != nil {
		env.Fact("device_records", len(u.ev.pool.Devices))
	}
	if u.ev.store != nil {
		env.Fact("snapshots", len(u.ev.store.Snapshots))
	}
	if u.ev.meta != nil {
		env.Fact("containers", len(u.ev.meta.Containers))
		env.Fact("images", len(u.ev.meta.Images))
	}
	if u.poolName != "" {
		env.Fact("pool", u.poolName)
	}
}

// judge makes the findings of the whole unit from what was read.
func (u *unit) judge(ctx context.Context) error {
	u.ev = u.gather()
	var all []judged
	for _, b := range u.bolts {
		all = append(all, judgeBolt(b)...)
	}
	all = append(all, u.judgeMissing()...)
	all = append(all, judgeThin(u.thin)...)
	all = append(all, u.judgeStatus(all)...)
	all = append(all, judgeLayers(ctx, join(u.ev))...)
	all = timesOfStrangers(all)
	giveReasons(all)
	u.found, u.told = inOrder(all), time.Now()
	return ctx.Err()
}

// judgeMissing reports the layers that are not there.
func (u *unit) judgeMissing() []judged {
	var out []judged
	for _, l := range []struct{ path, what string }{{u.meta, metaName}, {u.store, storeName}, {u.pool, "pool database"}} {
		if l.path == "" {
			out = append(out, judged{Finding: finding.Finding{Class: LayerMissing, Subject: l.what,
				Evidence: []finding.Evidence{says(u.dir, "has no such file")}}, ent: -1})
		}
	}
	if why := u.thinUnseen(); why != "" {
		out = append(out, judged{Finding: finding.Finding{Class: LayerMissing, Subject: "thin metadata",
			Evidence: []finding.Evidence{says(u.dir, "%s", why)}}, ent: -1})
	}
	return out
}

// thinUnseen says why the thin metadata was not read, "" if it was.
func (u *unit) thinUnseen() string {
	switch {
	case u.active.why != "":
		return u.active.why
	case u.active.pool == nil && u.thinPath() == "":
		return "no such file was found or named"
	}
	return ""
}

// classOfBolt is the class of a bolt file's problem.
func classOfBolt(k boltfile.Kind) string {
	switch k {
	case boltfile.Empty:
		return BoltEmpty
	case boltfile.Truncated:
		return BoltTruncated
	case boltfile.InvalidMetas:
		return BoltNoMeta
	case boltfile.OneMetaBad:
		return BoltOneMeta
	case boltfile.BadFreelist, boltfile.LeakedPages:
		return BoltFreelist
	}
	return BoltPage
}

// maxPages is how many damaged pages a finding lists.
const maxPages = 20

// judgeBolt makes one finding per class of damage to a file. When the file is cut off or has no root, the pages that cannot be
// reached because of that are no findings of their own.
func judgeBolt(b *boltLayer) []judged {
	index := map[string]int{}
	var out []judged
	more := map[string]int{}
	for _, p := range b.report.Problems {
		class := classOfBolt(p.Kind)
		for _, root := range []string{BoltEmpty, BoltNoMeta, BoltTruncated} {
			if _, ok := index[root]; ok && class != BoltOneMeta {
				class = root
				break
			}
		}
		i, ok := index[class]
		if !ok {
			i = len(out)
			index[class] = i
			f := judged{Finding: finding.Finding{Class: class, Subject: b.target}, ent: -1}
			f.with(detail{File: b.target, Page: &p.Page})
			if p.Kind.Harmless() && class != BoltOneMeta {
				f.severity(finding.Info)
			}
			out = append(out, f)
		} else if !p.Kind.Harmless() {
			out[i].Severity = ""
		}
		if len(out[i].Evidence) >= maxPages {
			more[class]++
			continue
		}
		out[i].Evidence = append(out[i].Evidence, says(b.target+" page "+fmt.Sprint(p.Page), "%s", p.String()))
	}
	for class, n := range more {
		f := &out[index[class]]
		f.Evidence = append(f.Evidence, says(b.target, "%d more such problems", n+b.report.More))
	}
	return out
}
