package dmlab

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/plugins/snapshots/devmapper"

	"fettle/internal/format/thinmeta"
	"fettle/internal/systems/devmapper/fakedm"
	"fettle/internal/systems/devmapper/realctr"
)

func TestMain(m *testing.M) {
	realctr.Main()
	os.Exit(m.Run())
}

// TestMake has containerd work with what Make made, reads the records with containerd's own reader, and checks the thin metadata.
func TestMake(t *testing.T) {
	for _, opt := range []Options{{Seed: 1}, {Seed: 2, Images: 1, Layers: 1, Containers: 1}, {Seed: 3, Images: 7, Layers: 5, Containers: 40, BaseBlocks: 300, Pool: "vg0-pool"}} {
		dir := filepath.Join(t.TempDir(), "set")
		ctx := context.Background()
		made, err := Make(ctx, dir, opt)
		if err != nil {
			t.Fatal(err)
		}
		opt, _ = opt.filled()
		if h, err := realctr.Try(ctx, dir); err != nil || h.Err() != nil || len(h.Dead) > 0 {
			t.Errorf("containerd says of %+v: %v %+v", made, err, h)
		}
		f, err := thinmeta.Open(filepath.Join(dir, thinFile))
		if err != nil {
			t.Fatal(err)
		}
		rep, err := f.Check(ctx, thinmeta.CheckOptions{})
		if err != nil || len(rep.Problems) > 0 || len(rep.Devices) != made.Snapshots || !rep.Complete {
			t.Errorf("thin metadata: %d devices of %d, %+v (%v)", len(rep.Devices), made.Snapshots, rep.Problems, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		records(t, ctx, filepath.Join(dir, opt.Pool+".db"), made)
	}
}

func records(t *testing.T, ctx context.Context, path string, made Made) {
	db, err := devmapper.NewPoolMetadata(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	pool, err := fakedm.LoadThinMeta(filepath.Join(filepath.Dir(path), thinFile), "x")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = db.WalkDevices(ctx, func(d *devmapper.DeviceInfo) error {
		n++
		if pool.Thin(d.DeviceID) == nil {
			t.Errorf("no thin device for %+v", d)
		}
		return nil
	})
	if err != nil || n != made.Snapshots {
		t.Errorf("%d records of %d (%v)", n, made.Snapshots, err)
	}
}
