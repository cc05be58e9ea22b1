package shell

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"

	"fettle/internal/store"
)

// Limits that end walks through trees that contain themselves, or the same directory over and over. Trees that merely have many equal
// directories stay below them: each of those lies in another directory.
const (
	maxDepth   = 1000    // levels below the start
	maxRepeats = 1 << 16 // directories entered that were entered before, plus repeatShare for each different one
	// repeatShare makes the limit grow with the tree, so that the time is linear in the number of different directories.
	repeatShare = 8
)

// walk visits the nodes below a directory in order.
type walk struct {
	s      *Shell
	levels int // how many levels to enter; maxDepth for all
	seed   maphash.Seed
	seen   map[uint64]struct{} // hashes of identities; two that collide only count as a repeat
	again  int                 // directories entered that had been entered before
	bad    int                 // directories that could not be read
	cut    int                 // directories not entered because of the limits
	visit  func(n store.Node, depth int) error
}

func newWalk(s *Shell, levels int) *walk {
	return &walk{s: s, levels: levels, seed: maphash.MakeSeed(), seen: map[uint64]struct{}{}}
}

// enter tells whether a directory may be entered, and counts it.
func (w *walk) enter(n store.Node, depth int) bool {
	if depth >= maxDepth {
		return false
	}
	if n.Identity == "" {
		return true
	}
	id := maphash.String(w.seed, n.Identity)
	if _, ok := w.seen[id]; ok {
		w.again++
		return w.again <= maxRepeats+repeatShare*len(w.seen)
	}
	w.seen[id] = struct{}{}
	return true
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
		if !w.enter(n, depth) {
			w.cut++
			continue
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
		w.s.remark("%d directories were not entered: the same ones were shown before, or they lie more than %d levels deep", w.cut, maxDepth)
	}
	switch {
	case w.bad > 0:
		return store.Partial("%d directories could not be read", w.bad)
	case w.cut > 0:
		return store.Partial("%d directories were left out", w.cut)
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
	w := newWalk(s, levels)
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
	w := newWalk(s, maxDepth+1)
	w.visit = func(n store.Node, _ int) error {
		if fits(n) {
			if s.asJSON {
				s.json(n, nil)
				return nil
			}
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
