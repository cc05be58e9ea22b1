package cli

import (
	"context"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"fettle/internal/say"
	"fettle/internal/systems/devmapper"
)

func (a *App) newDevmapperTree() *cobra.Command {
	var set settings
	c := verb(cobra.Command{
		Use:   "tree [STORE]",
		Short: "Draw which snapshots are made from which",
		Long: `Draws the snapshots below those that they are made from, with device, state, bytes and what uses them. Everything that has no
parent stands at the left, also leaked devices.

With --json one line for each row, parents before children, with its depth.`,
		Example: `  fettle devmapper tree
  fettle devmapper tree copies/ | grep -B3 web-1`,
		Args: wants(0, 1, ""),
		RunE: func(c *cobra.Command, args []string) error {
			return a.devmapperTree(c.Context(), strings.Join(args, ""), set)
		},
	}, exitClean, exitError, exitUsage, exitCancelled)
	addSet(c, &set)
	return c
}

// treeLine is a row of the tree as JSON.
type treeLine struct {
	Type   string `json:"type"` // "devmapper-node"
	Schema int    `json:"schema"`
	Depth  int    `json:"depth"`
	*devmapper.Row
}

// maxIndent bounds how far the tree is drawn to the right.
const maxIndent = 40

func (a *App) devmapperTree(ctx context.Context, text string, set settings) error {
	return a.inventory(ctx, text, set, func(inv *devmapper.Inventory) error {
		err := inv.Forest(func(i, depth int) error {
			r := &inv.Rows[i]
			if a.json {
				return a.line(treeLine{"devmapper-node", 1, depth, r})
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			mark := ""
			if len(r.Trouble) > 0 {
				mark = "  ! " + troubleText(r)
			}
			name := say.Short(say.Clean(orDash(rowName(r))), keyWidth)
			if r.What != devmapper.RowSnapshot {
				name = say.Clean(rowTitle(r))
			}
			a.print("%s%s  dev %s  %s  %s (own %s)  %s  %s%s", strings.Repeat("  ", min(depth, maxIndent)), snapLabel(r), idText(r.DeviceID), orDash(stateText(r)),
				optBytes(r.Mapped), optBytes(r.Exclusive), name, say.Clean(usedBy(r, path.Base)), mark)
			return nil
		})
		if err != nil {
			return err
		}
		if a.json {
			return a.line(poolLine{"devmapper-pool", 1, &inv.Pool})
		}
		a.printPool(&inv.Pool, text)
		return nil
	})
}

func snapLabel(r *devmapper.Row) string {
	if r.SnapshotID == nil {
		return "-"
	}
	return "snap " + idText(r.SnapshotID)
}
