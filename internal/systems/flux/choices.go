package flux

import (
	"context"
	"fmt"
	"iter"
	"time"

	"fettle/internal/finding"
	"fettle/internal/say"
	"fettle/internal/store"
)

// Choices implements store.Chooser: the question of a night shift is not what to do about each class, but whether to keep
// what is readable or to go back in time.
func (u *unit) Choices(ctx context.Context, findings iter.Seq2[finding.Finding, error]) (string, []store.Choice, error) {
	keys, others := 0, 0
	blobs := map[string]bool{}
	canRollback := false
	for f, err := range findings {
		if err != nil {
			return "", nil, err
		}
		switch {
		case !f.Counts():
			continue
		case f.Path != nil && *f.Path != "":
			keys++
			blobs[f.Subject] = true
			canRollback = canRollback || offers(&f, finding.Rollback)
		default:
			others++
		}
	}
	if keys == 0 {
		return "", nil, nil
	}
	question := fmt.Sprintf("%s damaged by %s.", say.Count(keys, "key"), say.Count(len(blobs), "lost blob"))
	if others > 0 {
		question = fmt.Sprintf("%s damaged by %s, and %s.", say.Count(keys, "key"), say.Count(len(blobs), "lost blob"), say.Count(others, "other finding"))
	}
	answers := []store.Choice{{Key: 's', Label: "save to lost+found"}}
	if canRollback {
		if err := u.lookAgain(ctx); err != nil {
			return "", nil, err
		}
	}
	if canRollback && len(u.roots) > 0 {
		back, counts, err := u.goodRollback(ctx, nil, u.roots[0].ref)
		if err != nil {
			return "", nil, err
		}
		if back != nil {
			answers = append(answers, store.Choice{Key: 'r', Label: u.rollbackLabel(back, counts), Policy: []string{"flux/*=rollback"}})
		}
	}
	return question, answers, nil
}

func (u *unit) rollbackLabel(back *chosenRoot, counts walkCounts) string {
	label := "roll back"
	if cur := u.current(); cur != nil && !cur.when().IsZero() && !back.when().IsZero() {
		d := cur.when().Sub(back.when())
		if d >= 2*time.Minute {
			label += fmt.Sprintf(" %.0f minutes", d.Minutes())
		} else {
			label += " " + roundAge(d)
		}
	}
	if jobs := u.reach.counts.Jobs - counts.Jobs; jobs > 0 {
		label += fmt.Sprintf(" (%s)", say.Count(int(jobs), "job"))
	}
	return label
}

func offers(f *finding.Finding, a finding.Action) bool {
	for _, have := range f.Actions {
		if have == a {
			return true
		}
	}
	return false
}
