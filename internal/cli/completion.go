package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"fettle/internal/finding"
	"fettle/internal/runs"
)

func (a *App) newCompletion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return verb(cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a completion script for a shell",
		Long:  `Prints a script that makes the shell complete commands, flags, runs, classes and policies.`,
		Example: `  fettle completion bash > /etc/bash_completion.d/fettle
  fettle completion zsh > "${fpath[1]}/_fettle"
  fettle completion fish > ~/.config/fish/completions/fettle.fish`,
		Args:      wants(1, 1, "the name of a shell"),
		ValidArgs: shells,
		RunE: func(_ *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return a.root.GenBashCompletionV2(a.Out, true)
			case "zsh":
				return a.root.GenZshCompletion(a.Out)
			case "fish":
				return a.root.GenFishCompletion(a.Out, true)
			case "powershell":
				return a.root.GenPowerShellCompletionWithDesc(a.Out)
			}
			return usagef("one of bash, zsh, fish, powershell", "unknown shell %q", args[0])
		},
	}, exitClean, exitUsage)
}

// completeRuns offers the newest runs with what they were about. Completion must not fail: no runs, no offers.
func (a *App) completeRuns(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	dir, err := a.runsDir()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := dir.List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	out := []string{"last\tthe newest run"}
	for _, r := range all[:min(len(all), 50)] {
		out = append(out, r.ID()+"\t"+storeOf(r))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeRunsOrFiles is completeRuns for a verb that also takes a file.
func (a *App) completeRunsOrFiles(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	out, _ := a.completeRuns(c, args, word)
	return out, cobra.ShellCompDirectiveDefault
}

func storeOf(r *runs.Run) string {
	if r.Broken() != nil {
		return "(damaged)"
	}
	return r.Spec().Store
}

func (a *App) completeClasses(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, c := range a.classes() {
		out = append(out, c.ID+"\t"+c.Title)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (a *App) completeSystems(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return a.systemNames(), cobra.ShellCompDirectiveNoFileComp
}

// complete offers fixed words for a flag.
func complete(c *cobra.Command, flag string, words ...string) {
	err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag does not exist
	}
}

// completeFlags offers words for the flags that mean the same wherever they occur, in c and in the verbs below it. What a verb offers itself
// stays.
func (a *App) completeFlags(c *cobra.Command) {
	for flag, offer := range map[string]cobra.CompletionFunc{
		"class": a.completeClasses, "policy": a.completePolicy, "system": a.completeSystems,
		"color": cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp),
	} {
		if c.LocalNonPersistentFlags().Lookup(flag) == nil && c.PersistentFlags().Lookup(flag) == nil {
			continue
		}
		if _, own := c.GetFlagCompletionFunc(flag); own {
			continue
		}
		if err := c.RegisterFlagCompletionFunc(flag, offer); err != nil {
			panic(err) // it was looked up
		}
	}
	for _, sub := range c.Commands() {
		a.completeFlags(sub)
	}
}

// completePolicy offers CLASS= for the classes of the run's system, of all systems if none is given, and the actions of a class after it.
func (a *App) completePolicy(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	system := ""
	if len(args) > 0 {
		if r, err := a.findRun(args[0]); err == nil && r.Broken() == nil {
			system = r.Spec().System
		}
	}
	id, _, after := strings.Cut(word, "=")
	var out []string
	for _, c := range a.classes() {
		switch {
		case after && c.ID == id:
			return actionsOf(c), cobra.ShellCompDirectiveNoFileComp
		case strings.HasPrefix(c.ID, system):
			out = append(out, c.ID+"=\t"+c.Title)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// actionsOf writes each action of a class as a rule of a policy.
func actionsOf(c finding.Class) []string {
	var out []string
	for _, d := range c.Actions {
		out = append(out, c.ID+"="+string(d.Action)+"\t"+d.Does)
	}
	return out
}
