package shell

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/peterh/liner"
)

// Interactive reads commands from the terminal until exit or the end of the input. Ctrl-C ends the running command, not the shell.
// Errors go to report.
func (s *Shell) Interactive(ctx context.Context, report func(error)) error {
	line := liner.NewLiner()
	defer line.Close()
	line.SetCtrlCAborts(true)
	line.SetTabCompletionStyle(liner.TabPrints)
	line.SetCompleter(func(text string) []string { return s.complete(ctx, text) })
	for {
		text, err := line.Prompt(s.prompt())
		switch {
		case errors.Is(err, liner.ErrPromptAborted):
			continue
		case errors.Is(err, io.EOF):
			s.print("")
			return s.flush()
		case err != nil:
			return err
		}
		if strings.TrimSpace(text) != "" {
			line.AppendHistory(text)
		}
		err = s.runInterruptible(ctx, text)
		if errors.Is(err, ErrExit) {
			return nil
		}
		switch {
		case errors.Is(err, context.Canceled):
			s.remark("interrupted")
		case err != nil:
			report(err)
		}
	}
}

// runInterruptible runs one command that Ctrl-C ends.
func (s *Shell) runInterruptible(ctx context.Context, text string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	return s.Run(ctx, text)
}

// prompt is short, so that there is room to type.
func (s *Shell) prompt() string {
	const room = 40
	at := []rune(s.show(s.cwd))
	if len(at) > room {
		at = append([]rune{'…'}, at[len(at)-room:]...)
	}
	return s.title + ":" + string(at) + "> "
}

// maxCandidates bounds how many completions are offered.
const maxCandidates = 500

// complete gives the lines that text could go on as: names of commands for the first word, paths after it.
func (s *Shell) complete(ctx context.Context, text string) []string {
	at := strings.LastIndexAny(text, " \t") + 1
	head, word := text[:at], text[at:]
	if strings.ContainsAny(word, `'"\`) || strings.Count(head, "'")%2 == 1 || strings.Count(head, `"`)%2 == 1 {
		return nil // within quotes
	}
	var out []string
	if strings.TrimSpace(head) == "" {
		for _, c := range s.cmds {
			if strings.HasPrefix(c.name, word) {
				out = append(out, head+c.name+" ")
			}
		}
		return out
	}
	name := strings.Fields(head)[0]
	c, ok := s.command(name)
	if !ok {
		return nil
	}
	if name == "help" {
		for _, c := range s.cmds {
			if strings.HasPrefix(c.name, word) {
				out = append(out, head+c.name)
			}
		}
		return out
	}
	if !c.paths {
		return nil
	}
	return s.completePath(ctx, head, word)
}

// completePath completes the last name of a path.
func (s *Shell) completePath(ctx context.Context, head, word string) []string {
	sep := s.view.Separator()
	dir, prefix := "", word
	if i := strings.LastIndex(word, sep); i >= 0 {
		dir, prefix = word[:i], word[i+len(sep):]
	} else if strings.HasPrefix(word, "/") {
		dir, prefix = "/", word[1:]
	}
	show := word[:len(word)-len(prefix)]
	if dir == "" {
		dir = "."
		if show != "" {
			dir = "/"
		}
	}
	path, err := s.view.Resolve(ctx, s.cwd, dir)
	if err != nil {
		return nil
	}
	n, err := s.view.Lookup(ctx, path, true)
	if err != nil || !n.Dir {
		return nil
	}
	list, _ := s.view.List(ctx, n, false) // what can be read of it is enough here
	var out []string
	for _, n := range list {
		name := s.view.Format(n.Path[len(n.Path)-1:])
		if !strings.HasPrefix(name, prefix) || quote(name) != name {
			continue
		}
		if n.Dir {
			name += sep
		}
		if out = append(out, head+show+name); len(out) == maxCandidates {
			break
		}
	}
	return out
}
