package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fettle/internal/lab"
	"fettle/internal/store"
	"fettle/internal/systems/lustre/lustrelab"
)

// labLustre is what the lab's commands know of Lustre.
func labLustre() labSystem {
	return labSystem{
		name: "lustre", recipes: lustrelab.Recipes, damage: lustrelab.Damage, make: (*App).newLabMakeLustre,
		owns: func(path string) bool {
			_, err := lustrelab.Targets(path)
			return err == nil
		},
		locate: lustreLocation,
		kit: func(sys store.System, size labSize) *lab.Kit {
			opt := lustrelab.Options{MDTs: size.mdts, Files: 700, Dirs: 100, Striped: 24, HardLinks: 200, Remote: 200, Extents: true, MetadataCsum: true}
			if size.files > 0 {
				opt.Files, opt.Dirs = size.files, max(100, size.files/20)
			}
			return lustrelab.Kit(sys, opt)
		},
		demoName: "mdts", demoText: "a Lustre file system of 300 files on two MDTs",
		demoMake: func(ctx context.Context, path string) error {
			_, err := lustrelab.Make(ctx, path, lustrelab.Options{Seed: 1, Files: 300, Dirs: 40, HardLinks: 100, Remote: 200})
			return err
		},
		demoInjuries: []lab.Injury{{Class: "lustre/orphan-object", Count: 2}, {Class: "lustre/orphan-remote", Count: 1},
			{Class: "lustre/linkea-missing", Count: 1}, {Class: "lustre/bad-type", Count: 1}, {Class: "lustre/shard-lmv-missing", Count: 1}},
	}
}

// lustreLocation names all images of a directory.
func lustreLocation(dir string) string {
	paths, err := lustrelab.Targets(dir)
	if err != nil {
		return "lustre:" + dir // fettle check says what is wrong with it
	}
	return "lustre:" + strings.Join(paths, ",")
}

func (a *App) newLabMakeLustre() *cobra.Command {
	var opt lustrelab.Options
	var out string
	c := verb(cobra.Command{
		Use:   "lustre",
		Short: "Make the MDTs of a Lustre file system",
		Long: `Makes a directory with one ldiskfs image per MDT (mdt0.img, mdt1.img, ...) as servers leave them: remote directories, striped
directories of all hash types, hard links across directories, open but unlinked files, and what every MDT keeps for itself.
The images are sparse. A count of -1 means none.`,
		Example: `  fettle lab make lustre -o mdts --mdts 2 --files 100000
  fettle lab make lustre -o csum --mdts 4 --files 5000 --extents --metadata-csum --inode-size 1024`,
		Args: wants(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := mayMake(out, "mdts"); err != nil {
				return err
			}
			start := time.Now()
			m, err := lustrelab.Make(c.Context(), out, opt)
			if err != nil {
				return err
			}
			return a.made(start, struct {
				madeLine
				lustrelab.Made
			}{aMadeLine, m}, out, lustreLocation(out), fmt.Sprintf("%d MDTs with %d files in %d directories, %d names (%d to another MDT)", len(m.Paths), m.Files, m.Dirs, m.Names, m.Remote))
		},
	}, exitClean, exitError, exitUsage, exitCancelled)
	p := c.Flags()
	madeFlags(p, &out, &opt.Seed)
	p.StringVar(&opt.FSName, "fsname", "lab", "`NAME` of the file system")
	p.IntVar(&opt.MDTs, "mdts", 2, "make `N` MDTs")
	p.IntVar(&opt.Files, "files", 1000, "make `N` files")
	p.IntVar(&opt.Dirs, "dirs", 0, "make `N` directories (default: one for 20 files)")
	p.IntVar(&opt.Striped, "striped", 0, "stripe `N` directories (default 8)")
	p.IntVar(&opt.Shards, "shards", 0, "stripe them over `N` shards (default: one per MDT)")
	p.StringSliceVar(&opt.Hashes, "hashes", nil, "`HASHES` of striped directories: all_char, fnv_1a_64, crush, crush2 (default: all)")
	p.IntVar(&opt.Remote, "remote", 0, "put `N` of 1000 directories on another MDT than their parent (default 100)")
	p.IntVar(&opt.HardLinks, "hard-links", 0, "give `N` of 1000 files several names (default 20)")
	p.IntVar(&opt.BigDir, "big-dir", 0, "put `N` more files into one directory")
	p.IntVar(&opt.Pending, "pending", 0, "leave `N` open but unlinked files per MDT (default 2)")
	p.BoolVar(&opt.LostFound, "lost-found", false, "make .lustre/lost+found/MDTxxxx, as the first run of LFSCK does")
	p.BoolVar(&opt.Changing, "changing", false, "leave three striped directories in the middle of a split, a merge and a migration")
	p.BoolVar(&opt.Foreign, "foreign", false, "make a directory of another system")
	p.IntVar(&opt.InodeSize, "inode-size", 512, "inodes of `BYTES`")
	p.BoolVar(&opt.Extents, "extents", false, "map files by extents")
	p.BoolVar(&opt.MetadataCsum, "metadata-csum", false, "checksums for all metadata")
	p.BoolVar(&opt.Bit64, "64bit", false, "block numbers of 64 bits")
	p.BoolVar(&opt.EAInode, "ea-inode", false, "long attributes in inodes of their own")
	p.BoolVar(&opt.Linear, "linear", false, "no hash trees")
	return c
}
