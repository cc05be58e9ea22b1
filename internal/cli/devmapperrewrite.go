package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"fettle/internal/fault"
	"fettle/internal/format/thinbuild"
	"fettle/internal/say"
	"fettle/internal/systems/devmapper"
)

// devmapperRewriteFlags are the flags of fettle devmapper rewrite.
type devmapperRewriteFlags struct {
	drop       []string
	clear      bool
	blockSize  uint32
	dataBlocks uint64
	size       size
	all        bool
}

func (a *App) newDevmapperRewrite() *cobra.Command {
	var f devmapperRewriteFlags
	c := verb(cobra.Command{
		Use:   "rewrite FROM TO",
		Short: "Write the metadata of a thin pool anew into a new file",
		Long: `Reads thin metadata from FROM (a file or device as the kernel has it, or XML of thin_dump), damaged or not, and writes it anew into
the file TO, which must not exist. All reference counts, space maps and totals are worked out again; devices and mappings stay
as they are, as far as they can be read. What every device had before and has afterwards is shown, losses above all.

FROM is never written to, and must not be in use: deactivate the pool first. The new metadata is checked before the command
ends. It is for you to put it in its place (dd for a device), and to keep the old.

Exit 0: nothing was lost. Exit 4: TO is written, but mappings or devices could not be read. Exit 8: nothing was written.`,
		Example: `  fettle devmapper rewrite /dev/vg0/pool_tmeta new.meta
  fettle devmapper rewrite --drop 12,17 --clear-needs-check thin.meta new.meta
  fettle devmapper rewrite --data-block-size 128 --data-blocks 1638400 thin.meta new.meta`,
		Args: wants(2, 2, "where the metadata is, and the new file"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.devmapperRewrite(c.Context(), args[0], args[1], &f)
		},
	}, exitClean, exitUnrepaired, exitError, exitUsage, exitCancelled)
	p := c.Flags()
	p.StringSliceVar(&f.drop, "drop", nil, "leave out the devices `N,...`")
	p.BoolVar(&f.clear, "clear-needs-check", false, "clear the flag that the kernel set when it gave up a transaction")
	p.Uint32Var(&f.blockSize, "data-block-size", 0, "`SECTORS` of a data block, when the superblock cannot be read: dmsetup table POOL has it")
	p.Uint64Var(&f.dataBlocks, "data-blocks", 0, "`N` data blocks, when the superblock cannot be read")
	p.Var(&f.size, "metadata-size", "`SIZE` of the new metadata (default: that of FROM; for XML what is needed)")
	p.BoolVar(&f.all, "all", false, "list all devices, also those that did not change")
	return c
}

func (f *devmapperRewriteFlags) edits() (thinbuild.Edits, error) {
	e := thinbuild.Edits{Drop: map[uint32]string{}, ClearNeedsCheck: f.clear, DataBlockSize: f.blockSize, DataBlocks: f.dataBlocks}
	for _, text := range f.drop {
		id, err := strconv.ParseUint(strings.TrimSpace(text), 10, 24)
		if err != nil {
			return e, usagef("device ids are numbers up to 16777215", "--drop: %q is no device id", text)
		}
		e.Drop[uint32(id)] = "asked for"
	}
	if f.size%4096 != 0 {
		return e, usagef("for example --metadata-size 16MiB", "--metadata-size %s is no multiple of 4096", f.size.String())
	}
	e.MetadataBlocks = uint64(f.size) / 4096
	return e, nil
}

// rewriteDevice is what became of a device, as JSON.
type rewriteDevice struct {
	Type    string `json:"type"` // "devmapper-rewrite-device"
	Schema  int    `json:"schema"`
	ID      uint32 `json:"device_id"`
	Before  uint64 `json:"mapped_before"`
	After   uint64 `json:"mapped_after"`
	Dropped bool   `json:"dropped,omitempty"`
	Why     string `json:"why,omitempty"`
	Lost    string `json:"lost,omitempty"`
	Rebuilt bool   `json:"details_rebuilt,omitempty"`
}

// rewriteSummary is the last line of a rewrite.
type rewriteSummary struct {
	Type         string   `json:"type"` // "devmapper-rewrite"
	Schema       int      `json:"schema"`
	From         string   `json:"from"`
	To           string   `json:"to"`
	Devices      int      `json:"devices"`
	DataUsed     uint64   `json:"data_blocks_used"`
	MetadataUsed uint64   `json:"metadata_blocks_used"`
	Losses       int      `json:"devices_with_losses"`
	Lost         []string `json:"lost"`
	Notes        []string `json:"notes"`
}

