package thinmeta

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Offsets in the superblock: struct thin_disk_superblock of the kernel.
const (
	offSuperUUID     = 16
	offSuperDataMap  = 64
	offSuperMetaMap  = 192
	offSuperMapping  = 320
	offSuperDetails  = 328
	offSuperIncompat = 360
)

// DecodeSuperblock takes the fields from a block, whatever it holds. b has at least 368 bytes.
func DecodeSuperblock(b []byte) Superblock {
	le := binary.LittleEndian
	s := Superblock{
		Checksum: le.Uint32(b), Flags: le.Uint32(b[4:]), BlockNr: le.Uint64(b[8:]), Magic: le.Uint64(b[32:]),
		Version: le.Uint32(b[40:]), Time: le.Uint32(b[44:]), TransactionID: le.Uint64(b[48:]), HeldRoot: le.Uint64(b[56:]),
		Data: decodeMapRoot(b[offSuperDataMap:]), Metadata: decodeMapRoot(b[offSuperMetaMap:]),
		MappingRoot: le.Uint64(b[offSuperMapping:]), DetailsRoot: le.Uint64(b[offSuperDetails:]),
		DataBlockSize: le.Uint32(b[336:]), MetaBlockSize: le.Uint32(b[340:]), MetadataBlocks: le.Uint64(b[344:]),
		Compat: le.Uint32(b[352:]), CompatRO: le.Uint32(b[356:]), Incompat: le.Uint32(b[offSuperIncompat:]),
	}
	copy(s.UUID[:], b[offSuperUUID:])
	return s
}

func decodeMapRoot(b []byte) SpaceMapRoot {
	le := binary.LittleEndian
	return SpaceMapRoot{Blocks: le.Uint64(b), Allocated: le.Uint64(b[8:]), BitmapRoot: le.Uint64(b[16:]), CountRoot: le.Uint64(b[24:])}
}

// usable says whether the superblock is one of a thin pool, so that its roots are worth following.
func (s *Superblock) usable() bool { return s.Magic == Magic && s.Version == Version }

// judgeSuper says what is wrong with block 0 as such. b is the block; zeroes when the file is shorter than one block.
func (f *File) judgeSuper(b []byte) []Problem {
	var l problemList
	s := &f.super
	bad := func(want, have uint64, format string, args ...any) {
		l.add(Problem{Kind: SuperblockInvalid, Device: NoDevice, Want: want, Have: have, Text: fmt.Sprintf(format, args...)})
	}
	if f.blocks == 0 {
		bad(1, 0, "the file has no superblock: it is shorter than one block of %d bytes", BlockSize)
		return l.list
	}
	if sum := Checksum(KindSuperblock, b); sum != s.Checksum {
		text := "wrong checksum in the superblock"
		if len(bytes.TrimLeft(b, "\x00")) == 0 {
			text += ": the block is all zero"
		}
		l.add(Problem{Kind: SuperblockChecksum, Device: NoDevice, Want: uint64(sum), Have: uint64(s.Checksum), Text: text})
		l.consequence = true
	}
	if s.Magic != Magic {
		bad(Magic, s.Magic, "block 0 is not the superblock of a thin pool: magic is %d, not %d", s.Magic, Magic)
		return l.list
	}
	if s.Version != Version {
		bad(Version, uint64(s.Version), "version of the metadata is %d, not %d", s.Version, Version)
	}
	if s.BlockNr != 0 {
		bad(0, s.BlockNr, "the superblock says it is block %d", s.BlockNr)
	}
	if s.Incompat != 0 {
		bad(0, uint64(s.Incompat), "incompatible feature flags %#x are set", s.Incompat)
	}
	if s.CompatRO != 0 {
		bad(0, uint64(s.CompatRO), "feature flags %#x are set with which the kernel opens a pool for reading only", s.CompatRO)
	}
	if s.Flags&^FlagNeedsCheck != 0 {
		bad(0, uint64(s.Flags), "unknown flags %#x are set", s.Flags&^FlagNeedsCheck)
	}
	f.judgeSizes(bad)
	f.judgeRoots(bad)
	return l.list
}

// Limits of the data block size in sectors: the kernel's DATA_DEV_BLOCK_SIZE_MIN_SECTORS and _MAX_SECTORS.
const (
	minDataBlock = 128
	maxDataBlock = 2097152
)

func (f *File) judgeSizes(bad func(want, have uint64, format string, args ...any)) {
	s := &f.super
	if n := s.DataBlockSize; n < minDataBlock || n > maxDataBlock || n%minDataBlock != 0 {
		bad(minDataBlock, uint64(n), "data block size is %d sectors, not a multiple of %d up to %d", n, minDataBlock, maxDataBlock)
	}
	if s.MetaBlockSize != BlockSize/512 {
		bad(BlockSize/512, uint64(s.MetaBlockSize), "metadata block size is %d sectors, not %d", s.MetaBlockSize, BlockSize/512)
	}
	exist := uint64(max(f.size, 0)) / BlockSize
	if n := s.Metadata.Blocks; n > exist {
		bad(n, exist, "the metadata space map counts %d blocks, but only %d exist: the file or device was cut off", n, exist)
	} else if n == 0 || n > maxBlocks {
		bad(exist, n, "the metadata space map counts %d blocks", n)
	}
	// The field is not updated when a pool grows; it may be lower than what the space map counts.
	if n := s.MetadataBlocks; n > exist && s.Metadata.Blocks <= exist {
		bad(n, exist, "the superblock says there are %d metadata blocks, but only %d exist", n, exist)
	} else if n == 0 {
		bad(exist, n, "the superblock says there are no metadata blocks")
	}
	if n := s.Data.Blocks; n > maxBlocks*BitsPerBitmap {
		bad(0, n, "the data space map counts %d blocks, more than any metadata device can describe", n)
	}
	for _, m := range [...]struct {
		name string
		root SpaceMapRoot
	}{{"data", s.Data}, {"metadata", s.Metadata}} {
		// One more is normal for metadata: thin_restore counts a block twice.
		if m.root.Allocated > m.root.Blocks+1 || m.name == "data" && m.root.Allocated > m.root.Blocks {
			bad(m.root.Blocks, m.root.Allocated, "the %s space map has %d blocks of which %d are used", m.name, m.root.Blocks, m.root.Allocated)
		}
	}
}

func (f *File) judgeRoots(bad func(want, have uint64, format string, args ...any)) {
	s := &f.super
	for _, r := range [...]struct {
		name  string
		block uint64
	}{
		{"mapping tree", s.MappingRoot}, {"details tree", s.DetailsRoot}, {"data space map", s.Data.BitmapRoot},
		{"data reference counts", s.Data.CountRoot}, {"metadata space map", s.Metadata.BitmapRoot},
		{"metadata reference counts", s.Metadata.CountRoot},
	} {
		if r.block == 0 || r.block >= f.blocks {
			bad(0, r.block, "root of the %s is block %d, which cannot be: there are %d blocks", r.name, r.block, f.blocks)
		}
	}
	if s.HeldRoot >= f.blocks {
		bad(0, s.HeldRoot, "the metadata snapshot is said to be at block %d, but there are %d blocks", s.HeldRoot, f.blocks)
	}
}
