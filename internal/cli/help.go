package cli

import (
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpTemplate is the help of every verb: what it does, how to call it, EXAMPLES and EXIT STATUS.
const helpTemplate = `{{with or .Long .Short}}{{. | trimTrailingWhitespaces}}{{end}}

USAGE
{{if .Runnable}}  {{.UseLine}}
{{end}}{{if .HasAvailableSubCommands}}{{if ne .UseLine (print .CommandPath " COMMAND")}}  {{.CommandPath}} COMMAND
{{end}}
COMMANDS
{{range .Commands}}{{if .IsAvailableCommand}}  {{rpad .Name .NamePadding}} {{.Short}}
{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}
FLAGS
{{.LocalFlags.FlagUsagesWrapped 100 | trimTrailingWhitespaces}}
{{end}}{{if .HasAvailableInheritedFlags}}
GLOBAL FLAGS
{{.InheritedFlags.FlagUsagesWrapped 100 | trimTrailingWhitespaces}}
{{end}}{{if .HasExample}}
EXAMPLES
{{.Example}}
{{end}}{{with .Annotations.exit}}
EXIT STATUS
{{.}}
{{end}}`

// walk calls fn for c and every command below it that help shows, in order.
func walk(c *cobra.Command, fn func(*cobra.Command)) {
	fn(c)
	for _, s := range c.Commands() {
		if s.IsAvailableCommand() {
			walk(s, fn)
		}
	}
}

// flagLine is one flag as documentation shows it: "-y, --yes", "--memory SIZE".
func flagLine(f *pflag.Flag) (name, usage string) {
	arg, usage := pflag.UnquoteUsage(f)
	name = "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if arg != "" {
		name += " " + arg
	}
	switch f.DefValue {
	case "", "false", "0", "[]":
	default:
		if f.Name != "workers" { // depends on the machine
			usage += " (default " + f.DefValue + ")"
		}
	}
	return name, usage
}

// flagsOf lists the flags of a set by name, without hidden ones and help.
func flagsOf(set *pflag.FlagSet) []*pflag.Flag {
	var out []*pflag.Flag
	set.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" {
			out = append(out, f)
		}
	})
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Reference writes the reference page of the command line in Markdown.
func (a *App) Reference(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Command line\n\n<!-- Generated from the program: go test ./internal/arch -update -->\n\n")
	walk(a.root, func(c *cobra.Command) {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n", c.CommandPath(), strings.TrimSpace(orShort(c)))
		if c.Runnable() {
			fmt.Fprintf(&b, "```\n%s\n```\n\n", c.UseLine())
		}
		flags := c.NonInheritedFlags()
		if c == a.root {
			flags = c.PersistentFlags()
		}
		if fs := flagsOf(flags); len(fs) > 0 {
			if c == a.root {
				b.WriteString("Flags of every command:\n\n")
			}
			b.WriteString("| flag | meaning |\n|---|---|\n")
			for _, f := range fs {
				name, usage := flagLine(f)
				fmt.Fprintf(&b, "| `%s` | %s |\n", name, strings.ReplaceAll(usage, "|", "\\|"))
			}
			b.WriteString("\n")
		}
		if c.Example != "" {
			fmt.Fprintf(&b, "Examples:\n\n```\n%s\n```\n\n", outdent(c.Example))
		}
		if e := c.Annotations["exit"]; e != "" {
			fmt.Fprintf(&b, "Exit status:\n\n```\n%s\n```\n\n", outdent(e))
		}
	})
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

func orShort(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return c.Short + "."
}

// outdent takes the two leading spaces of help texts off every line.
func outdent(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}
