package finding

import (
	"fmt"
	"path"
	"sort"
	"strconv"
	"strings"
)

// Policy says which action to take for which findings. The most specific rule wins: a sequence number, then a class,
// then a pattern of classes, then Fallback. The zero Policy takes every finding's suggestion.
type Policy struct {
	BySeq    map[int]Action
	ByClass  map[string]Action // class id, or a pattern such as "flux/*" or "*"
	Fallback Action            // "" means Default
}

// ParsePolicy reads rules of the form SEQ=ACTION, CLASS=ACTION, PATTERN=ACTION or just ACTION (the fallback).
// Class names may be ids or aliases of classes; an unknown class or an action that the class does not offer is an error.
func ParsePolicy(rules []string, classes Classes) (Policy, error) {
	p := Policy{BySeq: map[int]Action{}, ByClass: map[string]Action{}}
	for _, r := range rules {
		name, act, ok := strings.Cut(r, "=")
		if !ok {
			p.Fallback = Action(name)
			if err := checkAction("*", p.Fallback, classes); err != nil {
				return p, err
			}
			continue
		}
		a := Action(act)
		if n, err := strconv.Atoi(name); err == nil {
			p.BySeq[n] = a
			if err := checkAction("*", a, classes); err != nil {
				return p, err
			}
			continue
		}
		if c, ok := classes.Lookup(name); ok {
			name = c.ID
		}
		if err := checkAction(name, a, classes); err != nil {
			return p, err
		}
		p.ByClass[name] = a
	}
	return p, nil
}

// checkAction refuses an action that no class matching the pattern offers, and a pattern that matches no class.
func checkAction(pattern string, a Action, classes Classes) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("policy rule %q: bad pattern: %w", pattern, err)
	}
	matched := false
	for _, c := range classes {
		if !match(pattern, c.ID) {
			continue
		}
		matched = true
		if a == Default || a == Ignore || a == Interact || c.Offers(a) {
			return nil
		}
	}
	if !matched {
		return fmt.Errorf("policy rule %q: no class of that name (fettle classes lists them)", pattern)
	}
	return fmt.Errorf("policy rule %s=%s: that action is not offered there (fettle explain %s lists them)", pattern, a, pattern)
}

func match(pattern, id string) bool {
	if pattern == "*" {
		return true
	}
	ok, err := path.Match(pattern, id)
	return err == nil && ok
}

// Choice is what a policy says about one finding.
type Choice struct {
	Action Action
	// Suggested tells that no rule decided: the action is the finding's own suggestion, or Ignore or "" if it has none.
	Suggested bool
	// Passed is the action of the most specific rule about the finding when the finding does not offer it, otherwise "".
	Passed Action
}

// Decide returns the action for f; see Choose.
func (p Policy) Decide(f *Finding) Action { return p.Choose(f).Action }

// Choose decides about f. A rule that names an action which the finding does not offer falls through to the next, so that
// "flux/*=restore" restores where there is something to restore and takes the suggestion elsewhere; Choice.Passed says so.
func (p Policy) Choose(f *Finding) Choice {
	offered := func(a Action) bool {
		if a == Ignore || a == Interact {
			return true
		}
		for _, have := range f.Actions {
			if have == a {
				return true
			}
		}
		return false
	}
	try := []Action{p.BySeq[f.Seq], p.ByClass[f.Class]}
	pats := make([]string, 0, len(p.ByClass))
	for pat := range p.ByClass {
		if pat != f.Class && match(pat, f.Class) {
			pats = append(pats, pat)
		}
	}
	// Longer patterns are more specific.
	sort.Slice(pats, func(i, j int) bool {
		if len(pats[i]) != len(pats[j]) {
			return len(pats[i]) > len(pats[j])
		}
		return pats[i] < pats[j]
	})
	for _, pat := range pats {
		try = append(try, p.ByClass[pat])
	}
	var passed Action
	for _, a := range append(try, p.Fallback) {
		if a == Default {
			break
		}
		if a != "" && offered(a) {
			return Choice{Action: a, Passed: passed}
		}
		if passed == "" {
			passed = a
		}
	}
	if f.Severity == Info && f.Suggested == "" {
		return Choice{Action: Ignore, Suggested: true, Passed: passed}
	}
	return Choice{Action: f.Suggested, Suggested: true, Passed: passed}
}
