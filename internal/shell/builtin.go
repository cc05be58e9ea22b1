package shell

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fettle/internal/store"
)

// builtins are the commands that every store has, in the order in which help lists them.
func builtins() []command {
	return []command{
		{name: "ls", usage: "[-l] [-d] [PATH...]", short: "list a directory (-l: kind, size, number of parts; -d: the directory itself)", most: -1, paths: true, json: true, run: ls},
		{name: "cat", usage: "[-i N] PATH...", short: "write the content of nodes (-i N: only part N)", least: 1, most: -1, paths: true, run: cat,
			long: "Writes bytes as they are, unless the output is a terminal. Parts that cannot be read are left out and named on standard error."},
		{name: "stat", usage: "PATH...", short: "show everything that is known about nodes", least: 1, most: -1, paths: true, json: true, run: stat},
		{name: "tree", usage: "[-d DEPTH] [PATH]", short: "draw what is below a directory", most: -1, paths: true, run: tree},
		{name: "find", usage: "[PATH...] [-name PATTERN] [-kind KIND] [-damaged]", short: "list the paths of nodes below a directory", most: -1, paths: true, json: true, run: find,
			long: "PATTERN is about the last name of a path; * ? and [a-z] are special, so it is best put in quotes.\n-damaged lists only nodes with something wrong, and says what."},
		{name: "cd", usage: "[PATH]", short: "change the current directory (to the root without a path)", most: 1, paths: true, json: true, run: cd},
		{name: "pwd", short: "show the current directory", run: pwd},
		{name: "help", usage: "[COMMAND|paths]", short: "list the commands, or explain one", most: 1, run: help},
		{name: "exit", short: "leave the shell (also: quit, Ctrl-D)", run: func(context.Context, *Shell, []string) error { return ErrExit }},
	}
}

// line is a node as listings show it.
func (s *Shell) line(n store.Node, name string, long bool) string {
	var b strings.Builder
	if long {
		size, parts := "-", "-"
		if n.Size >= 0 {
			size = strconv.FormatInt(n.Size, 10)
		}
		if n.Parts > 0 {
			parts = strconv.Itoa(n.Parts)
		}
		fmt.Fprintf(&b, "%-8s %12s %6s  ", n.Kind, size, parts)
	}
	b.WriteString(name)
	if n.Dir && name != "/" {
		b.WriteString(s.view.Separator())
	}
	if n.Link != "" {
		b.WriteString(" -> " + n.Link)
	}
	if n.Trouble != "" {
		b.WriteString("  ! " + n.Trouble)
	}
	return b.String()
}

func (s *Shell) name(n store.Node) string {
	if len(n.Path) == 0 {
		return "/"
	}
	return s.view.Format(n.Path[len(n.Path)-1:])
}

func ls(ctx context.Context, s *Shell, args []string) error {
	opts, texts, err := options(args, "l d 1 a")
	if err != nil {
		return err
	}
	_, long := opts["l"]
	_, self := opts["d"]
	nodes, err := s.nodes(ctx, texts, !self)
	if err != nil {
		return err
	}
	var errs []error
	var dirs []store.Node
	for _, n := range nodes {
		if n.Dir && !self {
			dirs = append(dirs, n)
			continue
		}
		if s.asJSON {
			s.json(n, nil)
		} else {
			s.print("%s", s.line(n, s.show(n.Path), long))
		}
	}
	for i, d := range dirs {
		if len(nodes) > 1 && !s.asJSON {
			if i > 0 || len(dirs) < len(nodes) {
				s.print("")
			}
			s.print("%s:", s.show(d.Path))
		}
		list, err := s.view.List(ctx, d, long)
		for _, n := range list {
			if s.asJSON {
				s.json(n, nil)
			} else {
				s.print("%s", s.line(n, s.name(n), long))
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.show(d.Path), err))
		}
	}
	return s.several(errs, len(nodes))
}

// several turns the errors of a command that was about n things into one: the only one as it is, more of them one per remark.
func (s *Shell) several(errs []error, n int) error {
	switch {
	case len(errs) == 0:
		return nil
	case len(errs) == 1:
		if n > 1 && !errors.Is(errs[0], store.ErrPartial) {
			return store.Partial("%w", errs[0])
		}
		return errs[0]
	}
	for _, e := range errs {
		s.remark("%v", e)
	}
	return store.Partial("%d of %d could not be read completely", len(errs), n)
}

