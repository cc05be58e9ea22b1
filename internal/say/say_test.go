package say

import "testing"

func TestClean(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""}, {"job.0000.ƒA b", "job.0000.ƒA b"}, {"a\x1b[0m", `a\x1b[0m`}, {"a\nb\tc\r", `a\nb\tc\r`}, {"\xff\xfe", `\xff\xfe`},
		{"\u202eabc", `\u202eabc`}, {"a\u200bb", `a\u200bb`}, {"\x9b", `\x9b`}, {"\u009b", `\u009b`}, {`back\slash`, `back\slash`},
		{"\U000e0001", `\U000e0001`}, {"\u2028", `\u2028`}, {"\x7f", `\x7f`},
	} {
		if got := Clean(c.in); got != c.want {
			t.Errorf("Clean(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestShort(t *testing.T) {
	if got := Short("abcdefghijklmnop", 10); got != "abc...mnop" {
		t.Errorf("got %q", got)
	}
	if got := Short("short", 10); got != "short" {
		t.Errorf("got %q", got)
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 blobs", 1: "1 blob", 27: "27 blobs"} {
		if got := Count(n, "blob"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
