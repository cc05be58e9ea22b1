package devmapper

import (
	"fmt"
	"os"
	"path/filepath"

	"fettle/internal/fault"
)

// resolve makes the paths of the layers those of the files themselves. A repair may put a new file in the place of an old one: behind a
// symbolic link it would take the link's place, and the file that the link led to would stay as it was. Devices keep the names that
// people know. Targets are called as their files, so no two layers may be called the same.
func (l *layout) resolve() error {
	names := map[string]string{}
	for _, at := range []*string{&l.meta, &l.store, &l.pool, &l.thin} {
		if *at == "" {
			continue
		}
		if to, err := filepath.EvalSymlinks(*at); err == nil && isLinkToFile(*at) {
			*at = to
		}
		name := filepath.Base(*at)
		if other, twice := names[name]; twice {
			return fault.NewUsage(fmt.Errorf("%s and %s are two layers with one name", other, *at), "rename one of them, or check copies with other names")
		}
		names[name] = *at
	}
	return nil
}

// isLinkToFile tells whether a path is a symbolic link to a regular file.
func isLinkToFile(path string) bool {
	link, err := os.Lstat(path)
	if err != nil || link.Mode()&os.ModeSymlink == 0 {
		return false
	}
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular()
}
