package lustre

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// MountData is the file CONFIGS/mountdata: what target this is.
type MountData struct {
	Flags, Index uint32
	MountType    uint32
	FSName       string // such as "t32fs"
	Service      string // such as "t32fs-MDT0001"; before registration ':' or '=' stand for '-'
	MountOptions string
	Params       string // key=value pairs separated by blanks
}

// Facts of CONFIGS/mountdata.
const (
	MountDataMagic = 0x1dd00001
	MountDataSize  = 12288

	TargetMDT    = 0x1
	TargetOST    = 0x2
	TargetMGS    = 0x4
	TargetVirgin = 0x20 // never registered with the MGS
)

// DecodeMountData reads CONFIGS/mountdata. A file that ends after the names is accepted.
func DecodeMountData(b []byte) (MountData, error) {
	if len(b) < 160 {
		return MountData{}, fmt.Errorf("decode CONFIGS/mountdata: %d bytes, want %d", len(b), MountDataSize)
	}
	le := binary.LittleEndian
	if m := le.Uint32(b); m != MountDataMagic {
		return MountData{}, fmt.Errorf("decode CONFIGS/mountdata: magic 0x%08x, want 0x%08x", m, MountDataMagic)
	}
	return MountData{
		Flags: le.Uint32(b[20:]), Index: le.Uint32(b[24:]), MountType: le.Uint32(b[28:]),
		FSName: field(b, 32, 64), Service: field(b, 96, 64), MountOptions: field(b, 4096, 4096), Params: field(b, 8192, 4096),
	}, nil
}

// Encode gives the whole file. Texts that are too long are cut.
func (m MountData) Encode() []byte {
	b := make([]byte, MountDataSize)
	le := binary.LittleEndian
	le.PutUint32(b, MountDataMagic)
	le.PutUint32(b[20:], m.Flags)
	le.PutUint32(b[24:], m.Index)
	le.PutUint32(b[28:], m.MountType)
	copy(b[32:95], m.FSName)
	copy(b[96:159], m.Service)
	copy(b[4096:8191], m.MountOptions)
	copy(b[8192:12287], m.Params)
	return b
}

// field is the text of up to n bytes at an offset, to the first NUL, as far as b goes.
func field(b []byte, at, n int) string {
	if at >= len(b) {
		return ""
	}
	text, _, _ := bytes.Cut(b[at:min(at+n, len(b))], []byte{0})
	return string(text)
}

// LastRcvd is the header of the file last_rcvd.
type LastRcvd struct {
	UUID        string // such as "t32fs-MDT0001_UUID"
	LastTransno uint64
	MountCount  uint64
	// Feature words: see lr_server_data in lustre_disk.h.
	Compat, ROCompat, Incompat uint32
	ServerSize, ClientStart    uint32
	ClientSize, Subdirs        uint16
	Index                      uint32 // of the target
}

// LastRcvdSize is the length of the header; records of clients follow at ClientStart.
const LastRcvdSize = 512

// DecodeLastRcvd reads the header of last_rcvd.
func DecodeLastRcvd(b []byte) (LastRcvd, error) {
	if len(b) < LastRcvdSize {
		return LastRcvd{}, fmt.Errorf("decode last_rcvd: %d bytes, the header has %d", len(b), LastRcvdSize)
	}
	le := binary.LittleEndian
	return LastRcvd{
		UUID: field(b, 0, 40), LastTransno: le.Uint64(b[40:]), MountCount: le.Uint64(b[56:]),
		Compat: le.Uint32(b[64:]), ROCompat: le.Uint32(b[68:]), Incompat: le.Uint32(b[72:]),
		ServerSize: le.Uint32(b[76:]), ClientStart: le.Uint32(b[80:]), ClientSize: le.Uint16(b[84:]), Subdirs: le.Uint16(b[86:]),
		Index: le.Uint32(b[140:]),
	}, nil
}

// Encode gives the header, with zeros in the fields that LastRcvd does not have.
func (l LastRcvd) Encode() []byte {
	b := make([]byte, LastRcvdSize)
	le := binary.LittleEndian
	copy(b[:39], l.UUID)
	le.PutUint64(b[40:], l.LastTransno)
	le.PutUint64(b[56:], l.MountCount)
	le.PutUint32(b[64:], l.Compat)
	le.PutUint32(b[68:], l.ROCompat)
	le.PutUint32(b[72:], l.Incompat)
	le.PutUint32(b[76:], l.ServerSize)
	le.PutUint32(b[80:], l.ClientStart)
	le.PutUint16(b[84:], l.ClientSize)
	le.PutUint16(b[86:], l.Subdirs)
	le.PutUint32(b[140:], l.Index)
	return b
}
