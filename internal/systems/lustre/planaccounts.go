package lustre

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fettle/internal/format/ext4"
	"fettle/internal/format/ext4edit"
	"fettle/internal/say"
	"fettle/internal/store"
	"fettle/internal/systems/lustre/mdtrecord"
)

// accounts ends a plan with a step for each target whose bitmaps, counts or quota files do not say what its inodes do: neither damage that
// took an inode away, nor the repair, told them. All inodes are gone through once, as the steps before leave them. Without other
// steps there is none: such differences alone are ldiskfs' own, and e2fsck's to mend.
func (p *planner) accounts(ctx context.Context) error {
	if len(p.steps) == 0 {
		return nil
	}
	for i, t := range p.u.targets {
		meter := store.Begin(ctx, "plan", "counting inodes and blocks of "+t.name(), t.used(), 0)
		r, err := p.mdts.Edit(i).Recount(ctx, func(n int64) { meter.Did(n, 0) })
		meter.End()
		if err == nil {
			err = p.correct(i, r)
		}
		if err != nil && !canLeave(err) {
			return fmt.Errorf("count inodes and blocks of %s: %w", t.name(), err)
		}
		if err != nil {
			p.accountNote(i, "bitmaps, counts and quota are left as they are: "+err.Error())
		}
	}
	return nil
}

// accountNote says what is left of a target.
func (p *planner) accountNote(mdt int, text string) {
	p.notes = append(p.notes, fmt.Sprintf("%s: %s; have Lustre's e2fsck look at it after the repair", p.u.targets[mdt].name(), text))
}

// correct makes one step of what a recount found.
func (p *planner) correct(mdt int, r *ext4edit.Recount) error {
	if r.Kept != "" {
		p.accountNote(mdt, "blocks and inodes that nothing has are not given back, and directories and quota are not counted: "+r.Kept)
	}
	for _, n := range r.Notes {
		if r.Kept == "" {
			p.accountNote(mdt, n)
		}
	}
	step := store.Step{ID: len(p.steps) + 1, Findings: []int{}}
	if err := p.mdts.Edit(mdt).Try(func() error { return p.marks(mdt, r, &step) }); err != nil {
		return err
	}
	links, err := p.remoteLinks(mdt, &step)
	if err != nil && !canLeave(err) {
		return err
	}
	for _, q := range r.Quota {
		a := mdtrecord.Account{Kind: mdtrecord.KindQuota, Quota: q.Kind, Number: q.ID}
		err := p.correctOne(mdt, &step, a, mdtrecord.Encode(mdtrecord.QuotaUsage(q.Want)), "what the inodes add up to")
		if err != nil && !canLeave(err) {
			return err
		}
		if err != nil {
			p.accountNote(mdt, fmt.Sprintf("the %s quota of %d is left as it is: %v", q.Kind, q.ID, err))
		}
	}
	if len(step.Changes) > 0 {
		step.Title = accountsTitle(p.u.targets[mdt].name(), r, links)
		p.steps, p.open = append(p.steps, step), false
	}
	return nil
}

// marks corrects bitmaps and the counts that follow from them.
func (p *planner) marks(mdt int, r *ext4edit.Recount, step *store.Step) error {
	var errs []error
	put := func(a mdtrecord.Account, after store.Bytes, note string) {
		if len(errs) == 0 {
			if err := p.correctOne(mdt, step, a, after, note); err != nil {
				errs = append(errs, err)
			}
		}
	}
	for _, b := range r.Blocks {
		mark, note := mdtrecord.MarkFree, "no inode has them"
		if b.Used {
			mark, note = mdtrecord.MarkUsed, "an inode has them"
		}
		put(mdtrecord.Account{Kind: mdtrecord.KindBlocks, From: b.From, Count: b.N}, store.Bytes(mark), note)
	}
	for _, ino := range r.Inodes {
		put(mdtrecord.Account{Kind: mdtrecord.KindMark, Number: ino}, store.Bytes(mdtrecord.MarkFree), "it holds nothing")
	}
	for _, ino := range r.Deleted {
		put(mdtrecord.Account{Kind: mdtrecord.KindDeleted, Number: ino}, store.Bytes("0"), "links of a deleted inode")
	}
	for _, g := range r.Groups {
		put(mdtrecord.Account{Kind: mdtrecord.KindGroup, Number: g.Group}, mdtrecord.Encode(mdtrecord.GroupCounts(g.Want)), "what bitmaps and inodes add up to")
	}
	if r.Super != nil {
		put(mdtrecord.Account{Kind: mdtrecord.KindFree}, mdtrecord.Encode(mdtrecord.FreeCounts{Blocks: r.Super.Blocks, Inodes: r.Super.Inodes}), "what the groups add up to")
	}
	return errors.Join(errs...)
}