func (a *App) devmapperRewrite(ctx context.Context, from, to string, f *devmapperRewriteFlags) error {
	e, err := f.edits()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(to); err == nil {
		return &fault.Error{Op: "write", Where: to, Err: os.ErrExist, Hint: "name a file that does not exist; nothing is ever overwritten"}
	}
	ctx, done := a.metered(ctx, "")
	cmp, err := devmapper.RewriteThin(ctx, from, to, e)
	done()
	var sb *thinbuild.SuperblockError
	switch {
	case errors.As(err, &sb):
		hint := "dmsetup table POOL shows both: --data-block-size SECTORS --data-blocks N"
		if sb.Looks && sb.DataBlockSize > 0 {
			hint += fmt.Sprintf("; the damaged superblock says %d and %d", sb.DataBlockSize, sb.DataBlocks)
		}
		return fault.WithHint(err, hint)
	case errors.Is(err, context.Canceled):
		return &fault.Error{Op: "rewrite", Where: from, Err: err, Kind: fault.Cancelled, Hint: "nothing was written; run it again"}
	case err != nil:
		return err
	}
	return a.reportRewrite(from, to, cmp, f.all)
}

func (a *App) reportRewrite(from, to string, c *thinbuild.Comparison, all bool) error {
	if a.json {
		return a.rewriteJSON(from, to, c)
	}
	if c.Roots != nil {
		a.print("the superblock cannot be read; the trees were searched for: %s (%s)", say.Clean(c.Roots.Why), c.Roots.Sure)
	}
	table := [][]string{{"DEV", "MAPPED BEFORE", "AFTER", ""}}
	same := 0
	for _, d := range c.Devices {
		what := rewriteNote(&d)
		if what == "" && d.MappedBefore == d.MappedAfter && !all {
			same++
			continue
		}
		table = append(table, []string{fmt.Sprint(d.ID), fmt.Sprint(d.MappedBefore), fmt.Sprint(d.MappedAfter), what})
	}
	if len(table) > 1 {
		a.printTable(table)
	}
	if same > 0 {
		a.print("%s unchanged (--all lists them)", say.Count(same, "device"))
	}
	for _, n := range c.Lost {
		a.print("lost: %s", say.Clean(n))
	}
	for _, n := range c.Notes {
		a.print("note: %s", say.Clean(n))
	}
	w := c.Written
	a.print("%s: %s, %d data blocks in use, %d of %d metadata blocks in use; checked: nothing is wrong with it", say.Clean(to), say.Count(w.Devices, "device"),
		w.DataUsed, w.MetadataUsed, w.MetadataBlocks)
	if n := len(c.Losses()); n > 0 || len(c.Lost) > 0 {
		a.print("%s lost mappings; keep %s", say.Count(n, "device"), say.Clean(from))
	}
	return exit(rewriteExit(c))
}

func rewriteExit(c *thinbuild.Comparison) int {
	if len(c.Losses()) > 0 || len(c.Lost) > 0 {
		return exitUnrepaired
	}
	return exitClean
}

func rewriteNote(d *thinbuild.DeviceChange) string {
	var parts []string
	if d.Dropped {
		parts = append(parts, "dropped: "+d.Why)
	}
	if d.Lost != "" {
		parts = append(parts, "lost: "+d.Lost)
	}
	if d.Rebuilt {
		parts = append(parts, "details made anew")
	}
	if d.Claimed != d.MappedBefore && !d.Rebuilt && d.Lost == "" && !d.Dropped {
		parts = append(parts, fmt.Sprintf("its details said %d", d.Claimed))
	}
	return say.Clean(strings.Join(parts, "; "))
}

func (a *App) rewriteJSON(from, to string, c *thinbuild.Comparison) error {
	for _, d := range c.Devices {
		if err := a.line(rewriteDevice{"devmapper-rewrite-device", 1, d.ID, d.MappedBefore, d.MappedAfter, d.Dropped, d.Why, d.Lost, d.Rebuilt}); err != nil {
			return err
		}
	}
	s := rewriteSummary{Type: "devmapper-rewrite", Schema: 1, From: from, To: to, Devices: c.Written.Devices, DataUsed: c.Written.DataUsed,
		MetadataUsed: c.Written.MetadataUsed, Losses: len(c.Losses()), Lost: append([]string{}, c.Lost...), Notes: append([]string{}, c.Notes...)}
	if err := a.line(s); err != nil {
		return err
	}
	return exit(rewriteExit(c))
}
