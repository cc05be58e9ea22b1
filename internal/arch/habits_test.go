package arch

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxLines is the size that no file may reach; aLot is the size from which on it has to be justified here.
const (
	maxLines = 600
	aLot     = 400
)

// long lists the files of more than aLot lines and why they are not split. Tests may be long without a reason.
var long = map[string]string{}

// vague lists package names that say nothing about a job.
var vague = []string{"util", "utils", "common", "helper", "helpers", "manager", "misc", "base", "shared", "lib", "core", "types", "tools"}

func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		said := ""
		for _, f := range p.files {
			if !f.test && f.ast.Doc != nil {
				if said != "" {
					t.Errorf("%s has two package comments, the second in %s", p.name, f.path)
				}
				said = f.ast.Doc.Text()
			}
		}
		switch {
		case said == "":
			t.Errorf("%s has no package comment that says its job, what holds, and what it must not do", p.name)
		case len(strings.Fields(said)) < 12:
			t.Errorf("%s: the package comment says too little: %q", p.name, said)
		case !strings.HasPrefix(said, "Package ") && !strings.HasPrefix(said, "Command "):
			t.Errorf("%s: the package comment begins with %q", p.name, strings.Fields(said)[0])
		}
	}
}

// fileName matches what a package comment calls a file, with a star perhaps.
var fileName = regexp.MustCompile(`[a-z0-9_*]+\.go\b`)

// A package comment that lists its files (in indented lines) lists files that are there.
func TestPackageCommentsNameFiles(t *testing.T) {
	listed := 0
	for _, p := range packages(t) {
		for _, f := range p.files {
			if f.test || f.ast.Doc == nil {
				continue
			}
			for _, line := range strings.Split(f.ast.Doc.Text(), "\n") {
				if !strings.HasPrefix(line, "\t") {
					continue
				}
				for _, name := range fileName.FindAllString(line, -1) {
					if listed++; !slices.ContainsFunc(p.files, func(o source) bool { ok, _ := path.Match(name, path.Base(o.path)); return ok && !o.test }) {
						t.Errorf("the package comment of %s lists %s, and there is no such file", p.name, name)
					}
				}
			}
		}
	}
	if listed < 50 {
		t.Errorf("only %d names of files were found in package comments", listed)
	}
}

func TestPackageNames(t *testing.T) {
	for _, p := range packages(t) {
		for _, v := range vague {
			if path.Base(p.name) == v {
				t.Errorf("%s: a package is named after its job, not %q", p.name, v)
			}
		}
		for _, f := range p.files {
			if n := f.ast.Name.Name; n != path.Base(p.name) && n != path.Base(p.name)+"_test" && n != "main" {
				t.Errorf("%s is in package %s", f.path, n)
			}
		}
	}
}

func TestFileSizes(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t) {
		for _, f := range p.files {
			switch {
			case f.lines >= maxLines:
				t.Errorf("%s has %d lines: split it by job", f.path, f.lines)
			case f.lines > aLot && !f.test && long[f.path] == "":
				t.Errorf("%s has %d lines: split it by job, or say in habits_test.go why it has to be one file", f.path, f.lines)
			}
			seen[f.path] = f.lines > aLot
		}
	}
	for f, why := range long {
		if !seen[f] {
			t.Errorf("%s is not long any more (or gone): take it off the list (%s)", f, why)
		}
	}
}

// The list of systems, and every other list, is written down where it can be read.
func TestNoRegistration(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range p.files {
			for _, d := range f.ast.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && !f.test && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s has an init function", f.path)
				}
			}
			for _, i := range f.ast.Imports {
				if !f.test && i.Name != nil && i.Name.Name == "_" && strings.HasPrefix(strings.Trim(i.Path.Value, `"`), module) {
					t.Errorf("%s imports %s for its side effects", f.path, i.Path.Value)
				}
			}
		}
	}
}
