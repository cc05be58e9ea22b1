package dmlab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.etcd.io/bbolt"

	"fettle/internal/fault"
)

// Names of the files of a set; the pool's database is named after the pool.
const (
	metaFile  = "meta.db"
	storeFile = "metadata.db"
	thinFile  = "thin.meta"
)

// The namespace and the name of the plugin in meta.db.
const (
	namespace = "k8s.io"
	plugin    = "devmapper"
)

// Make writes a healthy set to the directory dir, which must be empty or not exist.
func Make(ctx context.Context, dir string, opt Options) (made Made, err error) {
	if opt, err = opt.filled(); err != nil {
		return made, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return made, &fault.Error{Op: "make", Where: dir, Err: err}
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		return made, &fault.Error{Op: "make", Where: dir, Err: errors.Join(errors.New("the directory is not empty"), err), Hint: "give a new name", Kind: fault.Usage}
	}
	thin, err := newThinPool(filepath.Join(dir, thinFile), opt.Images*opt.Layers+opt.Containers*5/4+8, opt)
	if err != nil {
		return made, err
	}
	m := &maker{opt: opt, dir: dir, sn: &snapshotter{opt: opt, db: newPoolDB(), thin: thin, rnd: newRand(opt.Seed, 0x6d616b65)}}
	if err := m.open(); err != nil {
		return made, errors.Join(err, thin.file.Close())
	}
	err = m.node(ctx)
	err = errors.Join(err, m.store.Close(), closed(m.bolt, err, "make meta.db"))
	sum, ferr := thin.finish()
	if err = errors.Join(err, ferr); err != nil {
		return made, err
	}
	made = m.made
	made.Mapped = int(sum.DataUsed)
	return made, m.sn.db.save(filepath.Join(dir, opt.Pool+".db"))
}

// maker plays the life of a node.
type maker struct {
	opt   Options
	dir   string
	bolt  *bbolt.DB // meta.db
	db    *metadata.DB
	store *storage.MetaStore
	sn    *snapshotter
	made  Made
	tops  []string // the top layer of each image
	bases [][]string
	count int // containers that were begun
}

func (m *maker) open() (err error) {
	if m.store, err = storage.NewMetaStore(filepath.Join(m.dir, storeFile), func(o *bbolt.Options) error { o.NoSync = true; return nil }); err != nil {
		return fmt.Errorf("make metadata.db: %w", err)
	}
	m.bolt, err = bbolt.Open(filepath.Join(m.dir, metaFile), 0o644, &bbolt.Options{NoSync: true, NoFreelistSync: true, NoStatistics: true})
	if err != nil {
		return fmt.Errorf("make meta.db: %w", err)
	}
	m.db = metadata.NewDB(m.bolt, nil, map[string]snapshots.Snapshotter{plugin: m.sn})
	if err = m.db.Init(context.Background()); err != nil {
		return errors.Join(fmt.Errorf("make meta.db: %w", err), m.bolt.Close())
	}
	return nil
}

// together does work in one transaction of meta.db and one of metadata.db. containerd takes several of each for every snapshot;
// where many are made, that would take most of the time.
func (m *maker) together(ctx context.Context, work func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return m.bolt.Update(func(tx *bbolt.Tx) error {
		ctx := namespaces.WithNamespace(boltutil.WithTransaction(ctx, tx), namespace)
		return m.store.WithTransaction(ctx, true, work)
	})
}

// lease is the id of the lease of the pull that is under way.
const lease = "pull-in-progress"

// batch is how many containers are made in one transaction.
const batch = 250

// node pulls images and runs containers, some of which are gone again.
func (m *maker) node(ctx context.Context) error {
	for i := range m.opt.Images {
		if err := m.together(ctx, func(ctx context.Context) error { return m.image(ctx, i) }); err != nil {
			return fmt.Errorf("make image %d: %w", i, err)
		}
	}
	for m.made.Containers < m.opt.Containers {
		if err := m.together(ctx, m.containers); err != nil {
			return fmt.Errorf("make containers: %w", err)
		}
	}
	return m.together(ctx, m.pull)
}

// chain is the digest by which a layer is known.
func (m *maker) chain(image, layer int) string {
	return "sha256:" + m.hex("layer", image, layer)
}

func (m *maker) hex(kind string, a, b int) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %d", kind, m.opt.Seed, a, b))
	return hex.EncodeToString(h[:])
}

// image pulls one image: its layers are unpacked under a lease.
func (m *maker) image(ctx context.Context, i int) error {
	lm := metadata.NewLeaseManager(m.db)
	lease, err := lm.Create(ctx, leases.WithID(fmt.Sprintf("pull-%d", i)))
	if err != nil {
		return err
	}
	leased := leases.WithLease(ctx, lease.ID)
	var keys []string
	if i%3 == 2 && m.opt.Layers > 1 { // built on the image before
		keys = append(keys, m.bases[i-1][:m.opt.Layers/2]...)
	}
	for n := len(keys); n < m.opt.Layers; n++ {
		parent := ""
		if n > 0 {
			parent = keys[n-1]
		}
		name := m.chain(i, n)
		if err := m.unpack(leased, name, parent, m.opt.BaseBlocks/8+1); err != nil {
			return err
		}
		keys = append(keys, name)
		m.made.Snapshots++
	}
	m.bases, m.tops = append(m.bases, keys), append(m.tops, keys[len(keys)-1])
	if err := m.record(ctx, i); err != nil {
		return err
	}
	m.made.Images++
	return lm.Delete(ctx, lease)
}

