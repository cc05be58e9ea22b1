package livepool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"fettle/internal/fault"
)

// marker is the note that a metadata snapshot of a pool is ours. It lies in the state directory from before the snapshot is asked
// for until after it is released.
type marker struct {
	Pool string `json:"pool"`
	// HeldRoot is the block of the snapshot; 0 while it is being asked for. Whatever is held then is taken for ours: nothing was held
	// a moment before.
	HeldRoot uint64    `json:"held_root"`
	Pid      int       `json:"pid"`
	Time     time.Time `json:"time"`
}

// owns tells whether the snapshot that is held at that block is the marked one.
func (m *marker) owns(held uint64) bool { return m != nil && (m.HeldRoot == 0 || m.HeldRoot == held) }

// maxMarker bounds what is read of a marker in bytes.
const maxMarker = 4096

// desk is the place where markers lie: one directory for all pools and all runs of a user.
type desk struct {
	dir  string
	pool string
}

// newDesk makes the directory durable, so that a marker in it is.
func newDesk(dir, pool string) (desk, error) {
	d := desk{dir, pool}
	if !filepath.IsAbs(dir) {
		return d, fault.NewUsage(fmt.Errorf("state directory %q is not an absolute path", dir), "--state-dir or FETTLE_STATE_DIR names another one")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return d, d.wrong("make the state directory", dir, err)
	}
	return d, d.sync(filepath.Dir(dir))
}

func (d desk) path(kind string) string {
	return filepath.Join(d.dir, "thin-pool-"+url.PathEscape(d.pool)+"."+kind)
}

// wrong is an error about a file of the desk.
func (d desk) wrong(op, where string, err error) error {
	return &fault.Error{Op: op, Where: where, Err: err, Hint: "a snapshot of a live pool is only taken when a note about it can be kept: FETTLE_STATE_DIR names another directory"}
}

// read gives the marker, nil when there is none.
func (d desk) read() (*marker, error) {
	raw, err := os.ReadFile(d.path("held"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, d.wrong("read the note about a metadata snapshot", d.path("held"), err)
	}
	var m marker
	if len(raw) > maxMarker {
		err = fmt.Errorf("it has %d bytes", len(raw))
	} else if err = json.Unmarshal(raw, &m); err == nil && m.Pool != d.pool {
		err = fmt.Errorf("it is about pool %q", m.Pool)
	}
	if err != nil {
		return nil, &fault.Error{Op: "read the note about a metadata snapshot", Where: d.path("held"), Err: err,
			Hint: "it is not what fettle writes; if no metadata snapshot is held (dmsetup status " + d.pool + "), remove the file"}
	}
	return &m, nil
}

// write replaces the marker as a whole and makes it durable.
func (d desk) write(held uint64) error {
	raw, err := json.Marshal(marker{Pool: d.pool, HeldRoot: held, Pid: os.Getpid(), Time: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return d.wrong("write", d.path("held"), err)
	}
	if err := writeDurably(d.path("new"), append(raw, '\n')); err != nil {
		return d.wrong("write", d.path("new"), err)
	}
	if err := os.Rename(d.path("new"), d.path("held")); err != nil {
		return d.wrong("write", d.path("held"), err)
	}
	return d.sync(d.dir)
}

func writeDurably(path string, raw []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(raw); err != nil {
		return err
	}
	return f.Sync()
}

// remove takes the marker away. That need not be durable: a marker without a snapshot does no harm.
func (d desk) remove() error {
	if err := os.Remove(d.path("held")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d.wrong("remove the note about a metadata snapshot", d.path("held"), err)
	}
	return nil
}

func (d desk) sync(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return d.wrong("make durable", dir, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return d.wrong("make durable", dir, err)
	}
	return nil
}

// lockTime is how long to wait for another run that copies the metadata.
const lockTime = time.Minute

// lock makes this process the only one that reserves, releases and reads the marker. The lock is inherited by the watchdog, and
// is free when both have ended. Its file stays.
func (d desk) lock(ctx context.Context) (*os.File, error) {
	path := d.path("lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, d.wrong("lock", path, err)
	}
	for until := time.Now().Add(lockTime); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(until) {
			return nil, errors.Join(&fault.Error{Op: "lock", Where: path, Err: err, Hint: "another fettle reads the metadata of this pool: wait until it has done so"}, f.Close())
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
}
