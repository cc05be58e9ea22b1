package dmlab

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/plugins/snapshots/devmapper"
)

// fsLabel is the label in which the snapshotter keeps the type of file system.
const fsLabel = "containerd.io/snapshot/devmapper/fstype"

// snapshotter takes the steps of containerd's devmapper snapshotter: the records are made by containerd's storage package, in
// the transaction that the context holds, the thin devices by thinPool.
type snapshotter struct {
	opt  Options
	db   *poolDB
	thin *thinPool
	rnd  *rand.Rand
}

// name is the name of a snapshot's device.
func deviceName(pool, id string) string { return pool + "-snap-" + id }

func (s *snapshotter) device(id string) *devmapper.DeviceInfo {
	return s.db.devices[deviceName(s.opt.Pool, id)]
}

func (s *snapshotter) create(ctx context.Context, kind snapshots.Kind, key, parent string, opts []snapshots.Opt) ([]mount.Mount, error) {
	opts = append(opts, snapshots.WithLabels(map[string]string{fsLabel: "ext4"}))
	snap, err := storage.CreateSnapshot(ctx, kind, key, parent, opts...)
	if err != nil {
		return nil, err
	}
	name := deviceName(s.opt.Pool, snap.ID)
	if len(snap.ParentIDs) == 0 {
		d := s.db.add(name, "", s.opt.BaseSize)
		return nil, s.thin.create(d.DeviceID, uint64(s.opt.BaseBlocks), s.opt.BaseSize/blockBytes/2)
	}
	p := s.device(snap.ParentIDs[0])
	d := s.db.add(name, p.Name, s.opt.BaseSize)
	return nil, s.thin.snap(d.DeviceID, p.DeviceID)
}

// fill writes to an active snapshot: the superblock and the journal, which every mount writes, n new blocks in one place, and an old one.
func (s *snapshotter) fill(ctx context.Context, key string, n int) error {
	id, _, _, err := storage.GetInfo(ctx, key)
	if err != nil {
		return err
	}
	d := s.device(id)
	front := uint64(s.opt.BaseBlocks - s.opt.BaseBlocks/4)
	limit := s.opt.BaseSize / blockBytes / 2
	from := front + s.rnd.Uint64N(front*4)
	virtual := []uint64{0, 1 + s.rnd.Uint64N(front-1)}
	for i := range uint64(n) {
		if from+i < limit {
			virtual = append(virtual, from+i)
		}
	}
	return s.thin.write(d.DeviceID, append(virtual, limit))
}

func (s *snapshotter) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return s.create(ctx, snapshots.KindActive, key, parent, opts)
}

func (s *snapshotter) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return s.create(ctx, snapshots.KindView, key, parent, opts)
}

func (s *snapshotter) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	id, info, _, err := storage.GetInfo(ctx, key)
	if err != nil {
		return err
	}
	d := s.device(id)
	opts = append(opts, snapshots.WithLabels(map[string]string{fsLabel: info.Labels[fsLabel]}))
	usage := snapshots.Usage{Size: int64(s.thin.devices[d.DeviceID].mapped * blockBytes)}
	if _, err := storage.CommitActive(ctx, key, name, usage, opts...); err != nil {
		return err
	}
	d.State = devmapper.Deactivated
	return nil
}

func (s *snapshotter) Remove(ctx context.Context, key string) error {
	id, _, err := storage.Remove(ctx, key)
	if err != nil {
		return err
	}
	s.thin.delete(s.db.remove(deviceName(s.opt.Pool, id)))
	return nil
}

func (s *snapshotter) Stat(ctx context.Context, key string) (snapshots.Info, error) {
	_, info, _, err := storage.GetInfo(ctx, key)
	return info, err
}

func (s *snapshotter) Walk(ctx context.Context, fn snapshots.WalkFunc, filters ...string) error {
	return storage.WalkInfo(ctx, fn, filters...)
}

// errNotMade is the answer to what making a set never asks for.
var errNotMade = errors.New("the lab's snapshotter cannot do that")

func (s *snapshotter) Update(context.Context, snapshots.Info, ...string) (snapshots.Info, error) {
	return snapshots.Info{}, errNotMade
}

func (s *snapshotter) Usage(context.Context, string) (snapshots.Usage, error) {
	return snapshots.Usage{}, errNotMade
}

func (s *snapshotter) Mounts(context.Context, string) ([]mount.Mount, error) { return nil, errNotMade }

func (s *snapshotter) Close() error { return nil }

func itoa(n int) string { return strconv.Itoa(n) }
