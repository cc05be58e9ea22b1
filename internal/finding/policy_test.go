package finding

import "testing"

func TestChoose(t *testing.T) {
	f := Finding{Seq: 7, Class: "x/a", Severity: Error, Actions: []Action{Unlink, Restore}, Suggested: Unlink}
	info := Finding{Seq: 8, Class: "x/info", Severity: Info}
	for name, c := range map[string]struct {
		policy Policy
		f      *Finding
		want   Choice
	}{
		"nothing said":           {Policy{}, &f, Choice{Unlink, true, ""}},
		"offered":                {Policy{Fallback: Restore}, &f, Choice{Restore, false, ""}},
		"not offered":            {Policy{Fallback: Rollback}, &f, Choice{Unlink, true, Rollback}},
		"number before class":    {Policy{BySeq: map[int]Action{7: Restore}, ByClass: map[string]Action{"x/a": Rollback}}, &f, Choice{Restore, false, ""}},
		"falls to the next":      {Policy{BySeq: map[int]Action{7: Rollback}, ByClass: map[string]Action{"x/*": Restore}}, &f, Choice{Restore, false, Rollback}},
		"falls to the end":       {Policy{ByClass: map[string]Action{"x/a": Rollback, "x/*": Rebuild}}, &f, Choice{Unlink, true, Rollback}},
		"default ends the rules": {Policy{BySeq: map[int]Action{7: Default}, Fallback: Rollback}, &f, Choice{Unlink, true, ""}},
		"always offered":         {Policy{Fallback: Interact}, &info, Choice{Interact, false, ""}},
		"info":                   {Policy{Fallback: Restore}, &info, Choice{Ignore, true, Restore}},
		"of another finding":     {Policy{BySeq: map[int]Action{9: Rollback}}, &f, Choice{Unlink, true, ""}},
	} {
		if got := c.policy.Choose(c.f); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}
