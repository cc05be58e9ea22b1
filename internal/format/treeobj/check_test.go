package treeobj

import (
	"strings"
	"testing"
)

func TestCheckJSON(t *testing.T) {
	for in, want := range map[string]Rule{
		`{}`: RuleNone, ` [1,{"a":[true,null,"é"]}] `: RuleNone, `{"a":-0.5e-3}`: RuleNone,
		``: RuleJSON, `7`: RuleJSON, `{}{}`: RuleJSON, `{"a"}`: RuleJSON, `[1,]`: RuleJSON, `["\u0000"]`: RuleJSON,
		"[\"\xff\"]": RuleUTF8, "\xef\xbb\xbf{}": RuleJSON, `[99999999999999999999]`: RuleJSON,
		strings.Repeat("[", 2048) + strings.Repeat("]", 2048): RuleNone,
		strings.Repeat("[", 2049) + strings.Repeat("]", 2049): RuleDepth,
	} {
		got := RuleNone
		if err := CheckJSON([]byte(in), false); err != nil {
			got = err.Rule
		}
		if got != want {
			t.Errorf("%.40q: %q, want %q", in, got, want)
		}
	}
	if err := CheckJSON([]byte(`{"a":"x\u0000y"}`), true); err != nil {
		t.Error(err)
	}
	if err := CheckJSON([]byte(`{"a":"x\u0000\ud800"}`), true); err == nil {
		t.Error("a lone surrogate behind a NUL is accepted")
	}
}
