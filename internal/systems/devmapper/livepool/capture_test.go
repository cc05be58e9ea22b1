package livepool

import (
	"context"
	"os"
	"reflect"
	"slices"
	"testing"

	"fettle/internal/format/thinmeta"
	"fettle/internal/systems/devmapper/fakedm"
)

// TestCapture compares what the copy says with what the device itself says while the snapshot is held.
func TestCapture(t *testing.T) {
	m := newMachine(t)
	m.edit(func(_ *fakedm.State, p *fakedm.Pool) { // trees of two levels, and many single mappings
		for id := uint32(10); id < 400; id++ {
			if err := p.CreateSnap(id, 7); err != nil {
				t.Error(err)
			}
		}
		for v := uint64(0); v < 2000; v += 2 {
			if err := p.Write(7, v, 1); err != nil {
				t.Error(err)
			}
		}
		if err := fakedm.WriteThinMeta(p, p.Metadata); err != nil {
			t.Error(err)
		}
	})
	ctx, p := context.Background(), m.find()
	var want *thinmeta.Report
	err := p.WithSnapshot(ctx, m.desk, func(f *thinmeta.File) (err error) {
		want, err = f.Check(ctx, thinmeta.CheckOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	scratch := t.TempDir()
	c, err := p.Capture(ctx, m.desk, scratch)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if m.held() != 0 || m.marked() || !slices.Equal(m.messages(), slices.Concat(pair, pair)) {
		t.Errorf("held at %d, marked %v, messages %q", m.held(), m.marked(), m.messages())
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("scratch files have names: %v, %v", left, err)
	}
	// Whatever happens to the device now, the copy stays.
	if err := os.Truncate(p.MetadataDevice, 0); err != nil {
		t.Fatal(err)
	}
	got, err := c.File.Check(ctx, thinmeta.CheckOptions{})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\n%+v", err, got, want)
	}
	if len(got.Devices) != 393 || !got.Complete {
		t.Errorf("%d devices, complete %v", len(got.Devices), got.Complete)
	}
	for _, c2 := range []struct {
		a, b uint32
		want bool
	}{{1, 2, true}, {7, 10, true}, {1, 7, false}} {
		if shared, sure, err := c.File.Shares(ctx, c2.a, c2.b); shared != c2.want || !sure || err != nil {
			t.Errorf("devices %d and %d share: %v, %v, %v", c2.a, c2.b, shared, sure, err)
		}
	}
	if err := c.Settled(ctx); err != nil {
		t.Error(err)
	}
}

// TestCaptureDamaged: a copy of damaged metadata has the same damage, whatever the damaged blocks refer to.
func TestCaptureDamaged(t *testing.T) {
	m := newMachine(t)
	ctx, p := context.Background(), m.find()
	whole := func() (r *thinmeta.Report) {
		err := p.WithSnapshot(ctx, m.desk, func(f *thinmeta.File) (err error) {
			r, err = f.Check(ctx, thinmeta.CheckOptions{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	roots := []uint64{whole().Super.MappingRoot, whole().Super.DetailsRoot}
	for _, root := range roots {
		// The fake writes the metadata anew with each message, so that the damage goes in while the snapshot is held.
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		c := &Capture{pool: p}
		out := &copied{f: f, bad: map[uint64]error{}}
		var want *thinmeta.Report
		err = p.WithSnapshot(ctx, m.desk, func(tf *thinmeta.File) (err error) {
			dev, err := os.OpenFile(p.MetadataDevice, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer dev.Close()
			junk := make([]byte, 3000)
			for i := range junk {
				junk[i] = byte(i * 7)
			}
			if _, err := dev.WriteAt(junk, int64(root)*thinmeta.BlockSize+40); err != nil {
				return err
			}
			if want, err = tf.Check(ctx, thinmeta.CheckOptions{}); err != nil {
				return err
			}
			return c.copy(ctx, tf, out)
		})
		if err != nil {
			t.Fatal(err)
		}
		tf, err := thinmeta.New(out, out.size, p.MetadataDevice)
		if err == nil {
			err = tf.UseHeldRoot()
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := tf.Check(ctx, thinmeta.CheckOptions{})
		if err != nil || !reflect.DeepEqual(got, want) || want.Complete {
			t.Errorf("%v\n%+v\n%+v", err, got, want)
		}
	}
}

func TestCaptureReadOnly(t *testing.T) {
	m := newMachine(t)
	ctx, p := context.Background(), m.find()
	m.edit(func(_ *fakedm.State, p *fakedm.Pool) { p.ReadOnly = true })
	c, err := p.Capture(ctx, m.desk, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := c.File.Check(ctx, thinmeta.CheckOptions{})
	if err != nil || len(r.Devices) != 3 || r.DataAllocated == 0 || !c.Frozen {
		t.Errorf("%v, %+v", err, r)
	}
	if err := c.Settled(ctx); err != nil {
		t.Error(err)
	}
	m.edit(func(_ *fakedm.State, p *fakedm.Pool) { p.ReadOnly = false })
	if err := c.Settled(ctx); err == nil {
		t.Error("a pool that is writable again counts as settled")
	}
	if len(m.messages()) != 0 {
		t.Errorf("messages %q", m.messages())
	}
}
