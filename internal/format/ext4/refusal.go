package ext4

import (
	"fmt"
	"strings"
)

// Reason is why a file system should not be used as it is.
type Reason string

// Reasons. ReasonMountRO concerns writing only, the others reading as well.
const (
	ReasonRecovery Reason = "needs-recovery"   // the journal holds changes that are not in place: what is read is old and torn
	ReasonFeatures Reason = "unknown-features" // incompatible features that this package cannot read
	ReasonBigalloc Reason = "bigalloc"         // blocks are allocated in clusters, which this package does not know
	ReasonInUse    Reason = "mmp-busy"         // another host, or e2fsck, has it open
	ReasonMounted  Reason = "mounted"          // mounted on this machine for writing
	ReasonMountRO  Reason = "mounted-read-only"
	ReasonNotClean Reason = "not-clean" // not unmounted cleanly, or mounted now without a journal
)

// Refusal is a reason with a sentence and advice. It is an error, so that a caller who minds can return it.
type Refusal struct {
	Reason Reason
	Text   string
	Hint   string
}

// Error gives the sentence.
func (r *Refusal) Error() string { return r.Text }

// Refusals lists why the content should not be trusted or changed as it is; empty if nothing speaks against it. It reads the MMP
// block and, when the file system was opened by path, the list of mounts. The caller decides; nothing is refused here.
func (fs *FS) Refusals() []*Refusal {
	s := &fs.sb
	var list []*Refusal
	add := func(reason Reason, hint, format string, args ...any) {
		list = append(list, &Refusal{Reason: reason, Hint: hint, Text: fs.name + ": " + fmt.Sprintf(format, args...)})
	}
	if s.Incompat&IncompatRecover != 0 {
		add(ReasonRecovery, "on a copy or snapshot: mount it once on a server of its own kind, or run that distribution's e2fsck -E journal_only",
			"the journal was not replayed (needs_recovery)")
	}
	if names := unknownFeatures(s.Incompat); names != "" {
		add(ReasonFeatures, "", "unknown incompatible features: %s", names)
	}
	if s.ROCompat&ROCompatBigalloc != 0 {
		add(ReasonBigalloc, "", "it allocates clusters of %d bytes (bigalloc), which is not supported", s.ClusterSize)
	}
	if s.Incompat&IncompatMMP != 0 {
		m, err := fs.MMP()
		switch {
		case err != nil:
			add(ReasonInUse, "", "multi-mount protection is on and its block cannot be read: %v", err)
		case m.Sequence == MMPSeqFsck:
			add(ReasonInUse, "wait for e2fsck to end; clear a stale mark with tune2fs -f -E clear_mmp", "e2fsck on %s has it open (MMP)", m.Node)
		case m.Sequence != MMPSeqClean:
			add(ReasonInUse, "unmount it there; clear a stale mark with tune2fs -f -E clear_mmp",
				"it is mounted on %s (MMP sequence %#x, device %s)", m.Node, m.Sequence, m.Device)
		}
	}
	if fs.closer != nil {
		mounts, err := mountsOf(fs.name, "/proc", "/sys")
		if err != nil {
			add(ReasonMounted, "", "whether it is mounted cannot be found out: %v", err)
		}
		for _, m := range mounts {
			if m.ReadOnly {
				add(ReasonMountRO, "unmount it before it is changed", "it is mounted read-only at %s", m.Dir)
			} else {
				add(ReasonMounted, "unmount it, or use a snapshot", "it is mounted at %s", m.Dir)
			}
		}
	}
	if s.State&StateValid == 0 {
		add(ReasonNotClean, "unmount it, or run e2fsck on it", "it was not unmounted cleanly, or is mounted")
	}
	return list
}

// MMP is the decoded block of multi-mount protection.
type MMP struct {
	Sequence uint32 // MMPSeqClean when nobody has it open
	Time     int64  // of the last update, seconds since 1970
	Node     string
	Device   string
	Interval uint16 // seconds between updates
}

// MMP reads the block of multi-mount protection. Somebody who has the file system open changes Sequence every Interval seconds.
func (fs *FS) MMP() (MMP, error) {
	block := fs.sb.MMPBlock
	if !fs.BlockOK(block) {
		return MMP{}, fmt.Errorf("MMP block %d: %w", block, ErrPastEnd)
	}
	buf := make([]byte, fs.sb.BlockSize)
	if err := fs.ReadBlock(block, buf); err != nil {
		return MMP{}, fmt.Errorf("MMP block: %w", err)
	}
	if m := le.Uint32(buf); m != MMPMagic {
		return MMP{}, fmt.Errorf("MMP block %d has magic %#08x", block, m)
	}
	if fs.sums.Metadata && fs.sums.MMP(buf) != le.Uint32(buf[MMPChecksum:]) {
		return MMP{}, fmt.Errorf("MMP block %d does not match its checksum", block)
	}
	text := func(off, n int) string { return strings.ToValidUTF8(cString(buf[off:off+n]), "?") }
	return MMP{Sequence: le.Uint32(buf[MMPSeq:]), Time: int64(le.Uint64(buf[MMPTime:])), Node: text(MMPNode, 64), Device: text(MMPDevice, 32),
		Interval: le.Uint16(buf[MMPInterval:])}, nil
}
