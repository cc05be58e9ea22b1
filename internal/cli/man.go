package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"fettle/internal/fault"
)

func (a *App) newMan() *cobra.Command {
	var dir string
	c := verb(cobra.Command{
		Use:   "man [COMMAND...]",
		Short: "Print manual pages",
		Long: `Prints the manual page of fettle or of one command, in the format of man(7). With --output it writes all pages into a
directory, one file per command.`,
		Example: `  fettle man check | man -l -
  fettle man --output /usr/local/share/man/man1`,
		Args: wants(0, -1, ""),
		RunE: func(_ *cobra.Command, args []string) error {
			if dir != "" {
				return a.writeManPages(dir)
			}
			c, rest, err := a.root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("fettle --help lists the commands", "no command %q", strings.Join(args, " "))
			}
			return a.manPage(a.Out, c)
		},
	}, exitClean, exitError, exitUsage)
	c.Flags().StringVarP(&dir, "output", "o", "", "write all pages into `DIR`")
	return c
}

func (a *App) writeManPages(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return &fault.Error{Op: "write manual pages", Err: err}
	}
	var first error
	n := 0
	walk(a.root, func(c *cobra.Command) {
		var b strings.Builder
		if err := a.manPage(&b, c); err != nil && first == nil {
			first = err
		}
		name := filepath.Join(dir, manName(c)+".1")
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil && first == nil {
			first = &fault.Error{Op: "write manual pages", Err: err}
		}
		n++
	})
	if first == nil {
		a.say("%d manual pages in %s", n, dir)
	}
	return first
}

func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// manPage writes one page in the macros of man(7).
func (a *App) manPage(w io.Writer, c *cobra.Command) error {
	var b strings.Builder
	name := manName(c)
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"fettle %s\" \"fettle\"\n", strings.ToUpper(roff(name)), roff(a.Version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(c.UseLine()))
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s", paragraphs(orShort(c)))
	if c.HasAvailableSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, s := range c.Commands() {
			if s.IsAvailableCommand() {
				fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", roff(manName(s)), roff(s.Short))
			}
		}
	}
	flags := flagsOf(c.NonInheritedFlags())
	if c != a.root {
		flags = append(flags, flagsOf(c.InheritedFlags())...)
	}
	if len(flags) > 0 {
		b.WriteString(".SH OPTIONS\n")
		for _, f := range flags {
			line, usage := flagLine(f)
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(line), roff(usage))
		}
	}
	if c.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roffLines(outdent(c.Example)))
	}
	if e := c.Annotations["exit"]; e != "" {
		fmt.Fprintf(&b, ".SH EXIT STATUS\n.nf\n%s\n.fi\n", roffLines(outdent(e)))
	}
	if c != a.root {
		fmt.Fprintf(&b, ".SH SEE ALSO\n.BR %s (1)\n", roff(manName(c.Parent())))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// roff quotes text for a line of roff.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n", " ").Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

func roffLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = roff(lines[i])
	}
	return strings.Join(lines, "\n")
}

func paragraphs(s string) string {
	var b strings.Builder
	for i, p := range strings.Split(strings.TrimSpace(s), "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		b.WriteString(roffLines(p) + "\n")
	}
	return b.String()
}
