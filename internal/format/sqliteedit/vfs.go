package sqliteedit

import (
	"fmt"
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
)

// vfsName is the name under which the overlay VFS is registered with SQLite.
const vfsName = "fettle-overlay"

// overlayVFS hands out the registered overlays as main databases and memory for
// every other kind of file. It never touches the file system.
type overlayVFS struct {
	mu   sync.Mutex
	next uint64
	open map[string]*overlay
}

var overlays = &overlayVFS{open: map[string]*overlay{}}

var registerOnce = sync.OnceFunc(func() { vfs.Register(vfsName, overlays) })

// add makes o known and returns the file name under which SQLite can open it.
func (v *overlayVFS) add(o *overlay) string {
	registerOnce()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.next++
	name := fmt.Sprintf("edit-%d", v.next)
	v.open[name] = o
	return name
}

func (v *overlayVFS) remove(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.open, name)
}

// Open implements vfs.VFS.
func (v *overlayVFS) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	const inMemory = vfs.OPEN_MAIN_JOURNAL | vfs.OPEN_TEMP_JOURNAL | vfs.OPEN_SUBJOURNAL |
		vfs.OPEN_TEMP_DB | vfs.OPEN_TRANSIENT_DB
	switch {
	case flags&vfs.OPEN_MAIN_DB != 0:
		v.mu.Lock()
		o := v.open[name]
		v.mu.Unlock()
		if o == nil {
			return nil, flags, sqlite3.CANTOPEN
		}
		return o, flags, nil
	case flags&inMemory != 0:
		return &memFile{}, flags, nil
	}
	return nil, flags, sqlite3.CANTOPEN
}

// Delete implements vfs.VFS: there is never a file to delete.
func (v *overlayVFS) Delete(string, bool) error { return sqlite3.IOERR_DELETE_NOENT }

// Access implements vfs.VFS: no journal or WAL is ever found.
func (v *overlayVFS) Access(string, vfs.AccessFlag) (bool, error) { return false, nil }

// FullPathname implements vfs.VFS.
func (v *overlayVFS) FullPathname(name string) (string, error) { return name, nil }

// memFile is a journal or temporary file of SQLite, held in memory. Its size
// follows what the transaction touches or sorts.
type memFile struct{ vfsutil.SliceFile }

func (*memFile) Lock(vfs.LockLevel) error         { return nil }
func (*memFile) Unlock(vfs.LockLevel) error       { return nil }
func (*memFile) CheckReservedLock() (bool, error) { return false, nil }
