package thinmeta

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// WriteXML writes the metadata of a pool in the form of thin_dump, which thin_restore reads. Metadata that cannot be read completely
// is refused: an error that wraps ErrDamaged. A device without details gets the pool's time for its times, so that the kernel takes
// all of its blocks as shared.
func WriteXML(w io.Writer, p Pool) error {
	s, _ := p.Super()
	if !s.usable() {
		return fmt.Errorf("write thin XML: no usable superblock: %w", ErrDamaged)
	}
	devices, err := p.Devices()
	if err != nil {
		return fmt.Errorf("write thin XML: %w", err)
	}
	out := bufio.NewWriterSize(w, 64<<10)
	fmt.Fprintf(out, `<superblock uuid="%s" time="%d" transaction="%d" flags="%d" version="%d" data_block_size="%d" nr_data_blocks="%d">`+"\n",
		uuidText(s.UUID), s.Time, s.TransactionID, s.Flags, s.Version, s.DataBlockSize, s.Data.Blocks)
	for i := range devices {
		if err := writeDevice(out, p, &s, &devices[i]); err != nil {
			return fmt.Errorf("write thin XML: %w", err)
		}
	}
	fmt.Fprintln(out, "</superblock>")
	if err := out.Flush(); err != nil { // keeps the first error of all writes
		return fmt.Errorf("write thin XML: %w", err)
	}
	return nil
}

func writeDevice(out *bufio.Writer, p Pool, s *Superblock, d *Device) error {
	details := d.Details
	if !d.HasDetails {
		details = Details{TransactionID: s.TransactionID, CreationTime: s.Time, SnapshotTime: s.Time}
		for run, err := range p.Runs(d.ID) {
			if err != nil {
				return err
			}
			details.MappedBlocks += run.Length
		}
	}
	fmt.Fprintf(out, `  <device dev_id="%d" mapped_blocks="%d" transaction="%d" creation_time="%d" snap_time="%d">`+"\n",
		d.ID, details.MappedBlocks, details.TransactionID, details.CreationTime, details.SnapshotTime)
	for run, err := range p.Runs(d.ID) {
		switch {
		case errors.Is(err, ErrNoDevice) && !d.HasMapping:
		case err != nil:
			return err
		case run.Length == 1:
			fmt.Fprintf(out, `    <single_mapping origin_block="%d" data_block="%d" time="%d"/>`+"\n", run.Virtual, run.Data, run.Time)
		default:
			fmt.Fprintf(out, `    <range_mapping origin_begin="%d" data_begin="%d" length="%d" time="%d"/>`+"\n",
				run.Virtual, run.Data, run.Length, run.Time)
		}
	}
	_, err := fmt.Fprintln(out, "  </device>")
	return err
}

// uuidText gives the uuid where it is text. It is all zero in every pool that the kernel made.
func uuidText(uuid [16]byte) string {
	t := strings.TrimRight(string(uuid[:]), "\x00")
	for _, c := range []byte(t) {
		if c < ' ' || c > '~' || strings.IndexByte(`<>&"'`, c) >= 0 {
			return ""
		}
	}
	return t
}

var (
	_ Pool = (*File)(nil)
	_ Pool = (*Dump)(nil)
)
