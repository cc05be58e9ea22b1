package devmapper

import (
	"errors"
	"io/fs"
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
}

// readConfig reads containerd's configuration: the named file, or the usual one if there is one. Without a file the defaults hold.
func readConfig(path, root string) (config, error) {
	c := config{root: defaultRoot}
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
	if root != "" && root != c.root && !named {
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
