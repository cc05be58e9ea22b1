package realctr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/devmapper"
	"github.com/containerd/log"
	"go.etcd.io/bbolt"

	"fettle/internal/systems/devmapper/fakedm"
	"fettle/internal/systems/devmapper/livepool"
)

// snapshotter is containerd's name of the plugin.
const snapshotter = "devmapper"

// jobEnv names the environment variable that tells the child what to do.
const jobEnv = "FETTLE_REALCTR"

// job is what a child process does.
type job struct {
	Dir   string   `json:"dir"`
	Work  string   `json:"work"`
	Pool  string   `json:"pool"`
	Size  string   `json:"size"`
	Async bool     `json:"async"`
	Ops   []string `json:"ops"`
}

// Main is for TestMain of every test that uses the package: when the process is a child of such a test, it does the child's
// work and does not return.
func Main() {
	if fakedm.Called(os.Args) {
		os.Exit(fakedm.Main(os.Args))
	}
	if livepool.Watching(os.Args) {
		os.Exit(livepool.Watch(os.Args))
	}
	text := os.Getenv(jobEnv)
	if text == "" {
		return
	}
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		fmt.Fprintln(os.Stderr, "realctr:", err)
		os.Exit(2)
	}
	os.Exit(j.main(os.Stdout))
}

// line is one line of what the child prints.
type line struct {
	Op    string `json:"op"` // "start" is the first
	Error string `json:"error,omitempty"`
}

func (j *job) main(out io.Writer) int {
	if err := log.SetLevel("info"); err != nil {
		return 2
	}
	// A process that is killed loses nothing that it has written, so nothing needs to wait for the disk.
	bbolt.DefaultOptions.NoSync = true
	enc := json.NewEncoder(out)
	say := func(op string, err error) bool {
		l := line{Op: op}
		if err != nil {
			l.Error = err.Error()
		}
		return enc.Encode(l) == nil
	}
	ctx := namespaces.WithNamespace(context.Background(), "k8s.io")
	d, err := j.open(ctx)
	if !say("start", err) || err != nil {
		return 1
	}
	code := 0
	for _, op := range j.Ops {
		if !say(op, d.do(ctx, op)) {
			code = 1
		}
	}
	if err := errors.Join(d.snapshots.Close(), d.bolt.Close()); err != nil {
		fmt.Fprintln(os.Stderr, "realctr: close:", err)
		code = 1
	}
	return code
}

// driver is a running containerd, as far as snapshots go.
type driver struct {
	bolt      *bbolt.DB
	db        *metadata.DB
	snapshots snapshots.Snapshotter // the plugin itself
	state     string
	pool      string
	lease     string // of what is prepared
}

func (j *job) open(ctx context.Context) (*driver, error) {
	sn, err := devmapper.NewSnapshotter(ctx, &devmapper.Config{RootPath: j.Dir, PoolName: j.Pool, BaseImageSize: j.Size, AsyncRemove: j.Async})
	if err != nil {
		return nil, err
	}
	cs, err := local.NewStore(filepath.Join(j.Work, "content"))
	if err != nil {
		return nil, err
	}
	db, err := bbolt.Open(filepath.Join(j.Dir, "meta.db"), 0o644, &bbolt.Options{Timeout: 10 * time.Second, NoSync: true, NoFreelistSync: true, NoStatistics: true})
	if err != nil {
		return nil, err
	}
	mdb := metadata.NewDB(db, cs, map[string]snapshots.Snapshotter{snapshotter: sn})
	if err := mdb.Init(ctx); err != nil {
		return nil, err
	}
	return &driver{bolt: db, db: mdb, snapshots: sn, state: os.Getenv(fakedm.Env), pool: j.Pool}, nil
}

