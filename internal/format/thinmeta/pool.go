package thinmeta

import (
	"context"
	"iter"
)

// Pool is what can be asked of a thin pool's metadata in either form: raw (File) or as XML (Dump).
type Pool interface {
	// Super gives the superblock and what is wrong with it. XML has only some of its fields.
	Super() (Superblock, []Problem)
	// Devices lists the devices in the order of their ids; the error wraps ErrDamaged when the list is incomplete.
	Devices() ([]Device, error)
	// Runs gives the mappings of a device in virtual order.
	Runs(id uint32) iter.Seq2[Run, error]
	// Shares says whether two devices map at least one common data block, and whether everything was looked at.
	Shares(ctx context.Context, a, b uint32) (shared, complete bool, err error)
}
