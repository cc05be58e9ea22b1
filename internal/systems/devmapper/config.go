package devmapper

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"

	"fettle/internal/fault"
)

// config is what containerd's configuration says about the snapshotter.
type config struct {
	root     string // of containerd
	rootPath string // of the snapshotter, "" for the default
	poolName string
	fsType   string
	here     bool // it is about the place that was asked for
}

// readConfig reads containerd's configuration: the named file, or the usual one if there is one. Without a file the defaults hold.
func readConfig(path, root string) (config, error) {
	c := config{root: defaultRoot, here: root == "" || sameDir(root, defaultRoot)}
	named := path != ""
	if !named {
		path = defaultConfig
	}
	var raw struct {
		Root    string                    `toml:"root"`
		Plugins map[string]toml.Primitive `toml:"plugins"`
	}
	md, err := toml.DecodeFile(path, &raw)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return c, nil
	}
	if err != nil {
		return c, &fault.Error{Op: "read containerd's configuration", Where: path, Err: err, Hint: "--set config=FILE names another one"}
	}
	if raw.Root != "" {
		c.root = raw.Root
	}
	c.here = root == "" || named || sameDir(root, c.root)
	if !c.here {
		return config{root: root}, nil // the configuration of this machine is not that of a copy
	}
	for name, p := range raw.Plugins {
		// Before version 2 of the file the plugin is called by its short name.
		if name != pluginDir && name != "devmapper" {
			continue
		}
		var plugin struct {
			RootPath string `toml:"root_path"`
			PoolName string `toml:"pool_name"`
			FSType   string `toml:"fs_type"`
		}
		if err := md.PrimitiveDecode(p, &plugin); err != nil {
			return c, &fault.Error{Op: "read containerd's configuration", Where: path + " plugins." + name, Err: err}
		}
		c.rootPath, c.poolName, c.fsType = strings.TrimSpace(plugin.RootPath), strings.TrimSpace(plugin.PoolName), strings.TrimSpace(plugin.FSType)
	}
	return c, nil
}

// sameDir tells whether two paths lead to the same directory.
func sameDir(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	fa, err1 := os.Stat(a)
	fb, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(fa, fb)
}
