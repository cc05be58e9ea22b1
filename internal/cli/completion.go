package cli

import (
	"github.com/spf13/cobra"

	"fettle/internal/runs"
)

func (a *App) newCompletion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return verb(cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a completion script for a shell",
		Long:  `Prints a script that makes the shell complete commands, flags, runs and classes.`,
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
