package dmlab

import (
	"fmt"
	"math/rand/v2"

	"fettle/internal/fault"
)

// Options say what set to make. Zero values stand for the defaults.
type Options struct {
	Seed       uint64
	Pool       string // name of the pool; "containerd-pool"
	Images     int    // 3
	Layers     int    // of each image, about; 4. Every third image is built on the first layers of the one before.
	Containers int    // altogether; 10
	// Snapshots asks for about so many in all; Images and Containers follow from it: 49 snapshots for an image, four of them layers.
	Snapshots int
	// BaseBlocks is how many blocks of 64 KiB a new file system maps; 64. Layers add about a quarter of that, containers a tenth.
	BaseBlocks int
	BaseSize   uint64 // of a device in bytes; 10 GiB
}

// snapshotsPerImage is how Snapshots becomes Images.
const snapshotsPerImage = 49

func (o Options) filled() (Options, error) {
	if o.Snapshots > 0 {
		if o.Layers == 0 {
			o.Layers = 4
		}
		o.Images = max(1, o.Snapshots/snapshotsPerImage)
		o.Containers = max(1, o.Snapshots-o.Images*o.Layers)
	}
	for _, d := range []struct {
		v    *int
		def  int
		most int
	}{{&o.Images, 3, 100_000}, {&o.Layers, 4, 100}, {&o.Containers, 10, 2_000_000}, {&o.BaseBlocks, 64, 100_000}} {
		if *d.v == 0 {
			*d.v = d.def
		}
		if *d.v < 0 || *d.v > d.most {
			return o, fault.NewUsage(fmt.Errorf("cannot make a set with %d of something of which there are 1 to %d", *d.v, d.most), "")
		}
	}
	if o.Pool == "" {
		o.Pool = "containerd-pool"
	}
	if o.BaseSize == 0 {
		o.BaseSize = 10 << 30
	}
	if o.BaseSize < uint64(4*o.BaseBlocks*blockBytes) || o.BaseSize%512 != 0 {
		return o, fault.NewUsage(fmt.Errorf("devices of %d bytes have no room for file systems of %d blocks", o.BaseSize, o.BaseBlocks), "")
	}
	return o, nil
}

// Blocks of the pool's data: 64 KiB, containerd's example.
const (
	blockSectors = 128
	blockBytes   = blockSectors * 512
)

// Made says what Make made.
type Made struct {
	Images     int `json:"images"`
	Snapshots  int `json:"snapshots"`
	Containers int `json:"containers"`
	Mapped     int `json:"data_blocks"` // data blocks in use
}

func newRand(seed uint64, salt uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, salt)) }
