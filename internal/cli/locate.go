package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/finding"
	"fettle/internal/runs"
	"fettle/internal/say"
	"fettle/internal/store"
)

// locate finds out which system a store belongs to: by the name in front of it, else by its content. The paths of the
// location are absolute.
func (a *App) locate(text string) (store.System, store.Location, error) {
	loc, err := store.ParseLocation(text, a.systemNames())
	if err != nil {
		return nil, loc, fault.NewUsage(err, a.supported())
	}
	for i, p := range loc.Paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, loc, &fault.Error{Op: "open store", Where: text, Err: err}
		}
		loc.Paths[i] = abs
	}
	if loc.System != "" {
		sys, _ := a.system(loc.System)
		return sys, loc, nil
	}
	sys, err := a.recognize(text, loc.Paths[0])
	if err != nil {
		return nil, loc, err
	}
	loc.System = sys.Name()
	return sys, loc, nil
}

// recognize asks every system whether path is one of its stores.
func (a *App) recognize(text, path string) (store.System, error) {
	if _, err := os.Stat(path); err != nil {
		name, _, prefixed := strings.Cut(text, ":")
		if errors.Is(err, fs.ErrNotExist) && prefixed && name != "" && !strings.ContainsAny(name, "/.\\") {
			return nil, usagef(a.supported(), "unknown system %q in %q", name, text)
		}
		return nil, fault.Opening(text, &fs.PathError{Op: "open", Path: text, Err: errors.Unwrap(err)}, "a store that is not a file needs its system in front, as in SYSTEM:PLACE")
	}
	var hits []store.System
	for _, s := range a.Systems {
		ok, err := s.Recognize(path)
		if err != nil {
			return nil, fault.Opening(text, err, a.supported())
		}
		if ok {
			hits = append(hits, s)
		}
	}
	switch len(hits) {
	case 1:
		return hits[0], nil
	case 0:
		return nil, &fault.Error{Op: "recognise", Where: text, Err: errors.New("not a store of any kind known here"),
			Hint: a.supported() + "; if it is one of these, say so: " + a.exampleOf(text), Kind: fault.Usage}
	}
	names := make([]string, len(hits))
	for i, s := range hits {
		names[i] = s.Name() + ":" + text
	}
	return nil, usagef("say which: "+strings.Join(names, " or "), "%s could be a store of several systems", text)
}

// exampleOf is the location text with a system in front.
func (a *App) exampleOf(text string) string {
	if len(a.Systems) != 1 {
		return "SYSTEM:" + text
	}
	return a.Systems[0].Name() + ":" + text
}

// supported lists the systems for a hint.
func (a *App) supported() string {
	parts := make([]string, len(a.Systems))
	for i, s := range a.Systems {
		parts[i] = fmt.Sprintf("%s (%s)", s.Name(), s.Title())
	}
	return "supported: " + strings.Join(parts, ", ")
}

func (a *App) systemNames() []string {
	names := make([]string, len(a.Systems))
	for i, s := range a.Systems {
		names[i] = s.Name()
	}
	return names
}

// system finds a system by its name.
func (a *App) system(name string) (store.System, bool) {
	for _, s := range a.Systems {
		if s.Name() == name {
			return s, true
		}
	}
	return nil, false
}

// systemOf is the system of a run that was made earlier, maybe by another version.
func (a *App) systemOf(run, name string) (store.System, error) {
	if s, ok := a.system(name); ok {
		return s, nil
	}
	return nil, &fault.Error{Op: "open run", Where: run, Err: fmt.Errorf("it is about a %q store, which this fettle does not know", name), Hint: a.supported()}
}

// storeLabel is a run's store in front of a colon: "devmapper:", which is this machine, has its own already.
func storeLabel(r *runs.Run) string { return strings.TrimSuffix(say.Clean(r.Spec().Store), ":") }

// lookupClass finds a class by its id, an alias, or its id without the system when that is enough to tell.
func (a *App) lookupClass(name string) (finding.Class, bool) {
	all := a.classes()
	if c, ok := all.Lookup(name); ok {
		return c, true
	}
	var hits finding.Classes
	for _, s := range a.Systems {
		if c, ok := all.Lookup(s.Name() + "/" + name); ok {
			hits = append(hits, c)
		}
	}
	if len(hits) != 1 {
		return finding.Class{}, false
	}
	return hits[0], true
}

// classHint is the hint for an unknown class: those whose ids name is part of, else where to look.
func (a *App) classHint(name string) string {
	_, short, ok := strings.Cut(strings.ToLower(name), "/")
	if !ok {
		short = strings.ToLower(name)
	}
	var like []string
	for _, c := range a.classes() {
		if len(short) >= 3 && len(like) < 3 && strings.Contains(c.ID, short) {
			like = append(like, c.ID)
		}
	}
	if len(like) > 0 {
		return "did you mean: " + strings.Join(like, ", ")
	}
	return "fettle classes lists them; a finding is named RUN#SEQ"
}

// classes lists the classes of all systems.
func (a *App) classes() finding.Classes {
	var out finding.Classes
	for _, s := range a.Systems {
		out = append(out, s.Classes()...)
	}
	return out
}
