package arch

import (
	"path"
	"strings"
	"testing"
)

// lattice says who may import whom. "a, b < c" means that c may import a and b, and whatever they may import.
// A star stands for one path element. Packages of one room may import each other: all of format, and all below systems/NAME.
// Tests may import anything; what is said here is about the program itself.
const lattice = `
	# What everybody speaks of: errors for people, and what can be wrong.
	NONE < fault, finding;
	# How numbers and strange text are put into sentences.
	NONE < say;

	# Decoders and encoders have no opinions and know nothing of us.
	NONE < format/*;

	# What witnesses say, brought together by subject.
	fault, finding < claim < match;

	# The contract, and where runs are kept.
	fault, finding, say < store < runs;

	# How a Writer writes what systems have in common: pages of a file, and whole files.
	store < store/pagefile, store/wholefile < systems/*;

	# Systems know the contract and the formats, never the engines and never each other.
	store, match, format/* < systems/*;
	store, match, format/* < systems/*/*;

	# The engines know the contract, never a system. Whom to trust is advice.
	claim < trust;
	store, match, runs, trust < check;
	store, runs, trust < repair;

	# For tests only: the conformance suite, the stores that crash on demand, and who judges what comes of damage to a field.
	store, repair, check < store/storetest;
	NONE < fieldmatrix;

	# What people see. Reports know findings only.
	finding, say < report;
	store, format/* < shell;

	# The lab scores check and repair and knows no system; what a system contributes to it lies below the system.
	store, check, repair < lab < systems/*/*;

	# The list of systems.
	systems/* < systems;

	# A fleet's checkers, and the browser.
	check, repair, runs < fleet;
	fleet, report < api < web;

	# Everything meets in the command line, which gets the list of systems from main.
	check, repair, report, runs < cli;
	systems/*, systems/*/*, shell, lab, fleet, api, web < cli;
	cli, systems < cmd/fettle;

	# This room holds only tests.
	NONE < arch;
`

// testsOnly lists packages that no part of the program may import.
var testsOnly = []string{"store/storetest", "fieldmatrix", "format/storefixture", "systems/devmapper/realctr"}

// rules maps a pattern of packages to the patterns that it may import.
type rules map[string]map[string]bool

// parseLattice reads the block. Statements end with ";", comments begin with "#".
func parseLattice(text string) rules {
	var clean strings.Builder
	for _, l := range strings.Split(text, "\n") {
		l, _, _ = strings.Cut(l, "#")
		clean.WriteString(l + " ")
	}
	r := rules{}
	for _, stmt := range strings.Split(clean.String(), ";") {
		var below []string
		for i, group := range strings.Split(stmt, "<") {
			var names []string
			for _, n := range strings.Split(group, ",") {
				if n = strings.TrimSpace(n); n != "" {
					names = append(names, n)
				}
			}
			for _, n := range names {
				if i == 0 {
					break
				}
				if r[n] == nil {
					r[n] = map[string]bool{}
				}
				for _, b := range below {
					if b != "NONE" {
						r[n][b] = true
					}
				}
			}
			below = names
		}
	}
	return r
}

// reach is everything that pkg may import: the patterns of all rules about it and, in turn, what those may import.
// ok is false when no rule is about pkg.
func (r rules) reach(pkg string) (allowed map[string]bool, ok bool) {
	allowed = map[string]bool{}
	var add func(name string)
	add = func(name string) {
		for b := range r[name] {
			if !allowed[b] {
				allowed[b] = true
				add(b)
			}
		}
	}
	for name := range r {
		if matches(name, pkg) {
			ok = true
			add(name)
		}
	}
	return allowed, ok
}

func matches(pattern, pkg string) bool {
	ok, err := path.Match(pattern, pkg)
	return err == nil && ok
}

// room is the part of the house that a package belongs to.
func room(pkg string) string {
	parts := strings.Split(pkg, "/")
	if parts[0] == "systems" && len(parts) > 1 {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

func (r rules) allows(pkg, imported string) bool {
	if room(pkg) == room(imported) && (room(pkg) == "format" || strings.HasPrefix(room(pkg), "systems/")) {
		return true
	}
	allowed, _ := r.reach(pkg)
	for a := range allowed {
		if matches(a, imported) {
			return true
		}
	}
	return false
}

func TestImports(t *testing.T) {
	r := parseLattice(lattice)
	for _, p := range packages(t) {
		if _, ok := r.reach(p.name); !ok {
			t.Errorf("%s is not in the lattice: say in lattice_test.go what it may import and why", p.name)
			continue
		}
		for _, imp := range p.imports() {
			for _, only := range testsOnly {
				if imp == only && p.name != only {
					t.Errorf("%s imports %s, which is for tests only", p.name, imp)
				}
			}
			if !r.allows(p.name, imp) {
				t.Errorf("%s must not import %s (see the lattice in lattice_test.go)", p.name, imp)
			}
		}
	}
}

// The checker of the lattice has to refuse something.
func TestLatticeRefuses(t *testing.T) {
	r := parseLattice(lattice)
	for _, c := range []struct {
		pkg, imp string
		want     bool
	}{
		{"store", "finding", true}, {"finding", "store", false}, {"check", "finding", true}, {"check", "systems/flux", false},
		{"check", "format/treeobj", false}, {"systems/flux", "format/treeobj", true}, {"systems/flux", "systems/lustre", false},
		{"systems/flux", "systems/flux/fluxlab", true}, {"systems/flux/fluxlab", "systems/lustre", false}, {"systems/flux/fluxlab", "lab", true}, {"systems/flux", "lab", false},
		{"lab", "systems/flux/fluxlab", false}, {"systems/flux", "check", false},
		{"systems/flux", "store/pagefile", true}, {"store/wholefile", "store", true}, {"store/pagefile", "store/wholefile", false}, {"store", "store/wholefile", false}, {"repair", "store/wholefile", false},
		{"format/treeobj", "format/fluid", true}, {"format/treeobj", "fault", false}, {"repair", "check", false}, {"check", "repair", false},
		{"report", "runs", false}, {"report", "store", false}, {"cli", "systems", false}, {"cli", "match", true}, {"runs", "match", false},
		{"cmd/fettle", "systems", true}, {"claim", "match", false}, {"match", "claim", true}, {"arch", "finding", false},
	} {
		if got := r.allows(c.pkg, c.imp); got != c.want {
			t.Errorf("%s imports %s: %v, want %v", c.pkg, c.imp, got, c.want)
		}
	}
	if _, ok := r.reach("util"); ok {
		t.Error("a package that nobody has heard of is allowed")
	}
}