// correctOne changes one record and enters it into the step.
func (p *planner) correctOne(mdt int, step *store.Step, a mdtrecord.Account, after store.Bytes, note string) error {
	addr := a.String()
	before, err := p.mdts.Read(mdt, addr)
	if err != nil {
		return err
	}
	if err := p.mdts.Write(mdt, addr, after); err != nil {
		return err
	}
	step.Changes = append(step.Changes, store.Change{Target: p.u.targets[mdt].name(), Addr: addr, Before: before, After: after, Note: note})
	return nil
}

// remoteLinks sets the link count of REMOTE_PARENT_DIR, which is no part of the namespace: damage that takes a remote directory off it
// leaves the count as it was.
func (p *planner) remoteLinks(mdt int, step *store.Step) (changed bool, err error) {
	ino := p.u.targets[mdt].marks.remote
	if ino == 0 {
		return false, nil
	}
	in, err := p.mdts.Inode(mdt, ino)
	if err != nil || !in.IsDir() {
		return false, err
	}
	dirs, whole := 0, true
	err = p.mdts.Edit(mdt).View().Dir(in, func(d ext4.Dirent) bool {
		if d.Type == ext4.TypeDir { // '.' and '..' as well, for the directory's name and its own '.'
			dirs++
		}
		return true
	}, func(ext4.Problem) { whole = false })
	if err != nil || !whole || dirs == int(in.Links) || dirs >= maxDirLinks {
		return false, err
	}
	addr := mdtrecord.InodeAddr(mdtrecord.KindNlink, ino)
	before, err := p.mdts.Read(mdt, addr)
	if err != nil {
		return false, err
	}
	after := store.Bytes(strconv.Itoa(dirs))
	if err := p.mdts.Write(mdt, addr, after); err != nil {
		return false, err
	}
	step.Changes = append(step.Changes, store.Change{Target: p.u.targets[mdt].name(), Addr: addr, Before: before, After: after, Note: "link count of REMOTE_PARENT_DIR"})
	return true, nil
}

// accountsTitle says in words what a step corrects. links says that the link count of REMOTE_PARENT_DIR is among it.
func accountsTitle(target string, r *ext4edit.Recount, links bool) string {
	var set, give uint64
	for _, b := range r.Blocks {
		if b.Used {
			set += b.N
		} else {
			give += b.N
		}
	}
	var parts []string
	for _, x := range []struct {
		is   bool
		text string
	}{
		{set > 0, say.Count(int(set), "block") + " marked as in use"},
		{give > 0, say.Count(int(give), "block") + " given back"},
		{len(r.Inodes) > 0, say.Count(len(r.Inodes), "inode") + " given back"},
		{len(r.Deleted) > 0, say.Count(len(r.Deleted), "deleted inode") + " without links"},
		{len(r.Groups) > 0 || r.Super != nil, "free counts"},
		{links, "the link count of REMOTE_PARENT_DIR"},
		{len(r.Quota) > 0, "quota usage"},
	} {
		if x.is {
			parts = append(parts, x.text)
		}
	}
	return fmt.Sprintf("accounts of ldiskfs on %s: %s", target, strings.Join(parts, ", "))
}
