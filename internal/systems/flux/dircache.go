package flux

import (
	"slices"

	"fettle/internal/format/treeobj"
)

// dirCache keeps the directories that were looked at lately parsed, so that looking up each of many keys of one directory,
// in one tree or in several, does not take the square of its size. It belongs to one goroutine.
type dirCache struct {
	b    *blobReader
	dirs map[treeobj.Ref]*openDir
	kept int // bytes of their content
}

// maxKeptDirs bounds the content of the directories that are kept parsed, in bytes; parsed they take about three times as
// much. It is enough for the directories of 25000 keys in five checkpoints.
const maxKeptDirs = 16 << 20

func newDirCache(b *blobReader) *dirCache { return &dirCache{b: b} }

// openDir is a parsed directory of which the entries of the first level are known by name. It must not be changed.
type openDir struct {
	tree  *treeobj.Tree
	first map[string]int
}

// get returns the directory ref; nil when it cannot be read. What it returns stays valid.
func (c *dirCache) get(ref treeobj.Ref) *openDir {
	if d := c.dirs[ref]; d != nil {
		return d
	}
	content, have := c.b.get(ref)
	if !have {
		return nil
	}
	t := new(treeobj.Scanner).ParseDir(slices.Clone(content)) // of its own, as it is kept
	if !t.IsDir() || t.Broken {
		return nil
	}
	if c.kept += len(content); c.dirs == nil || c.kept > maxKeptDirs {
		c.dirs, c.kept = map[treeobj.Ref]*openDir{}, len(content)
	}
	d := &openDir{tree: t, first: make(map[string]int, len(t.Entries))}
	c.dirs[ref] = d
	for i := range t.Entries {
		if e := &t.Entries[i]; e.Parent == -1 {
			if _, twice := d.first[string(e.Name)]; !twice {
				d.first[string(e.Name)] = i
			}
		}
	}
	return d
}

// find is findEntry.
func (d *openDir) find(parent int32, name string) int {
	if parent != -1 {
		return findEntry(d.tree, parent, name)
	}
	if i, ok := d.first[name]; ok {
		return i
	}
	return -1
}
