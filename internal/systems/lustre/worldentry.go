package lustre

import (
	"bytes"
	"encoding/binary"
	"sync"

	"fettle/internal/format/ext4"
	"fettle/internal/format/lustre"
)

// entry reads a directory entry again.
func (w *world) entry(mdt int, dir uint32, at int64) written {
	e := w.rawEntry(mdt, at)
	if len(e) < ext4.DirentHeader {
		return written{text: "?"}
	}
	end := min(ext4.DirentHeader+int(e[ext4.DirentNameLen]), len(e))
	out := written{text: string(e[ext4.DirentName:end]), typ: e[ext4.DirentType], ino: binary.LittleEndian.Uint32(e)}
	if w.dirdata[mdt] {
		out.fid, out.hasFID = lustre.EntryFID(out.typ, e[end:])
		out.typ &= lustre.DirTypeMask
	}
	out.parent, out.sure = w.fidAt(place{mdt, dir})
	return out
}

// rawEntry gives the bytes of the entry at a byte of the target, nil if there is none.
func (w *world) rawEntry(mdt int, at int64) []byte {
	fs := w.targets[mdt].fs
	size := int64(fs.Super().BlockSize)
	if at < 0 {
		return nil
	}
	block := entryBlocks.Get().(*[]byte)
	defer entryBlocks.Put(block)
	if int64(cap(*block)) < size {
		*block = make([]byte, size)
	}
	buf := (*block)[:size]
	if fs.ReadBlock(uint64(at/size), buf) != nil {
		return nil
	}
	e := buf[at%size:]
	if len(e) < ext4.DirentHeader {
		return nil
	}
	if n := int(binary.LittleEndian.Uint16(e[ext4.DirentRecLen:])); n >= ext4.DirentMin && n <= len(e) {
		e = e[:n]
	}
	return bytes.Clone(e)
}

// entryBlocks are blocks for rawEntry, which is called for each record that is looked at again.
var entryBlocks = sync.Pool{New: func() any { return new([]byte) }}
