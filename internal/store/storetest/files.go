package storetest

import (
	"bytes"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"fettle/internal/repair"
)

// Files is a file system in memory for journals. It knows what is durable: a file's content up to its last Sync, and a
// file's existence since the SyncDir after its creation. It implements repair.Files.
type Files struct {
	Power *Power

	mu    sync.Mutex
	files map[string]*memFile
}

// NewFiles makes an empty file system.
func NewFiles(p *Power) *Files { return &Files{Power: p, files: map[string]*memFile{}} }

type memFile struct {
	linked  bool // its name is durable
	durable []byte
	view    []byte
	pending []fileWrite
}

type fileWrite struct {
	off  int64
	data []byte // nil: truncate to off
}

func (w fileWrite) apply(b []byte) []byte {
	if w.data == nil {
		if w.off < int64(len(b)) {
			return bytes.Clone(b[:w.off])
		}
		return b
	}
	if need := w.off + int64(len(w.data)); need > int64(len(b)) {
		b = append(bytes.Clone(b), make([]byte, need-int64(len(b)))...)
	}
	copy(b[w.off:], w.data)
	return b
}

// handle is an open file.
type handle struct {
	fs *Files
	f  *memFile
}

// Create implements repair.Files. It is one operation of the Power.
func (m *Files) Create(path string) (repair.File, error) {
	if _, err := m.Power.op(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[path] != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	m.files[path] = &memFile{}
	return &handle{m, m.files[path]}, nil
}

// Open implements repair.Files.
func (m *Files) Open(path string, _ bool) (repair.File, error) {
	if err := m.Power.alive(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[path] == nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return &handle{m, m.files[path]}, nil
}

// List implements repair.Files.
func (m *Files) List(dir string) ([]string, error) {
	if err := m.Power.alive(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for p := range m.files {
		if filepath.Dir(p) == filepath.Clean(dir) {
			names = append(names, filepath.Base(p))
		}
	}
	return names, nil
}

// SyncDir implements repair.Files. It is one operation of the Power.
func (m *Files) SyncDir(dir string) error {
	if _, err := m.Power.op(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for p, f := range m.files {
		if filepath.Dir(p) == filepath.Clean(dir) {
			f.linked = true
		}
	}
	return nil
}

// Reboot is Disk.Reboot for files. A file whose name was not durable may be gone altogether.
func (m *Files) Reboot(fate func() Fate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if fate == nil {
		return
	}
	for p, f := range m.files {
		if !f.linked && fate() == Lost {
			delete(m.files, p)
			continue
		}
		f.linked = true
		f.view = bytes.Clone(f.durable)
		for _, w := range f.pending {
			switch fate() {
			case Kept:
				f.view = w.apply(f.view)
			case Half:
				if w.data != nil {
					w.data = w.data[:(len(w.data)+1)/2]
					f.view = w.apply(f.view)
				}
			}
		}
		f.durable, f.pending = bytes.Clone(f.view), nil
	}
}

// Clone is an independent file system in the same condition, down to what is durable.
func (m *Files) Clone(p *Power) *Files {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewFiles(p)
	for path, f := range m.files {
		c.files[path] = &memFile{linked: f.linked, durable: bytes.Clone(f.durable), view: bytes.Clone(f.view), pending: slices.Clone(f.pending)}
	}
	return c
}

// Content gives a file's bytes, nil if it does not exist.
func (m *Files) Content(path string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[path] == nil {
		return nil
	}
	return bytes.Clone(m.files[path].view)
}

// Put replaces a file's content durably.
func (m *Files) Put(path string, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[path] = &memFile{linked: true, durable: bytes.Clone(b), view: bytes.Clone(b)}
}

func (h *handle) ReadAt(b []byte, off int64) (int, error) {
	if err := h.fs.Power.alive(); err != nil {
		return 0, err
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return bytes.NewReader(h.f.view).ReadAt(b, off)
}

func (h *handle) WriteAt(b []byte, off int64) (int, error) {
	half, err := h.fs.Power.op()
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err != nil && !half {
		return 0, err
	}
	if half {
		b = b[:(len(b)+1)/2]
	}
	w := fileWrite{off, append([]byte{}, b...)}
	h.f.view = w.apply(h.f.view)
	h.f.pending = append(h.f.pending, w)
	return len(b), err
}

func (h *handle) Truncate(size int64) error {
	if _, err := h.fs.Power.op(); err != nil {
		return err
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	w := fileWrite{off: size}
	h.f.view = w.apply(h.f.view)
	h.f.pending = append(h.f.pending, w)
	return nil
}

func (h *handle) Sync() error {
	if _, err := h.fs.Power.op(); err != nil {
		return err
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	h.f.durable, h.f.pending = bytes.Clone(h.f.view), nil
	return nil
}

func (h *handle) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return int64(len(h.f.view)), h.fs.Power.alive()
}

// Close implements repair.File.
func (h *handle) Close() error { return nil }

var _ repair.Files = (*Files)(nil)
var _ io.WriterAt = (*handle)(nil)
