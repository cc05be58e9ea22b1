package shell

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/store"
)

// Config is what a shell works with.
type Config struct {
	View store.View
	Name string // of the store, for the prompt
	Out  io.Writer
	Err  io.Writer
	// OutTerminal and ErrTerminal tell whether the streams are terminals. Text for terminals goes through Clean, which makes one line
	// harmless.
	OutTerminal, ErrTerminal bool
	Clean                    func(string) string
	// JSON makes ls, stat and find write one JSON object per node, and refuses commands that have no such output.
	JSON bool
}

// Shell runs commands on one view. It belongs to one goroutine.
type Shell struct {
	view   store.View
	title  string
	asJSON bool
	cwd    []string
	cmds   []command

	out     *bufio.Writer
	text    io.Writer   // results as text, to out
	safe    *safeWriter // the same when out is a terminal, else nil
	err     io.Writer   // remarks
	safeErr *safeWriter
}

// ErrExit is what Run returns for the command exit.
var ErrExit = errors.New("exit")

// New makes a shell whose current directory is the root.
func New(cfg Config) *Shell {
	s := &Shell{view: cfg.View, title: cfg.Name, asJSON: cfg.JSON, out: bufio.NewWriterSize(cfg.Out, 64<<10), err: cfg.Err}
	s.text = s.out
	if cfg.OutTerminal {
		s.safe = &safeWriter{w: s.out, clean: cfg.Clean}
		s.text = s.safe
	}
	if cfg.ErrTerminal {
		s.safeErr = &safeWriter{w: cfg.Err, clean: cfg.Clean}
		s.err = s.safeErr
	}
	s.cmds = append(builtins(), s.viewCommands()...)
	return s
}

// command is one command of the shell.
type command struct {
	name, usage, short, long string
	least, most              int // number of arguments, options included; most -1: any
	paths                    bool
	json                     bool // its output has a JSON form, or it has none
	run                      func(ctx context.Context, s *Shell, args []string) error
}

// viewCommands wraps the system's own commands.
func (s *Shell) viewCommands() []command {
	var out []command
	for _, c := range s.view.Commands() {
		out = append(out, command{name: c.Name, usage: c.Usage, short: c.Short, long: c.Long, least: c.MinArgs, most: c.MaxArgs, paths: c.Paths,
			run: func(ctx context.Context, s *Shell, args []string) error {
				return c.Run(ctx, store.BrowseCall{Args: args, Cwd: s.cwd, Out: s.text, Raw: s.text, Err: s.err})
			}})
	}
	return out
}

func (s *Shell) command(name string) (command, bool) {
	if name == "quit" || name == "q" {
		name = "exit"
	}
	for _, c := range s.cmds {
		if c.name == name {
			return c, true
		}
	}
	return command{}, false
}

// Run executes one command line; an empty one does nothing. The error of a command that did a part of its work wraps
// store.ErrPartial.
func (s *Shell) Run(ctx context.Context, line string) error {
	args, err := words(line)
	if err != nil || len(args) == 0 {
		return err
	}
	c, ok := s.command(args[0])
	if !ok {
		return &fault.Error{Err: fmt.Errorf("unknown command %q", args[0]), Hint: s.suggest(args[0])}
	}
	args = args[1:]
	if len(args) < c.least || c.most >= 0 && len(args) > c.most {
		return usage("usage: "+strings.TrimSpace(c.name+" "+c.usage), fmt.Errorf("%s: wrong number of arguments", c.name))
	}
	if err := s.inJSON(&c); err != nil {
		return err
	}
	err = c.run(ctx, s, args)
	if ferr := s.flush(); ferr != nil && err == nil {
		err = fmt.Errorf("write output: %w", ferr)
	}
	if err != nil && !errors.Is(err, ErrExit) {
		err = fmt.Errorf("%s: %w", c.name, err)
	}
	return err
}

// flush brings everything to the outside.
func (s *Shell) flush() error {
	if s.safe != nil {
		if err := s.safe.end(); err != nil {
			return err
		}
	}
	if s.safeErr != nil {
		if err := s.safeErr.end(); err != nil {
			return err
		}
	}
	return s.out.Flush()
}

// suggest is the hint for a command that does not exist.
func (s *Shell) suggest(name string) string {
	for _, c := range s.cmds {
		if strings.HasPrefix(c.name, name) || strings.HasPrefix(name, c.name) {
			return "did you mean " + c.name + "? help lists the commands"
		}
	}
	return "help lists the commands"
}

// Script runs the lines of r one after the other. An error is given to report and does not end the script; the first one
// is returned at the end. When ctx ends while r has no line to give, the reading goroutine stays behind until r does.
func (s *Shell) Script(ctx context.Context, r io.Reader, report func(error)) error {
	lines, failed := make(chan string), make(chan error, 1)
	done := make(chan struct{})
	defer close(done)
	go readLines(r, lines, failed, done)
	var first error
	for {
		var line string
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			if err != nil {
				return fmt.Errorf("read commands: %w", err)
			}
			return first
		case line = <-lines:
		}
		err := s.Run(ctx, line)
		if errors.Is(err, ErrExit) {
			return first
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			report(err)
			if first == nil {
				first = err
			}
		}
	}
}

// maxLine bounds the length of one line of a script, in bytes.
const maxLine = 1 << 20

// readLines sends the lines of r and then how it ended; it gives up when done is closed.
func readLines(r io.Reader, lines chan<- string, failed chan<- error, done <-chan struct{}) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	for in.Scan() {
		select {
		case lines <- in.Text():
		case <-done:
			return
		}
	}
	failed <- in.Err()
}

// remark writes a line for the person.
func (s *Shell) remark(format string, args ...any) { fmt.Fprintf(s.err, format+"\n", args...) }

func (s *Shell) print(format string, args ...any) { fmt.Fprintf(s.text, format+"\n", args...) }

// show is the path for people: absolute, "/" for the root.
func (s *Shell) show(path []string) string {
	if len(path) == 0 {
		return "/"
	}
	return s.view.Format(path)
}

// notFound says which part of a path there is.
func (s *Shell) notFound(ctx context.Context, path []string, err error) error {
	hint := ""
	if errors.Is(err, fs.ErrNotExist) {
		for n := len(path) - 1; n >= 0 && hint == ""; n-- {
			if node, e := s.view.Lookup(ctx, path[:n], true); e == nil && node.Dir {
				hint = "ls " + quote(s.show(path[:n])) + " shows what is there"
			} else if e != nil && !errors.Is(e, fs.ErrNotExist) {
				hint = fmt.Sprintf("%s: %v", s.show(path[:n]), e)
			}
		}
	}
	return fault.WithHint(fmt.Errorf("%s: %w", s.show(path), err), hint)
}
