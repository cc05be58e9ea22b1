package devmapper

import (
	"math"
	"testing"

	"fettle/internal/format/thinmeta"
)

// A damaged key of a mapping can be any number; what it needs is never counted round to little.
func TestReach(t *testing.T) {
	for _, c := range []struct {
		highest, block, want uint64
		possible             bool
	}{
		{0, 65536, 0, true},
		{160, 65536, 160 * 65536, true},
		{1<<47 - 1, 65536, 1<<63 - 65536, true},
		{1 << 47, 65536, 0, false},
		{1 << 48, 65536, 0, false},
		{math.MaxUint64, 65536, 0, false},
		{math.MaxUint64, 0, 0, true}, // the superblock does not say how large blocks are
	} {
		if n, ok := reach(&thinmeta.Device{Highest: c.highest}, c.block); n != c.want || ok != c.possible {
			t.Errorf("%d blocks of %d bytes: %d, %v", c.highest, c.block, n, ok)
		}
	}
}