func cat(ctx context.Context, s *Shell, args []string) error {
	opts, texts, err := options(args, "", "i")
	if err != nil {
		return err
	}
	part := -1
	if text, ok := opts["i"]; ok {
		if part, err = strconv.Atoi(text); err != nil || part < 0 {
			return usage("parts are counted from 0", fmt.Errorf("%q is not the number of a part", text))
		}
	}
	if len(texts) == 0 {
		return usage("usage: cat [-i N] PATH...", errors.New("no path"))
	}
	nodes, err := s.nodes(ctx, texts, true)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range nodes {
		if err := s.view.Read(ctx, n, part, s.text); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			errs = append(errs, fmt.Errorf("%s: %w", s.show(n.Path), err))
		}
	}
	return s.several(errs, len(nodes))
}

func stat(ctx context.Context, s *Shell, args []string) error {
	_, texts, err := options(args, "")
	if err != nil {
		return err
	}
	nodes, err := s.nodes(ctx, texts, false)
	if err != nil {
		return err
	}
	for i, n := range nodes {
		fields, err := s.view.Stat(ctx, n)
		if err != nil {
			return fmt.Errorf("%s: %w", s.show(n.Path), err)
		}
		if s.asJSON {
			s.json(n, fields)
			continue
		}
		if i > 0 {
			s.print("")
		}
		width := 0
		for _, f := range fields {
			width = max(width, len(f.Name))
		}
		for _, f := range fields {
			s.print("%-*s  %s", width, f.Name, f.Value)
		}
	}
	return nil
}

func cd(ctx context.Context, s *Shell, args []string) error {
	if len(args) == 0 {
		s.cwd = nil
		return nil
	}
	nodes, err := s.nodes(ctx, args, true)
	if err != nil {
		return err
	}
	if len(nodes) > 1 {
		return usage("give a path that fits one directory", fmt.Errorf("%s fits %d nodes", args[0], len(nodes)))
	}
	if !nodes[0].Dir {
		return fmt.Errorf("%s is a %s, not a directory", s.show(nodes[0].Path), nodes[0].Kind)
	}
	if nodes[0].Trouble != "" {
		s.remark("%s: %s", s.show(nodes[0].Path), nodes[0].Trouble)
	}
	s.cwd = nodes[0].Path
	return nil
}

func pwd(_ context.Context, s *Shell, _ []string) error {
	s.print("%s", s.show(s.cwd))
	return nil
}

// pathHelp is what help paths says; %s is the separator.
const pathHelp = `Names of a path are separated by "%[1]s". A path begins at the current directory, or at the root if it begins
with "/" or if it leads nowhere from the current directory. "." is the current directory, ".." the one above it, "/" the root.
* ? and [a-z] stand for names in every command that takes paths: ls 'job%[1]s0000%[1]s*'. An existing name is always itself.
Words with spaces go in quotes: 'as they are', or "with escapes\n" as in Go. Options end at "--".
Listings mark directories with "%[1]s" at the end, links with "->", and whatever is wrong with a node behind "!".`

func help(_ context.Context, s *Shell, args []string) error {
	if len(args) == 0 {
		width := 0
		for _, c := range s.cmds {
			width = max(width, len(c.name)+1+len(c.usage))
		}
		width = min(width, 34)
		for _, c := range s.cmds {
			s.print("  %-*s  %s", width, strings.TrimSpace(c.name+" "+c.usage), c.short)
		}
		s.print("\nhelp paths says how paths are written. Nothing here writes to the store.")
		return nil
	}
	if args[0] == "paths" {
		s.print(pathHelp, s.view.Separator())
		return nil
	}
	c, ok := s.command(args[0])
	if !ok {
		return fmt.Errorf("unknown command %q", args[0])
	}
	s.print("%s\n  %s", strings.TrimSpace(c.name+" "+c.usage), c.short)
	if c.long != "" {
		s.print("\n%s", c.long)
	}
	return nil
}
