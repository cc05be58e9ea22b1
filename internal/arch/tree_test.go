package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// root is the top of the project as seen from this package's tests.
const root = "../.."

// module is the prefix of our own import paths.
const module = "fettle/"

// source is one Go file.
type source struct {
	path  string // from the top of the project
	lines int
	ast   *ast.File
	test  bool
}

// pkg is one package of the project.
type pkg struct {
	name  string // "store/storetest", "cmd/fettle": the import path without the module and "internal/"
	files []source
}

// imports lists our own packages that the program's files (not the tests) import, by short name.
func (p *pkg) imports() []string {
	var out []string
	for _, f := range p.files {
		if f.test {
			continue
		}
		for _, i := range f.ast.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil || !strings.HasPrefix(name, module) {
				continue
			}
			out = append(out, short(strings.TrimPrefix(name, module)))
		}
	}
	sort.Strings(out)
	return slices.Compact(out)
}

func short(dir string) string { return strings.TrimPrefix(dir, "internal/") }

// packages reads every package below internal and cmd. It needs no compiler, so it works while something does not build.
func packages(t *testing.T) []*pkg {
	t.Helper()
	byName := map[string]*pkg{}
	for _, top := range []string{"internal", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir
			}
			if d.IsDir() || !strings.HasSuffix(file, ".go") {
				return nil
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			tree, err := parser.ParseFile(token.NewFileSet(), file, raw, parser.ParseComments)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			rel = filepath.ToSlash(rel)
			name := short(path.Dir(rel))
			if byName[name] == nil {
				byName[name] = &pkg{name: name}
			}
			byName[name].files = append(byName[name].files, source{path: rel, lines: bytes.Count(raw, []byte("\n")),
				ast: tree, test: strings.HasSuffix(rel, "_test.go")})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	out := make([]*pkg, 0, len(byName))
	for _, p := range byName {
		out = append(out, p)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	if len(out) < 10 {
		t.Fatalf("only %d packages found below %s", len(out), root)
	}
	return out
}
