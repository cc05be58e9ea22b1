package lab

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func at(class, path string, index ...int) Expect {
	return Expect{Class: class, Path: &path, Index: index}
}
func about(class, subject string) Expect { return Expect{Class: class, Subject: subject} }

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name    string
		want    []Expect
		allowed []Allowed
		seen    []Expect
		score   Score
	}{
		{"nothing", nil, nil, nil, Score{}},
		{"found", []Expect{at("a", "k", 1, 2)}, nil, []Expect{at("a", "k", 1, 2)}, Score{1, 1, 0, 0}},
		{"missed", []Expect{at("a", "k")}, nil, nil, Score{1, 0, 1, 0}},
		{"false", nil, nil, []Expect{at("a", "k")}, Score{0, 0, 0, 1}},
		{"wrong class", []Expect{at("a", "k")}, nil, []Expect{at("b", "k")}, Score{1, 0, 1, 1}},
		{"wrong index", []Expect{at("a", "k", 1)}, nil, []Expect{at("a", "k", 2)}, Score{1, 0, 1, 1}},
		{"index not compared", []Expect{at("a", "k")}, nil, []Expect{at("a", "k", 2)}, Score{1, 1, 0, 0}},
		{"reported twice", []Expect{at("a", "k")}, nil, []Expect{at("a", "k"), at("a", "k")}, Score{1, 1, 0, 1}},
		{"expected twice", []Expect{about("a", "s"), about("a", "s")}, nil, []Expect{about("a", "s")}, Score{2, 1, 1, 0}},
		{"any subject", []Expect{about("a", "")}, nil, []Expect{about("a", "s")}, Score{1, 1, 0, 0}},
		{"subject is no path", []Expect{about("a", "k")}, nil, []Expect{at("a", "k")}, Score{1, 0, 1, 1}},
		{"allowed", nil, []Allowed{{Class: "a"}}, []Expect{about("a", "s")}, Score{}},
		{"allowed elsewhere", nil, []Allowed{{Class: "a", Subject: "t"}}, []Expect{about("a", "s")}, Score{0, 0, 0, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Compare(&Truth{Expected: c.want, Allowed: c.allowed}, c.seen)
			if got.Score != c.score || len(got.Missing) != c.score.Missed || len(got.Wrong) != c.score.False {
				t.Errorf("%+v, want %+v", got, c.score)
			}
			if got.Good() != (c.score.Missed == 0 && c.score.False == 0) {
				t.Error("Good is wrong")
			}
		})
	}
}

// TestCompareAdds holds for all truths and findings: what is expected is found or missed, what is seen is found, false or
// allowed, and the classes add up to the whole. The order of findings does not matter.
func TestCompareAdds(t *testing.T) {
	one := rapid.Custom(func(t *rapid.T) Expect {
		e := Expect{Class: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "class"), Subject: rapid.SampledFrom([]string{"", "s", "t"}).Draw(t, "subject")}
		if rapid.Bool().Draw(t, "path") {
			p := rapid.SampledFrom([]string{"", "k", "l"}).Draw(t, "key")
			e.Path, e.Index = &p, rapid.SliceOfN(rapid.IntRange(0, 2), 1, 2).Draw(t, "index")
		}
		return e
	})
	rapid.Check(t, func(t *rapid.T) {
		truth := &Truth{Expected: rapid.SliceOfN(one, 0, 8).Draw(t, "expected")}
		seen := rapid.SliceOfN(one, 0, 8).Draw(t, "seen")
		c := Compare(truth, seen)
		var sum Score
		for _, s := range c.ByClass {
			sum.Add(s)
		}
		if sum != c.Score || c.Found+c.Missed != c.Injected || c.Found+c.False != len(seen) || c.Injected != len(truth.Expected) {
			t.Fatalf("%+v does not add up: %d expected, %d seen", c, len(truth.Expected), len(seen))
		}
		if again := Compare(truth, truth.Expected); !again.Good() {
			t.Fatalf("the truth does not agree with itself: %+v", again)
		}
	})
}

func TestInjuryOf(t *testing.T) {
	for _, c := range []struct {
		in   Injury
		n    int
		want int
	}{
		{Injury{}, 10, 1}, {Injury{}, 0, 0}, {Injury{Count: 3}, 10, 3}, {Injury{Count: 30}, 10, 10},
		{Injury{Percent: 50}, 10, 5}, {Injury{Percent: 0.1}, 10, 1}, {Injury{Percent: 100}, 7, 7}, {Injury{Percent: 10}, 0, 0},
	} {
		if got := c.in.Of(c.n); got != c.want {
			t.Errorf("%+v of %d: %d, want %d", c.in, c.n, got, c.want)
		}
	}
}

