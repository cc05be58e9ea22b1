package shell

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fettle/internal/store"
)

// Limits that end walks through trees that contain themselves or the same directory over and over. Within them the time is linear in
// what is shown.
const (
	maxDepth  = 1000 // levels below the start
	maxVisits = 64   // how often the same directory is entered
)

// walk visits the nodes below a directory in order.
type walk struct {
	s      *Shell
	levels int // how many levels to enter; maxDepth for all
	visits map[string]int
	bad    int // directories that could not be read
	cut    int // directories not entered because of the limits
	visit  func(n store.Node, depth int) error
}

// below visits everything below d; depth counts from 1.
func (w *walk) below(ctx context.Context, d store.Node, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	list, err := w.s.view.List(ctx, d, false)
	if err != nil {
		w.bad++
		if d.Trouble == "" || depth == 1 { // otherwise it was shown with its directory
			w.s.remark("%s: %v", w.s.show(d.Path), err)
		}
	}
	for _, n := range list {
		if err := w.visit(n, depth); err != nil {
			return err
		}
		if !n.Dir || depth >= w.levels {
			continue
		}
		if depth >= maxDepth || n.Identity != "" && w.visits[n.Identity] >= maxVisits {
			w.cut++
			continue
		}
		if n.Identity != "" {
			w.visits[n.Identity]++
		}
		if err := w.below(ctx, n, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// end says what the walk did not see.
func (w *walk) end() error {
	if w.cut > 0 {
		w.s.remark("%d directories were not entered: they were entered %d times already, or lie more than %d levels deep", w.cut, maxVisits, maxDepth)
	}
	switch {
	case w.bad > 0:
		return fmt.Errorf("%d directories: %w", w.bad, store.ErrPartial)
	case w.cut > 0:
		return fmt.Errorf("%d directories were left out: %w", w.cut, store.ErrPartial)
	}
	return nil
}

func tree(ctx context.Context, s *Shell, args []string) error {
	opts, texts, err := options(args, "", "d")
	if err != nil {
		return err
	}
	levels := maxDepth + 1
	if text, ok := opts["d"]; ok {
		if levels, err = strconv.Atoi(text); err != nil || levels < 1 {
			return usage("", fmt.Errorf("%q is not a depth", text))
		}
	}
	if len(texts) > 1 {
		return usage("usage: tree [-d DEPTH] [PATH]", errors.New("too many paths"))
	}
	nodes, err := s.nodes(ctx, texts, true)
	if err != nil {
		return err
	}
	w := &walk{s: s, levels: levels, visits: map[string]int{}}
	w.visit = func(n store.Node, depth int) error {
		s.print("%s%s", strings.Repeat("  ", min(depth, 60)), s.line(n, s.name(n), false))
		return nil
	}
	for _, n := range nodes {
		s.print("%s", s.line(n, s.show(n.Path), false))
		if n.Dir {
			if err := w.below(ctx, n, 1); err != nil {
				return err
			}
		}
	}
	return w.end()
}

func find(ctx context.Context, s *Shell, args []string) error {
	opts, texts, err := options(args, "damaged", "name", "kind")
	if err != nil {
		return err
	}
	pattern, named := opts["name"]
	kind, kinded := opts["kind"]
	_, damaged := opts["damaged"]
	fits := func(n store.Node) bool {
		return (!named || match(pattern, n.Name())) && (!kinded || n.Kind == kind) && (!damaged || n.Trouble != "")
	}
	nodes, err := s.nodes(ctx, texts, true)
	if err != nil {
		return err
	}
	w := &walk{s: s, levels: maxDepth + 1, visits: map[string]int{}}
	w.visit = func(n store.Node, _ int) error {
		if fits(n) {
			name := s.show(n.Path)
			if damaged {
				name += "  ! " + n.Trouble
			}
			s.print("%s", name)
		}
		return nil
	}
	for _, n := range nodes {
		if len(n.Path) > 0 && fits(n) {
			if err := w.visit(n, 0); err != nil {
				return err
			}
		}
		if n.Dir {
			if err := w.below(ctx, n, 1); err != nil {
				return err
			}
		}
	}
	return w.end()
}
