package store

import (
	"context"
	"iter"

	"fettle/internal/finding"
)

// Choice is one answer to the question that is asked before a repair.
type Choice struct {
	Key    rune     // the letter to type; 'q' is taken for quitting
	Label  string   // what it means, as the rest of "s=": "save to lost+found", "roll back 33 minutes"
	Policy []string // policy rules that make it so, in the form that finding.ParsePolicy reads
}

// Chooser is a Unit that can put its findings to a person as one question with a few answers, instead of one decision
// per class.
type Chooser interface {
	Unit
	// Choices gives the question in one line without its answers ("27 keys damaged by 4 lost blobs") and the answers, the
	// one to suggest first. No answers means that there is nothing to choose.
	Choices(ctx context.Context, findings iter.Seq2[finding.Finding, error]) (question string, answers []Choice, err error)
}
