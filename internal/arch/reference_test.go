package arch

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"fettle/internal/cli"
	"fettle/internal/finding"
	"fettle/internal/runs"
	"fettle/internal/systems"
	"fettle/internal/systems/lustre/lustrelab"
)

var update = flag.Bool("update", false, "write the reference pages anew")

// Reference pages are generated, and are in the project as they would be generated now.
func TestReferencePages(t *testing.T) {
	for _, p := range []struct {
		file  string
		write func(io.Writer) error
	}{
		{"classes.md", func(w io.Writer) error { return cli.ClassReference(w, systems.All()) }},
		{"cli.md", cli.New(cli.Env{Systems: systems.All()}).Reference},
		{"lfsck-scenarios.md", lustrelab.ScenarioPage},
	} {
		var want bytes.Buffer
		if err := p.write(&want); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(root, "docs", "reference", p.file)
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s is not what the program says now: go test ./internal/arch -update", file)
		}
	}
}

// Every class of every system can be explained, decided and found in the reference.
func TestClasses(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "reference", "classes.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, s := range systems.All() {
		classes := s.Classes()
		if len(classes) == 0 {
			t.Errorf("%s has no classes", s.Name())
		}
		for _, c := range classes {
			for _, n := range append([]string{c.ID}, c.Aliases...) {
				n = strings.ToLower(n)
				if other, ok := names[n]; ok {
					t.Errorf("%s and %s are both called %s", other, c.ID, n)
				}
				names[n] = c.ID
			}
			if !strings.HasPrefix(c.ID, s.Name()+"/") || c.ID != strings.ToLower(c.ID) || strings.ContainsAny(c.ID, " _#=:") {
				t.Errorf("%s: the id of a class is %s/short-name", c.ID, s.Name())
			}
			if !strings.Contains(string(page), "\n### "+c.ID+"\n") {
				t.Errorf("%s is not in docs/reference/classes.md: go test ./internal/arch -update", c.ID)
			}
			checkClass(t, classes, c)
		}
	}
}

func checkClass(t *testing.T, all finding.Classes, c finding.Class) {
	t.Helper()
	if c.Title == "" || strings.HasSuffix(c.Title, ".") || strings.Contains(c.Title, "\n") {
		t.Errorf("%s: title %q is not one line without a final period", c.ID, c.Title)
	}
	if len(strings.Fields(c.Explain)) < 15 {
		t.Errorf("%s: the explanation says too little: %q", c.ID, c.Explain)
	}
	if _, err := finding.ParseSeverity(string(c.Severity)); err != nil {
		t.Errorf("%s: %v", c.ID, err)
	}
	switch c.Shape {
	case finding.Dangling, finding.Orphan, finding.Contested, finding.Mismatch, finding.Miscount, finding.Corrupt:
	default:
		t.Errorf("%s: unknown shape %q", c.ID, c.Shape)
	}
	if len(c.Actions) == 0 {
		t.Errorf("%s offers no action, not even to ignore it", c.ID)
	}
	seen := map[finding.Action]bool{}
	for i, d := range c.Actions {
		if d.Does == "" || d.Action == finding.Default || seen[d.Action] {
			t.Errorf("%s: action %q is not explained, not an action, or there twice", c.ID, d.Action)
		}
		seen[d.Action] = true
		if i == 0 && d.Irreversible {
			t.Errorf("%s: the default %q cannot be undone", c.ID, d.Action)
		}
	}
	for _, dep := range c.DependsOn {
		if other, ok := all.Lookup(dep); !ok || other.ID == c.ID {
			t.Errorf("%s depends on %q, which is no other class", c.ID, dep)
		}
	}
}

// The page about JSON lines names every field that the program writes.
func TestJSONPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "reference", "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{finding.Finding{}, runs.Summary{}, runs.Progress{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if name == "" || !strings.Contains(string(page), "`"+name+"`") && !strings.Contains(string(page), `"`+name+`"`) {
				t.Errorf("docs/reference/json.md does not mention %q of %s", name, typ)
			}
		}
	}
}
