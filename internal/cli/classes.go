package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"fettle/internal/finding"
	"fettle/internal/store"
)

func (a *App) newClasses() *cobra.Command {
	var markdown bool
	c := verb(cobra.Command{
		Use:   "classes [SYSTEM]",
		Short: "List everything that can be wrong with a store",
		Long: `Lists the classes of findings of one system, or of all: the permanent id, how much it matters, the action that is
taken when nothing else is said, and a title. fettle explain CLASS tells more about one.`,
		Example: `  fettle classes flux
  fettle classes --json | jq -r .id`,
		Args:              wants(0, 1, ""),
		ValidArgsFunction: a.completeSystems,
		RunE: func(_ *cobra.Command, args []string) error {
			systems := a.Systems
			if len(args) == 1 {
				s, ok := a.system(args[0])
				if !ok && strings.Contains(args[0], "/") {
					return usagef(a.commandLine("explain", args[0]), "%q is a class and not a system", args[0])
				}
				if !ok {
					return usagef(a.supported(), "unknown system %q", args[0])
				}
				systems = []store.System{s}
			}
			if markdown {
				return ClassReference(a.Out, systems)
			}
			return a.listClasses(systems)
		},
	}, exitClean, exitUsage)
	c.Flags().BoolVar(&markdown, "markdown", false, "print the whole reference page in Markdown")
	return c
}

func (a *App) listClasses(systems []store.System) error {
	width := 0
	for _, s := range systems {
		for _, c := range s.Classes() {
			width = max(width, len(c.ID))
		}
	}
	st := a.outStyle()
	for _, s := range systems {
		if !a.json {
			a.print("%s: %s", st.Bold(s.Name()), s.Title())
		}
		for _, c := range s.Classes() {
			if a.json {
				if err := a.line(classLine(c)); err != nil {
					return err
				}
				continue
			}
			a.print("  %-*s  %s  %-10s  %s", width, c.ID, st.Severity(c.Severity, fmt.Sprintf("%-7s", c.Severity)), c.Default(), c.Title)
		}
	}
	return nil
}

// classLine is the JSON form of a class.
func classLine(c finding.Class) any {
	return struct {
		Type   string `json:"type"`
		Schema int    `json:"schema"`
		finding.Class
		Default finding.Action `json:"default"`
	}{"class", 1, c, c.Default()}
}

// ClassReference writes the reference page of all classes in Markdown.
func ClassReference(w io.Writer, systems []store.System) error {
	var b strings.Builder
	b.WriteString("# Classes of findings\n\n<!-- Generated from the program: go test ./internal/arch -update -->\n\n")
	b.WriteString("Ids and action names are permanent. The first action of a class is taken when nothing else is said;\n" +
		"`ignore` and `interact` (leave it, and all of its unit, until a person has decided) exist for every class.\n\n")
	for _, s := range systems {
		fmt.Fprintf(&b, "## %s: %s\n\n| class | severity | title |\n|---|---|---|\n", s.Name(), s.Title())
		for _, c := range s.Classes() {
			fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", c.ID, anchor(c.ID), c.Severity, cell(c.Title))
		}
		b.WriteString("\n")
		for _, c := range s.Classes() {
			classPage(&b, c)
		}
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

func classPage(b *strings.Builder, c finding.Class) {
	fmt.Fprintf(b, "### %s\n\n%s. Severity: %s. Shape: %s.", c.ID, c.Title, c.Severity, c.Shape)
	if len(c.Aliases) > 0 {
		fmt.Fprintf(b, " Also known as %s.", strings.Join(c.Aliases, ", "))
	}
	fmt.Fprintf(b, "\n\n%s\n\n", strings.TrimSpace(c.Explain))
	if len(c.DependsOn) > 0 {
		fmt.Fprintf(b, "Hidden behind: %s.\n\n", strings.Join(c.DependsOn, ", "))
	}
	if len(c.Actions) == 0 {
		b.WriteString("Nothing can be done about it here.\n\n")
		return
	}
	b.WriteString("| action | does | loses |\n|---|---|---|\n")
	for _, d := range c.Actions {
		fmt.Fprintf(b, "| %s | %s | %s |\n", d.Action, cell(d.Does)+irreversible(d), cell(orNothing(d.Loses)))
	}
	b.WriteString("\n")
}

func cell(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "|", "\\|"), "\n", " ") }

// anchor is how Markdown viewers name the heading of a class.
func anchor(id string) string { return strings.ReplaceAll(id, "/", "") }

func orNothing(loses string) string {
	if loses == "" {
		return "nothing"
	}
	return loses
}

func irreversible(d finding.ActionDoc) string {
	if d.Irreversible {
		return " (cannot be undone; must be allowed by name)"
	}
	return ""
}
