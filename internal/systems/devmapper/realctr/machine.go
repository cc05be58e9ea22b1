package realctr

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"fettle/internal/systems/devmapper/fakedm"
)

// Machine is a computer with one thin pool and a containerd that can be started on it again and again.
type Machine struct {
	Dir   string // of the four files
	Work  string // of everything else: programs, the fake's state, content
	Pool  string
	Size  string // base_image_size
	Async bool   // async_remove
}

// PoolName is the pool of scenarios. No real pool should have it: as root, Prepare tries to mount devices by their name.
const PoolName = "fettle-testpool"

// Size of the pool of NewMachine: data and metadata in bytes.
const (
	dataSize = 1 << 30
	metaSize = 4 << 20
)

// NewMachine makes a machine with an empty pool. Its four files will be in dir; work is for what else there is.
func NewMachine(dir, work string) (*Machine, error) {
	m := &Machine{Dir: dir, Work: work, Pool: PoolName, Size: "64MB"}
	p := fakedm.NewPool(m.Pool, dataSize, metaSize)
	p.Metadata = m.thin()
	return m, m.setUp(p)
}

// LoadMachine makes a machine from the four files in dir. They will change: give a copy.
func LoadMachine(dir, work, pool string) (*Machine, error) {
	p, err := fakedm.LoadThinMeta(filepath.Join(dir, "thin.meta"), pool)
	if err != nil {
		return nil, err
	}
	p.Active = true
	m := &Machine{Dir: dir, Work: work, Pool: pool, Size: "64MB"}
	return m, m.setUp(p)
}

func (m *Machine) setUp(p *fakedm.Pool) error {
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return fmt.Errorf("set up a machine: %w", err)
	}
	if _, err := fakedm.Install(m.programs()); err != nil {
		return err
	}
	return fakedm.Create(m.State(), &fakedm.State{Pools: []*fakedm.Pool{p}})
}

// State is the path of the fake device-mapper's state.
func (m *Machine) State() string { return filepath.Join(m.Work, "dm.json") }

func (m *Machine) programs() string { return filepath.Join(m.Work, "bin") }

// DB is the path of one of the files: "meta", "metadata", or the pool's with "pool".
func (m *Machine) DB(which string) string {
	if which == "pool" {
		which = m.Pool
	}
	return filepath.Join(m.Dir, which+".db")
}

// Result is what became of one run of containerd.
type Result struct {
	Start  string   // the error that it failed to start with
	Ops    []Op     // in order; those after a kill are missing
	Killed bool     // it was killed by a fault
	Log    []string // what it logged
}

// Op is one operation.
type Op struct{ Op, Error string }

// Err is the first error, nil if there was none.
func (r *Result) Err() error {
	if r.Killed {
		return errors.New("containerd was killed")
	}
	if r.Start != "" {
		return fmt.Errorf("containerd's snapshotter does not start: %s", r.Start)
	}
	for _, o := range r.Ops {
		if o.Error != "" {
			return fmt.Errorf("%s: %s", o.Op, o.Error)
		}
	}
	return nil
}

// Run starts containerd, does the operations one after the other whether or not they fail, and stops it. Operations:
//
//	lease,ID  unlease,ID         what is prepared in between belongs to the lease
//	prepare,KEY,PARENT           an active snapshot; without parent the base of an image
//	view,KEY,PARENT
//	mounts,KEY                   can the snapshot be mounted
//	write,KEY,KIB                as a container would
//	commit,NAME,KEY              with a label that keeps it from garbage collection; unroot,NAME takes that back
//	remove,KEY
//	container,ID,KEY  rmcontainer,ID
//	gc
//	gone,KEY                     fails when the plugin still has a snapshot of that key
//
// An error means that nothing could be run at all.
func (m *Machine) Run(ctx context.Context, ops ...string) (*Result, error) {
	raw, err := json.Marshal(job{Dir: m.Dir, Work: m.Work, Pool: m.Pool, Size: m.Size, Async: m.Async, Ops: ops})
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("run containerd: %w", err)
	}
	tmp := filepath.Join(m.Work, "tmp") // what a killed Prepare leaves goes away with the machine
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return nil, fmt.Errorf("run containerd: %w", err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(m.Environ(), jobEnv+"="+string(raw), "TMPDIR="+tmp)
	var out, logged bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &logged
	r := &Result{}
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || ctx.Err() != nil {
			return nil, fmt.Errorf("run containerd: %w", errors.Join(err, ctx.Err()))
		}
		r.Killed = exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	}
	r.Log = strings.Split(strings.TrimSpace(logged.String()), "\n")
	for dec := json.NewDecoder(&out); dec.More(); {
		var l line
		if err := dec.Decode(&l); err != nil {
			return nil, fmt.Errorf("run containerd: %w in %q", err, out.String())
		}
		if l.Op == "start" {
			r.Start = l.Error
			continue
		}
		r.Ops = append(r.Ops, Op(l))
	}
	if !r.Killed && r.Start == "" && len(r.Ops) < len(ops) {
		return nil, fmt.Errorf("containerd ended too early: %s", logged.String())
	}
	return r, nil
}

// Inject replaces the faults that are waiting for a call.
func (m *Machine) Inject(f ...*fakedm.Fault) error {
	return fakedm.Edit(m.State(), func(s *fakedm.State) error { s.Faults = f; return nil })
}

// Reboot takes away all active devices, and faults.
func (m *Machine) Reboot() error {
	return fakedm.Edit(m.State(), func(s *fakedm.State) error { s.Reboot(); s.Faults = nil; return nil })
}

// DMSetup runs dmsetup by hand.
func (m *Machine) DMSetup(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(m.programs(), "dmsetup"), args...)
	cmd.Env = m.Environ()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("dmsetup %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// SaveThin writes the pool's metadata to thin.meta beside the databases.
func (m *Machine) SaveThin() error {
	s, err := fakedm.Load(m.State())
	if err != nil {
		return err
	}
	return fakedm.WriteThinMeta(s.Pool(m.Pool), m.thin())
}

// thin is the pool's metadata device. Once SaveThin has made the file, the fake keeps it up to date.
func (m *Machine) thin() string { return filepath.Join(m.Dir, "thin.meta") }

// Environ is an environment in which dmsetup is the machine's.
func (m *Machine) Environ() []string { return fakedm.Environ(m.programs(), m.State()) }