// do does one operation: its name and its arguments with commas between them. Machine.Run lists them.
func (d *driver) do(ctx context.Context, op string) error {
	f := append(strings.Split(op, ","), "", "", "")
	sn := d.db.Snapshotter(snapshotter)
	if d.lease != "" {
		ctx = leases.WithLease(ctx, d.lease)
	}
	lm := metadata.NewLeaseManager(d.db)
	switch f[0] {
	case "lease":
		d.lease = f[1]
		_, err := lm.Create(ctx, leases.WithID(f[1]))
		return err
	case "unlease":
		d.lease = ""
		return lm.Delete(ctx, leases.Lease{ID: f[1]})
	case "prepare":
		_, err := sn.Prepare(ctx, f[1], f[2])
		return err
	case "view":
		_, err := sn.View(ctx, f[1], f[2])
		return err
	case "mounts":
		return d.mounts(ctx, sn, f[1])
	case "commit":
		// Labels as containerd's unpacker sets them; the root label stands for the image that would hold the layer.
		labels := map[string]string{"containerd.io/gc.root": time.Now().UTC().Format(time.RFC3339), snapshots.LabelSnapshotRef: f[1]}
		return sn.Commit(ctx, f[1], f[2], snapshots.WithLabels(labels))
	case "remove":
		return sn.Remove(ctx, f[1])
	case "unroot":
		_, err := sn.Update(ctx, snapshots.Info{Name: f[1]}, "labels.containerd.io/gc.root")
		return err
	case "gone":
		return d.gone(ctx, f[1])
	case "container":
		c := containers.Container{ID: f[1], Snapshotter: snapshotter, SnapshotKey: f[2], Image: "docker.io/library/test:latest",
			Runtime: containers.RuntimeInfo{Name: "io.containerd.runc.v2"}, Spec: nothing{}}
		_, err := metadata.NewContainerStore(d.db).Create(ctx, c)
		return err
	case "rmcontainer":
		return metadata.NewContainerStore(d.db).Delete(ctx, f[1])
	case "gc":
		_, err := d.db.GarbageCollect(ctx)
		return err
	case "write":
		return d.write(ctx, sn, f[1], f[2])
	}
	return fmt.Errorf("realctr: no operation %q", f[0])
}

// nothing is an empty container spec.
type nothing struct{}

func (nothing) GetTypeUrl() string { return "types.containerd.io/opencontainers/runtime-spec/1/Spec" }
func (nothing) GetValue() []byte   { return []byte("{}") }

// device is the name of a snapshot's device, which must be active.
func (d *driver) device(ctx context.Context, sn snapshots.Snapshotter, key string) (string, error) {
	m, err := sn.Mounts(ctx, key)
	if err != nil {
		return "", err
	}
	s, err := fakedm.Load(d.state)
	if err != nil {
		return "", err
	}
	name := filepath.Base(m[0].Source)
	if s.Node(name) == nil {
		return "", fmt.Errorf("mount source %q: no such file or directory", m[0].Source)
	}
	return name, nil
}

// mounts tells whether a snapshot can be mounted, as far as that depends on the snapshotter.
func (d *driver) mounts(ctx context.Context, sn snapshots.Snapshotter, key string) error {
	_, err := d.device(ctx, sn, key)
	return err
}

// write changes some KiB of a snapshot, in places that depend on the device.
func (d *driver) write(ctx context.Context, sn snapshots.Snapshotter, key, kib string) error {
	var n uint64
	if _, err := fmt.Sscan(kib, &n); err != nil {
		return fmt.Errorf("realctr: write %q KiB: %w", kib, err)
	}
	name, err := d.device(ctx, sn, key)
	if err != nil {
		return err
	}
	return fakedm.Edit(d.state, func(s *fakedm.State) error {
		node, p := s.Node(name), s.Pool(d.pool)
		blocks, count := node.Sectors/uint64(p.BlockSectors), (n*2+uint64(p.BlockSectors)-1)/uint64(p.BlockSectors)
		// The superblock, and data somewhere in the first half.
		from := 8 + uint64(node.Device)*16%max(1, blocks/2)
		if err := p.Write(node.Device, 0, 1); err != nil {
			return err
		}
		return p.Write(node.Device, from, min(count, blocks-from))
	})
}

// gone fails when the garbage collector has left a snapshot behind in the plugin.
func (d *driver) gone(ctx context.Context, key string) error {
	return d.snapshots.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if strings.HasSuffix(i.Name, "/"+key) {
			return fmt.Errorf("snapshot %s (%s) is still there after garbage collection", key, i.Name)
		}
		return nil
	})
}
