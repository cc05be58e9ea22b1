package flux

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/format/sqlitefile"
	"fettle/internal/format/treeobj"
)

func someRef(s string) treeobj.Ref { return treeobj.Hash(treeobj.SHA1, []byte(s)) }

func bad(index int, class string) badRef {
	r := someRef(class)
	return badRef{Index: index, Ref: r, Text: r.String(), Class: class, Says: "so says the row"}
}

func TestJudgeKey(t *testing.T) {
	root := chosenRoot{ref: someRef("root"), rows: []*checkpoint{{ID: 9}}}
	rule := func(r treeobj.Rule) *treeobj.InvalidError { return &treeobj.InvalidError{Rule: r, Detail: "as it is"} }
	for _, c := range []struct {
		name    string
		claims  keyClaims
		class   string
		subject string // class whose ref is the subject; "" is the directory
		title   string
		offers  string // actions, the suggested one first
	}{
		{"lost value", keyClaims{Path: "a.b", Entry: "valref", Of: 3, Bad: []badRef{bad(1, DanglingValref)}}, DanglingValref, DanglingValref,
			"a.b: one of its 3 blobs lost (index 1)", "quarantine unlink rollback ignore"},
		{"older version", keyClaims{Path: "a.b", Entry: "valref", Of: 1, Bad: []badRef{bad(0, DanglingValref)}, Older: &olderVersion{From: "x"}}, DanglingValref, DanglingValref,
			"a.b: its only blob is lost", "quarantine restore unlink rollback ignore"},
		{"the worst fault names it", keyClaims{Path: "k", Entry: "valref", Of: 4, Bad: []badRef{bad(0, HashStorageClass), bad(1, HashMismatch), bad(2, UndecodableBlob), bad(3, DanglingValref)}},
			DanglingValref, DanglingValref, "k: 4 of its 4 blobs lost (index 0,1,2,3)", "quarantine unlink rollback ignore"},
		{"wrong before storage class", keyClaims{Path: "k", Entry: "valref", Of: 4, Bad: []badRef{bad(0, HashStorageClass), bad(1, HashMismatch)}},
			HashMismatch, HashMismatch, "k: 2 of its 4 blobs wrong (index 0,1)", "quarantine unlink rollback rewrite ignore"},
		{"undecodable before wrong", keyClaims{Path: "k", Entry: "valref", Of: 4, Bad: []badRef{bad(0, HashMismatch), bad(1, UndecodableBlob)}},
			UndecodableBlob, UndecodableBlob, "k: 2 of its 4 blobs undecodable (index 0,1)", "quarantine unlink rollback rewrite ignore"},
		{"storage class", keyClaims{Path: "k", Entry: "valref", Of: 1, Bad: []badRef{bad(0, HashStorageClass)}}, HashStorageClass, HashStorageClass,
			"k: its only blob is stored under a key that Flux cannot find", "rewrite ignore"},
		{"lost directory", keyClaims{Path: "job.0000", Entry: "dirref", Of: 1, Bad: []badRef{bad(0, DanglingDirref)}}, DanglingDirref, DanglingDirref,
			"job.0000: the directory object is lost", "quarantine unlink rollback ignore"},
		{"malformed", keyClaims{Path: "k", Dir: someRef("dir"), Entry: "val", Rule: rule(treeobj.RuleVersion)}, InvalidTreeobj, "",
			"k: malformed tree object (" + treeobj.RuleVersion.String() + ")", "quarantine unlink rollback ignore"},
	} {
		c.claims.Root = root
		f := judgeKey(&c.claims)
		subject := someRef(c.subject)
		if c.subject == "" {
			subject = c.claims.Dir
		}
		if f.Class != c.class || f.Subject != subject.String() || f.Title != c.title || f.PathOr("?") != c.claims.Path {
			t.Errorf("%s: %s, %s, %q", c.name, f.Class, f.Subject, f.Title)
		}
		var offers []string
		for _, a := range f.Actions {
			offers = append(offers, string(a))
		}
		if strings.Join(offers, " ") != c.offers || f.Suggested != f.Actions[0] {
			t.Errorf("%s: offers %v, suggests %s", c.name, offers, f.Suggested)
		}
		if len(f.Evidence) == 0 || f.Severity != finding.Error {
			t.Errorf("%s: %s, evidence %v", c.name, f.Severity, f.Evidence)
		}
		var d keyDetail
		if err := json.Unmarshal(f.Detail, &d); err != nil || len(d.Bad) != len(c.claims.Bad) || d.Checkpoint != 9 || d.Root != root.ref.String() {
			t.Errorf("%s: detail %s: %v", c.name, f.Detail, err)
		}
	}
	if f := judgeKey(&keyClaims{Path: job1 + ".eventlog", Entry: "valref", Bad: []badRef{bad(0, DanglingValref)}, Root: root}); f.Group == "" {
		t.Error("a key of a job has no group")
	}
	many := keyClaims{Path: "k", Entry: "valref", Of: 500, Root: root}
	for i := range 500 {
		many.Bad = append(many.Bad, bad(i, DanglingValref))
	}
	if f := judgeKey(&many); len(f.Evidence) > 20 || len(f.Title) > 200 {
		t.Errorf("500 bad blobs make %d lines of evidence and the title %q", len(f.Evidence), f.Title)
	}
}

