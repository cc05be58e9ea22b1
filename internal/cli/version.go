package cli

import (
	"runtime"

	"github.com/spf13/cobra"
)

func (a *App) newVersion() *cobra.Command {
	return verb(cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Prints the version of fettle, of Go, and the systems that this binary supports.",
		Example: "  fettle version\n  fettle version --json | jq -r .version",
		Args:    wants(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.line(struct {
					Type    string   `json:"type"`
					Schema  int      `json:"schema"`
					Version string   `json:"version"`
					Go      string   `json:"go"`
					Systems []string `json:"systems"`
				}{"version", 1, a.Version, runtime.Version(), a.systemNames()})
			}
			a.print("fettle %s (%s, %s/%s)", a.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			for _, s := range a.Systems {
				a.print("  %-10s %s", s.Name(), s.Title())
			}
			return nil
		},
	}, exitClean)
}