// unpack makes one layer.
func (m *maker) unpack(ctx context.Context, name, parent string, blocks int) error {
	sn := m.db.Snapshotter(plugin)
	key := fmt.Sprintf("extract-%09d-%s %s", m.sn.rnd.IntN(1e9), "aBcD", name)
	if _, err := sn.Prepare(ctx, key, parent, snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotRef: name})); err != nil {
		return err
	}
	backend, err := m.backend(ctx, key)
	if err != nil {
		return err
	}
	if err := m.sn.fill(ctx, backend, blocks); err != nil {
		return err
	}
	return sn.Commit(ctx, name, key, snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotRef: name}))
}

// bucket goes down a path of buckets in a transaction.
func bucket(tx *bbolt.Tx, path ...string) (*bbolt.Bucket, error) {
	b := tx.Bucket([]byte(path[0]))
	for i := 1; b != nil && i < len(path); i++ {
		b = b.Bucket([]byte(path[i]))
	}
	if b == nil {
		return nil, fmt.Errorf("there is no bucket %q", path)
	}
	return b, nil
}

// backend is the key of a snapshot in metadata.db.
func (m *maker) backend(ctx context.Context, key string) (string, error) {
	tx, _ := boltutil.Transaction(ctx)
	b, err := bucket(tx, "v1", namespace, "snapshots", plugin, key)
	if err != nil {
		return "", err
	}
	return string(b.Get([]byte("name"))), nil
}

// record writes the image, and the part of its content that keeps the top layer from garbage collection.
func (m *maker) record(ctx context.Context, i int) error {
	tx, _ := boltutil.Transaction(ctx)
	d := digest.Digest("sha256:" + m.hex("config", i, 0))
	v1, err := bucket(tx, "v1", namespace)
	if err != nil {
		return err
	}
	for _, name := range []string{"content", "blob", d.String()} {
		if v1, err = v1.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
	}
	now := time.Now().UTC()
	err = errors.Join(boltutil.WriteTimestamps(v1, now, now), v1.Put([]byte("size"), []byte{0x80, 0x20}),
		boltutil.WriteLabels(v1, map[string]string{"containerd.io/gc.ref.snapshot." + plugin: m.tops[i]}))
	if err != nil {
		return err
	}
	_, err = metadata.NewImageStore(m.db).Create(ctx, images.Image{Name: m.imageName(i),
		Target: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: d, Size: 2048}})
	return err
}

func (m *maker) imageName(i int) string { return fmt.Sprintf("docker.io/library/app-%d:latest", i) }

// nothing is an empty container spec.
type nothing struct{}

func (nothing) GetTypeUrl() string { return "types.containerd.io/opencontainers/runtime-spec/1/Spec" }
func (nothing) GetValue() []byte   { return []byte(`{"ociVersion":"1.2.1"}`) }

// containers runs a batch of containers. Every eighth is removed again, and its device id is used by the next.
func (m *maker) containers(ctx context.Context) error {
	sn := m.db.Snapshotter(plugin)
	for n := 0; n < batch && m.made.Containers < m.opt.Containers; n++ {
		i := m.count % m.opt.Images
		key := m.hex("container", m.count, 0)
		m.count++
		if _, err := sn.Prepare(ctx, key, m.tops[i]); err != nil {
			return err
		}
		backend, err := m.backend(ctx, key)
		if err != nil {
			return err
		}
		if err := m.sn.fill(ctx, backend, m.opt.BaseBlocks/16); err != nil {
			return err
		}
		if m.count%8 == 5 {
			// What garbage collection does is done at once.
			if err := errors.Join(sn.Remove(ctx, key), m.sn.Remove(ctx, backend)); err != nil {
				return err
			}
			continue
		}
		c := containers.Container{ID: key, Image: m.imageName(i), Snapshotter: plugin, SnapshotKey: key,
			Runtime: containers.RuntimeInfo{Name: "io.containerd.runc.v2"}, Spec: nothing{}, Labels: map[string]string{"io.kubernetes.pod.name": "pod-" + itoa(m.count)}}
		if _, err := metadata.NewContainerStore(m.db).Create(ctx, c); err != nil {
			return err
		}
		m.made.Containers++
		m.made.Snapshots++
	}
	return nil
}

// pull begins to pull one more image: a lease holds a snapshot that is being unpacked. Some ids stay free.
func (m *maker) pull(ctx context.Context) error {
	sn := m.db.Snapshotter(plugin)
	for _, key := range []string{"gone-1", "gone-2"} {
		if _, err := sn.Prepare(ctx, key, m.tops[0]); err != nil {
			return err
		}
	}
	held, err := metadata.NewLeaseManager(m.db).Create(ctx, leases.WithID(lease))
	if err != nil {
		return err
	}
	if _, err := sn.Prepare(leases.WithLease(ctx, held.ID), "extract-1-aBcD "+m.chain(m.opt.Images, 0), m.tops[0]); err != nil {
		return err
	}
	m.made.Snapshots++
	for _, key := range []string{"gone-1", "gone-2"} {
		backend, err := m.backend(ctx, key)
		if err == nil {
			err = errors.Join(sn.Remove(ctx, key), m.sn.Remove(ctx, backend))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