func TestJudgeCheckpointRow(t *testing.T) {
	good := `{"version":1,"rootref":"` + someRef("x").String() + `","sequence":1,"timestamp":1.5}`
	for _, c := range []struct {
		value    string // "-" is NULL
		legacy   bool
		newest   bool
		class    string
		severity finding.Severity
		leads    bool // to a root
		suggests finding.Action
	}{
		{good, false, true, "", "", true, ""},
		{good, true, true, "", "", true, ""},
		{"garbage", false, true, BadCheckpoint, finding.Error, false, finding.Discard},
		{"garbage", false, false, BadCheckpoint, finding.Error, false, finding.Discard},
		{"-", false, false, BadCheckpoint, finding.Error, false, finding.Discard},
		{"", false, true, BadCheckpoint, finding.Error, false, finding.Discard},
		{`{"version":7,"rootref":"x"}`, false, true, BadCheckpoint, finding.Error, false, finding.Discard},
		{`{"version":7,"rootref":"x"}`, false, false, BadCheckpoint, finding.Warning, false, finding.Discard},
		{`{"version":1}`, false, true, BadCheckpoint, finding.Error, false, finding.Discard},
		{strings.Replace(good, `"sequence":1`, `"sequence":"x"`, 1), false, true, BadCheckpoint, finding.Warning, true, finding.Discard},
		{someRef("x").String(), false, true, BadCheckpoint, finding.Error, false, finding.Discard},
		{someRef("x").String(), true, true, LegacyCheckpoint, finding.Error, true, finding.Rewrite},
		{"garbage", true, true, LegacyCheckpoint, finding.Error, false, finding.Discard},
	} {
		row := &checkpoint{ID: 5, Legacy: c.legacy, Value: []byte(c.value), Null: c.value == "-"}
		row.judge()
		f, found := judgeCheckpointRow(row, c.newest)
		if found != (c.class != "") || f.Class != c.class || f.Severity != c.severity || f.Suggested != c.suggests {
			t.Errorf("%q (legacy %v, newest %v): %v, %s %s, suggests %s", c.value, c.legacy, c.newest, found, f.Class, f.Severity, f.Suggested)
		}
		if row.ref.IsZero() == c.leads {
			t.Errorf("%q (legacy %v): leads to %v", c.value, c.legacy, row.ref)
		}
	}
}

// judged opens a small store and lets a test change what is known of it.
func judged(t *testing.T) (*unit, func()) {
	b := newBench(t)
	smallTree(t).build(b.path)
	return b.open()
}

func TestFileFindings(t *testing.T) {
	type problem = sqlitefile.Problem
	for _, c := range []struct {
		name     string
		problems []problem
		faults   []pageFault
		want     []string
	}{
		{"none", nil, nil, nil},
		{"what does not matter", []problem{{Kind: sqlitefile.ProblemFreelistCount}, {Kind: sqlitefile.ProblemLarger}}, nil, nil},
		{"header", []problem{{Kind: sqlitefile.ProblemHeaderMagic}, {Kind: sqlitefile.ProblemPageSize}}, nil, []string{"bad-header content.sqlite"}},
		{"wal", []problem{{Kind: sqlitefile.ProblemWALCorrupt}, {Kind: sqlitefile.ProblemWALTruncated}}, nil,
			[]string{"wal-corrupt content.sqlite-wal", "wal-truncated content.sqlite-wal"}},
		{"pages", []problem{{Kind: sqlitefile.ProblemChild, Page: 7, Found: sqlitefile.FoundZero}, {Kind: sqlitefile.ProblemOrder, Page: 5}, {Kind: sqlitefile.ProblemOrder, Page: 5}},
			[]pageFault{{Page: 7, Cell: -1}, {Page: 6, Cell: 2}}, []string{"bad-page page 5", "bad-page page 6", "bad-page page 7"}},
		{"cut off", []problem{{Kind: sqlitefile.ProblemTruncated}, {Kind: sqlitefile.ProblemChild, Page: 90, Found: sqlitefile.FoundPastEnd}, {Kind: sqlitefile.ProblemChild, Page: 2, Found: sqlitefile.FoundZero}},
			[]pageFault{{Page: 91, Cell: -1}}, []string{"bad-page page 2", "truncated-file content.sqlite"}},
		{"schema", []problem{{Kind: sqlitefile.ProblemSchemaRow}}, nil, []string{"bad-schema content.sqlite"}},
	} {
		u, done := judged(t)
		u.problems, u.faults, u.indexed = c.problems, c.faults, indexState{Agrees: true}
		fs := u.fileFindings()
		sameLines(t, c.name, briefs(fs), c.want)
		done()
	}
	u, done := judged(t)
	defer done()
	u.indexed = indexState{Agrees: true}
	for i := range uint32(5000) {
		u.faults = append(u.faults, pageFault{Page: i + 2, Cell: -1, Why: "zero"})
	}
	if fs := u.fileFindings(); len(fs) != maxPageFindings || !strings.Contains(fs[len(fs)-1].Title, "4000 more") {
		t.Errorf("%d findings, the last: %q", len(fs), fs[len(fs)-1].Title)
	}
}

