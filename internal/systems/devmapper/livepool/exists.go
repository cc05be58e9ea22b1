package livepool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"fettle/internal/fault"
	"fettle/internal/format/thinmeta"
)

// How often a look at the live metadata is repeated when the pool commits meanwhile.
const (
	lookTries = 50
	lookPause = 20 * time.Millisecond
)

// Exists tells of each id whether the pool has a thin device with it: whether the details tree has an entry, which is what the kernel
// asks before it makes or deletes one.
//
// No message is sent. The kernel never overwrites a block that the last committed superblock reaches, so what was read is true if
// the superblock is the same before and after; otherwise it is read again. Messages to the pool commit at once, so that no
// deletion or creation is missed.
func (p *Pool) Exists(ctx context.Context, ids []uint32) (map[uint32]bool, error) {
	f, err := thinmeta.Open(p.MetadataDevice)
	if err != nil {
		hint := ""
		if errors.Is(err, os.ErrPermission) {
			hint = "run as root: the metadata device is root's"
		}
		return nil, &fault.Error{Op: "open the metadata device of pool", Where: p.Name, Err: err, Hint: hint}
	}
	out := make(map[uint32]bool, len(ids))
	for _, id := range ids {
		if out[id], err = look(ctx, f, id); err != nil {
			err = &fault.Error{Op: "look for thin device", Where: fmt.Sprintf("%s device %d", p.Name, id), Err: err}
			return nil, errors.Join(err, f.Close())
		}
	}
	if err := f.Close(); err != nil {
		return nil, &fault.Error{Op: "close the metadata device of pool", Where: p.Name, Err: err}
	}
	return out, nil
}

// look looks an id up in the committed details tree.
func look(ctx context.Context, f *thinmeta.File, id uint32) (bool, error) {
	var last error
	for range lookTries {
		before, err := superblock(f)
		if err == nil {
			var found bool
			found, err = lookup(f, before.DetailsRoot, uint64(id))
			after, again := superblock(f)
			if err == nil && again == nil && after == before {
				return found, nil
			}
			err = errors.Join(err, again)
		}
		if last = err; last == nil {
			last = errors.New("the pool is written to all the time")
		}
		if err := pause(ctx, lookPause); err != nil {
			return false, err
		}
	}
	return false, last
}

// superblock reads the superblock anew; one that is being written has a wrong checksum.
func superblock(f *thinmeta.File) (thinmeta.Superblock, error) {
	b := blockBuffer()
	if err := f.ReadBlock(b, 0); err != nil {
		return thinmeta.Superblock{}, err
	}
	s := thinmeta.DecodeSuperblock(b)
	if s.Magic != thinmeta.Magic || thinmeta.Checksum(thinmeta.KindSuperblock, b) != s.Checksum {
		return s, errors.New("the superblock is damaged")
	}
	return s, nil
}

// maxHeight is how many levels a b-tree has at most.
const maxHeight = 64

// lookup goes down a b-tree to a key.
func lookup(f *thinmeta.File, block, key uint64) (bool, error) {
	b := blockBuffer()
	for range maxHeight {
		if err := f.ReadBlock(b, block); err != nil {
			return false, err
		}
		if thinmeta.Checksum(thinmeta.KindNode, b) != binary.LittleEndian.Uint32(b) {
			return false, fmt.Errorf("metadata block %d has a wrong checksum", block)
		}
		nd, internal, ok := asNode(b)
		if !ok {
			return false, fmt.Errorf("metadata block %d is no b-tree node", block)
		}
		i := nd.find(key)
		switch {
		case i < 0:
			return false, nil
		case !internal:
			return nd.key(i) == key, nil
		}
		block = nd.val(i)
	}
	return false, fmt.Errorf("b-tree with more than %d levels", maxHeight)
}
