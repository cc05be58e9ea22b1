package lustre

import (
	"encoding/binary"
	"fmt"
)

// LFSCKBookmark is the file lfsck_bookmark: what all parts of LFSCK on a target share.
type LFSCKBookmark struct {
	Version, Param uint16
	SpeedLimit     uint32 // objects per second, 0 for no limit
	Window         uint16
	LostFound      FID // .lustre/lost+found/MDTxxxx of the target; zero until it was made
	LastFID        FID // the last object that LFSCK made
}

// Facts of lfsck_bookmark.
const (
	LFSCKBookmarkMagic = 0x20130c1d
	LFSCKBookmarkSize  = 64

	// LFSCKDryRun is the bit of Param that says that nothing was changed.
	LFSCKDryRun = 0x4
)

// DecodeLFSCKBookmark reads lfsck_bookmark.
func DecodeLFSCKBookmark(b []byte) (LFSCKBookmark, error) {
	if len(b) < LFSCKBookmarkSize {
		return LFSCKBookmark{}, fmt.Errorf("decode lfsck_bookmark: %d bytes, want %d", len(b), LFSCKBookmarkSize)
	}
	le := binary.LittleEndian
	if m := le.Uint32(b); m != LFSCKBookmarkMagic {
		return LFSCKBookmark{}, fmt.Errorf("decode lfsck_bookmark: magic 0x%08x, want 0x%08x", m, LFSCKBookmarkMagic)
	}
	return LFSCKBookmark{
		Version: le.Uint16(b[4:]), Param: le.Uint16(b[6:]), SpeedLimit: le.Uint32(b[8:]), Window: le.Uint16(b[12:]),
		LostFound: LittleFID(b[16:]), LastFID: LittleFID(b[32:]),
	}, nil
}

// Encode gives the file.
func (m LFSCKBookmark) Encode() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(make([]byte, 0, LFSCKBookmarkSize), LFSCKBookmarkMagic)
	b = le.AppendUint16(b, m.Version)
	b = le.AppendUint16(b, m.Param)
	b = le.AppendUint32(b, m.SpeedLimit)
	b = le.AppendUint16(b, m.Window)
	b = le.AppendUint16(b, 0)
	b = m.LastFID.AppendLittle(m.LostFound.AppendLittle(b))
	return append(b, make([]byte, LFSCKBookmarkSize-len(b))...)
}

// LFSCKPosition is how far a scan came: in the object table, and in a directory.
type LFSCKPosition struct {
	Object    uint64
	Dir       FID
	DirCookie uint64
}

// String gives the position as lctl prints it.
func (p LFSCKPosition) String() string {
	switch {
	case p.Dir.IsZero() && p.Object == 0:
		return "N/A, N/A, N/A"
	case p.Dir.IsZero():
		return fmt.Sprintf("%d, N/A, N/A", p.Object)
	}
	cookie := "0"
	if p.DirCookie != 0 {
		cookie = fmt.Sprintf("%#x", p.DirCookie)
	}
	return fmt.Sprintf("%d, %v, %s", p.Object, p.Dir, cookie)
}

// LFSCKNamespace is the attribute trusted.lfsck_ns of the file lfsck_namespace: state and counters of the last run.
// Times are seconds since 1970, 0 for never. Counters not in an older form of the attribute are 0.
type LFSCKNamespace struct {
	Magic                                           uint32
	Status, Flags, SuccessCount                     uint32
	RunTime1, RunTime2                              int64 // seconds
	LastCompleted, LatestStart, LastCheckpoint      int64
	LatestStartPos, LastCheckpointPos, FirstBadPos  LFSCKPosition
	Checked1, Repaired1, Failed1, Dirs              uint64
	Checked2, Repaired2, Failed2, Nlinks            uint64
	LastScanned2                                    FID
	Dirent, LinkEA, MulLinkedChecked, MulLinked     uint64
	Unknown, Unmatched, Dangling, MulRef            uint64
	BadType, LostDirent                             uint64
	LostScanned, LostMoved, LostSkipped, LostFailed uint64
	DirsScanned, DirsRepaired, DirsFailed           uint64
	DirsDisabled, DirsSkipped                       uint64
	ShardsScanned, ShardsRepaired                   uint64
	ShardsFailed, ShardsSkipped, NameHash           uint64
	BitmapSize                                      uint32
	LatestReset                                     int64
	LinkEAOverflow, AgentEntries                    uint64
}

// Magic numbers of trusted.lfsck_ns.
const (
	LFSCKNamespaceMagic    = 0xa06249ff
	LFSCKNamespaceMagic210 = 0xa0621a0b
	LFSCKNamespaceMagic26  = 0xa0629d03 // up to 2.6; what follows the positions there is not decoded

	// LFSCKNamespaceSize is the length of the attribute since 2.10.
	LFSCKNamespaceSize = 544
)