func TestIndexFinding(t *testing.T) {
	for _, c := range []struct {
		name  string
		unit  unit
		found bool
	}{
		{"no table", unit{indexed: indexState{Missing: true}}, false},
		{"agrees", unit{layout: layout{objectsRoot: 2, indexRoot: 3}, indexed: indexState{Agrees: true}}, false},
		{"missing", unit{layout: layout{objectsRoot: 2}, indexed: indexState{Missing: true}}, true},
		{"a row is not indexed", unit{layout: layout{objectsRoot: 2, indexRoot: 3}, indexed: indexState{Unindexed: 1}}, true},
		{"an entry without a row", unit{layout: layout{objectsRoot: 2, indexRoot: 3}, indexed: indexState{LostCount: 1}}, true},
		{"the row was on a lost page", unit{layout: layout{objectsRoot: 2, indexRoot: 3}, faults: []pageFault{{Page: 7}}, indexed: indexState{LostCount: 1}}, false},
		{"lost page and unindexed row", unit{layout: layout{objectsRoot: 2, indexRoot: 3}, faults: []pageFault{{Page: 7}}, indexed: indexState{Unindexed: 1}}, true},
		{"lost page and bad index page", unit{layout: layout{objectsRoot: 2, indexRoot: 3}, faults: []pageFault{{Page: 7}}, indexed: indexState{BadPages: 1}}, true},
	} {
		f, found := c.unit.indexFinding()
		if found != c.found || found && (f.Class != BadIndex || len(f.Evidence) == 0) {
			t.Errorf("%s: %v %+v", c.name, found, f)
		}
	}
}

func TestLiveCopy(t *testing.T) {
	order := sqlitefile.Problem{Kind: sqlitefile.ProblemOrder, Page: 4}
	for _, c := range []struct {
		name     string
		problems []sqlitefile.Problem
		version  byte
		wal      bool
		want     bool
	}{
		{"torn", []sqlitefile.Problem{order}, 2, false, true},
		{"page twice", []sqlitefile.Problem{{Kind: sqlitefile.ProblemTwice}}, 2, false, true},
		{"reference behind the end", []sqlitefile.Problem{{Kind: sqlitefile.ProblemChild, Found: sqlitefile.FoundPastEnd}}, 2, false, true},
		{"zeroed page", []sqlitefile.Problem{{Kind: sqlitefile.ProblemChild, Found: sqlitefile.FoundZero}}, 2, false, false},
		{"cut off", []sqlitefile.Problem{order, {Kind: sqlitefile.ProblemTruncated}}, 2, false, false},
		{"rollback mode", []sqlitefile.Problem{order}, 1, false, false},
		{"with its wal", []sqlitefile.Problem{order}, 2, true, false},
		{"whole", nil, 2, false, false},
	} {
		b := newBench(t)
		smallTree(t).build(b.path)
		if c.wal {
			b.leaveWAL("UPDATE objects SET epoch = 3")
		} else {
			b.versions(c.version)
		}
		u, done := b.open()
		u.problems = c.problems
		if got := u.liveCopy(); (got != nil) != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		done()
	}
}

func TestRootFinding(t *testing.T) {
	u, done := judged(t)
	defer done()
	if err := u.analyse(context.Background(), t.TempDir(), 1); err != nil {
		t.Fatal(err)
	}
	r := &reporter{u: u}
	root := u.distinctRoots()[0]
	back := u.distinctRoots()[1]
	fault := rootFault{DanglingRoot, "no such row"}
	if f := r.rootFinding(root, fault, &back); f.Class != DanglingRoot || f.PathOr("?") != "" || f.Suggested != finding.Rollback || !strings.Contains(f.Why, back.label()) {
		t.Errorf("with a way back: %+v", f)
	}
	if f := r.rootFinding(root, fault, nil); f.Suggested != finding.Recreate || len(f.Actions) != 2 || f.Subject != root.ref.String() {
		t.Errorf("without: %+v", f)
	}
	if f := r.rootFinding(root, rootFault{NotADirectory, "a value"}, nil); f.Class != NotADirectory || !isRootFinding(&f) {
		t.Errorf("a value: %+v", f)
	}
}
