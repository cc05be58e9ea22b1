package flux

import (
	"strings"
	"testing"

	"fettle/internal/repair"
)

// TestChoices asks the question of a unit that was opened after the check, as apply does.
func TestChoices(t *testing.T) {
	b := newBench(t)
	smallTree(t).build(b.path)
	found := b.check()
	u, done := b.open()
	defer done()
	question, answers, err := u.Choices(t.Context(), repair.Slice(found))
	if err != nil {
		t.Fatal(err)
	}
	if want := "1 key damaged by 1 lost blob."; question != want {
		t.Errorf("question %q, want %q", question, want)
	}
	if len(answers) != 2 || answers[0].Key != 's' || answers[1].Key != 'r' || !strings.HasPrefix(answers[1].Label, "roll back") {
		t.Errorf("answers %+v, want s and r", answers)
	}
}