// DecodeLFSCKNamespace reads trusted.lfsck_ns. Of the form that servers up to 2.6 wrote only the part up to the positions is read.
func DecodeLFSCKNamespace(b []byte) (LFSCKNamespace, error) {
	c := &cursor{b: b}
	n := LFSCKNamespace{Magic: c.u32(), Status: c.u32(), Flags: c.u32(), SuccessCount: c.u32()}
	switch {
	case len(b) < 152:
		return LFSCKNamespace{}, fmt.Errorf("decode trusted.lfsck_ns: %d bytes, want %d", len(b), LFSCKNamespaceSize)
	case n.Magic != LFSCKNamespaceMagic && n.Magic != LFSCKNamespaceMagic210 && n.Magic != LFSCKNamespaceMagic26:
		return LFSCKNamespace{}, fmt.Errorf("decode trusted.lfsck_ns: unknown magic 0x%08x", n.Magic)
	}
	for _, p := range []*int64{&n.RunTime1, &n.RunTime2, &n.LastCompleted, &n.LatestStart, &n.LastCheckpoint} {
		*p = int64(c.u64())
	}
	for _, p := range []*LFSCKPosition{&n.LatestStartPos, &n.LastCheckpointPos, &n.FirstBadPos} {
		*p = LFSCKPosition{c.u64(), c.fid(), c.u64()}
	}
	if n.Magic == LFSCKNamespaceMagic26 {
		return n, nil
	}
	n.counters(func(p *uint64) { *p = c.u64() }, func() { n.LastScanned2 = c.fid() })
	n.BitmapSize = c.u32()
	c.u32()
	n.LatestReset = int64(c.u64())
	n.LinkEAOverflow, n.AgentEntries = c.u64(), c.u64()
	return n, nil
}

// counters visits the counters in the order in which they are stored; fid stands for the FID among them.
func (n *LFSCKNamespace) counters(u64 func(*uint64), fid func()) {
	for _, p := range []*uint64{&n.Checked1, &n.Repaired1, &n.Failed1, &n.Dirs, &n.Checked2, &n.Repaired2, &n.Failed2, &n.Nlinks} {
		u64(p)
	}
	fid()
	for _, p := range []*uint64{
		&n.Dirent, &n.LinkEA, &n.MulLinkedChecked, &n.MulLinked, &n.Unknown, &n.Unmatched, &n.Dangling, &n.MulRef, &n.BadType,
		&n.LostDirent, &n.LostScanned, &n.LostMoved, &n.LostSkipped, &n.LostFailed, &n.DirsScanned, &n.DirsRepaired, &n.DirsFailed,
		&n.DirsDisabled, &n.DirsSkipped, &n.ShardsScanned, &n.ShardsRepaired, &n.ShardsFailed, &n.ShardsSkipped, &n.NameHash,
	} {
		u64(p)
	}
}

// Encode gives the attribute in the form of today's length, under the magic that n has.
func (n LFSCKNamespace) Encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, LFSCKNamespaceSize)
	for _, v := range []uint32{n.Magic, n.Status, n.Flags, n.SuccessCount} {
		b = le.AppendUint32(b, v)
	}
	for _, v := range []int64{n.RunTime1, n.RunTime2, n.LastCompleted, n.LatestStart, n.LastCheckpoint} {
		b = le.AppendUint64(b, uint64(v))
	}
	for _, p := range []LFSCKPosition{n.LatestStartPos, n.LastCheckpointPos, n.FirstBadPos} {
		b = le.AppendUint64(p.Dir.AppendLittle(le.AppendUint64(b, p.Object)), p.DirCookie)
	}
	n.counters(func(p *uint64) { b = le.AppendUint64(b, *p) }, func() { b = n.LastScanned2.AppendLittle(b) })
	b = le.AppendUint32(le.AppendUint32(b, n.BitmapSize), 0)
	b = le.AppendUint64(b, uint64(n.LatestReset))
	b = le.AppendUint64(le.AppendUint64(b, n.LinkEAOverflow), n.AgentEntries)
	return append(b, make([]byte, LFSCKNamespaceSize-len(b))...)
}

// cursor reads little-endian words one after the other; behind the end there are zeros.
type cursor struct {
	b  []byte
	at int
}

func (c *cursor) take(n int) []byte {
	if len(c.b)-c.at < n {
		c.at = len(c.b)
		return make([]byte, n)
	}
	c.at += n
	return c.b[c.at-n : c.at]
}

func (c *cursor) u32() uint32 { return binary.LittleEndian.Uint32(c.take(4)) }
func (c *cursor) u64() uint64 { return binary.LittleEndian.Uint64(c.take(8)) }
func (c *cursor) fid() FID    { return LittleFID(c.take(FIDSize)) }