func TestTruthFile(t *testing.T) {
	truth := &Truth{Type: "truth", Schema: TruthSchema, System: "x", Seed: 1 << 63, Expected: []Expect{at("a", "", 3), about("b", "s")},
		Done: []Done{{Injury: Injury{Class: "a", Percent: 0.5}, What: []string{"x"}}}, Facts: map[string]string{"k": "v"}}
	for i := range MaxHidden + 5 {
		truth.Hide(strings.Repeat("h", i%3))
	}
	if truth.HiddenCount != MaxHidden+5 || len(truth.Hidden) != MaxHidden {
		t.Fatalf("%d hidden, %d listed", truth.HiddenCount, len(truth.Hidden))
	}
	truth.Hidden = truth.Hidden[:3]
	path := filepath.Join(t.TempDir(), "truth.json")
	if err := truth.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := LoadTruth(path)
	if err != nil || !reflect.DeepEqual(got, truth) {
		t.Errorf("read back: %+v (%v)", got, err)
	}
	truth.Schema = 99
	if err := truth.Save(path); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTruth(path); err == nil {
		t.Error("a truth of another schema was accepted")
	}
}

func TestCopyStore(t *testing.T) {
	from := filepath.Join(t.TempDir(), "store")
	if err := os.MkdirAll(filepath.Join(from, "left-out"), 0o700); err != nil {
		t.Fatal(err)
	}
	content := append(make([]byte, 200_000), []byte("behind zeros")...)
	for name, b := range map[string][]byte{"a": content, "b": nil, "c": make([]byte, 70_000)} {
		if err := os.WriteFile(filepath.Join(from, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	to := filepath.Join(t.TempDir(), "copy")
	if err := CopyStore(from, to); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		want, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d (%v)", name, len(got), len(want), err)
		}
	}
	sum := func(dir, last string) string {
		s, err := Digest([]string{filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, last)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if sum(from, "c") != sum(to, "c") || sum(from, "c") == sum(from, "d") || sum(from, "c") == sum(from, "a") {
		t.Error("the digest does not tell what is the same")
	}
	if err := os.WriteFile(filepath.Join(to, "c"), make([]byte, 70_001), 0o600); err != nil {
		t.Fatal(err)
	}
	if sum(from, "c") == sum(to, "c") {
		t.Error("the digest does not see a zero more")
	}
	if err := CopyStore(from, to); err == nil {
		t.Error("a copy was overwritten")
	}
	if err := CopyStore(filepath.Join(from, "a"), filepath.Join(to, "b")); err == nil {
		t.Error("a file was overwritten")
	}
}

func TestReport(t *testing.T) {
	r := Row{Case: "cuts"}
	r.add(&Trial{Case: "cuts", Comparison: &Comparison{Score: Score{2, 1, 1, 0}}, Repaired: Yes, Clean: Yes, Undone: No, Findings: 1})
	r.add(&Trial{Case: "cuts", Seed: 2, Comparison: &Comparison{Score: Score{2, 2, 0, 0}}, Repaired: No, Clean: Nothing, Undone: Nothing, Error: "repair: x"})
	if r.Clean != (Ratio{1, 2}) || r.Undone != (Ratio{0, 1}) || r.Good() || r.Injected != 4 || len(r.Errors) != 1 {
		t.Errorf("%+v", r)
	}
	rep := &Report{System: "x", Seeds: 2, Rows: []Row{r}, Total: r}
	rep.Total.Case = "total"
	var text, md bytes.Buffer
	if err := rep.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := rep.WriteMarkdown(&md); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"cuts", "1/2", "0/1", "error: cuts, seed 2: repair: x"} {
		if !strings.Contains(text.String(), s) || !strings.Contains(md.String(), s) {
			t.Errorf("%q is not in the report:\n%s%s", s, text.String(), md.String())
		}
	}
	if !strings.Contains(md.String(), "| cuts | 2 | 4 | 3 | 1 | 0 | 1 | 1/2 | 0/1 |") {
		t.Errorf("the row of the table is not as expected:\n%s", md.String())
	}
}
