package thinmeta

import "unsafe"

// Blocks gives the number of whole metadata blocks that exist and can be used.
func (f *File) Blocks() uint64 { return f.blocks }

// ReadBlock reads one metadata block as it is into buf, which has at least BlockSize bytes: nothing of it is checked. The error is a
// *BlockError. A buffer that begins at a multiple of BlockSize in memory saves a copy.
func (f *File) ReadBlock(buf []byte, block uint64) error {
	if uintptr(unsafe.Pointer(unsafe.SliceData(buf)))%BlockSize == 0 {
		return f.readBlock(buf[:BlockSize], block)
	}
	b := alignedBuffer(BlockSize)
	if err := f.readBlock(b, block); err != nil {
		return err
	}
	copy(buf, b)
	return nil
}
