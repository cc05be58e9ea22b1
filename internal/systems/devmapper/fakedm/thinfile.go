package fakedm

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"

	"fettle/internal/format/thinmeta"
)

type xmlSuper struct {
	XMLName    xml.Name    `xml:"superblock"`
	UUID       string      `xml:"uuid,attr"`
	Time       uint32      `xml:"time,attr"`
	Trans      uint64      `xml:"transaction,attr"`
	Version    int         `xml:"version,attr"`
	BlockSize  uint32      `xml:"data_block_size,attr"`
	DataBlocks uint64      `xml:"nr_data_blocks,attr"`
	Devices    []xmlDevice `xml:"device"`
}

type xmlDevice struct {
	ID      uint32   `xml:"dev_id,attr"`
	Mapped  uint64   `xml:"mapped_blocks,attr"`
	Trans   uint64   `xml:"transaction,attr"`
	Created uint32   `xml:"creation_time,attr"`
	Snapped uint32   `xml:"snap_time,attr"`
	Maps    []xmlMap `xml:",any"`
}

type xmlMap struct {
	XMLName xml.Name
	Origin  uint64 `xml:"origin_begin,attr"`
	Data    uint64 `xml:"data_begin,attr"`
	Length  uint64 `xml:"length,attr"`
	OriginB uint64 `xml:"origin_block,attr"`
	DataB   uint64 `xml:"data_block,attr"`
	Time    uint32 `xml:"time,attr"`
}

// WriteThinMeta writes the pool's metadata to path as the kernel would have it on its metadata device.
func WriteThinMeta(p *Pool, path string) error {
	s := xmlSuper{Time: p.Time, Trans: p.TransactionID, Version: 2, BlockSize: p.BlockSectors, DataBlocks: p.DataBlocks}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<superblock uuid="" time="%d" transaction="%d" version="2" data_block_size="%d" nr_data_blocks="%d">`+"\n", s.Time, s.Trans, s.BlockSize, s.DataBlocks)
	for _, t := range p.Thins {
		fmt.Fprintf(&b, ` <device dev_id="%d" mapped_blocks="%d" transaction="%d" creation_time="%d" snap_time="%d">`+"\n", t.ID, t.Mapped(), t.TransactionID, t.Created, t.Snapped)
		for _, r := range t.Runs {
			fmt.Fprintf(&b, `  <range_mapping origin_begin="%d" data_begin="%d" length="%d" time="%d"/>`+"\n", r.Virtual, r.Data, r.Length, r.Time)
		}
		fmt.Fprintln(&b, " </device>")
	}
	fmt.Fprintln(&b, "</superblock>")
	if err := os.WriteFile(path+".xml", b.Bytes(), 0o600); err != nil {
		return err
	}
	defer os.Remove(path + ".xml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(path, int64(p.MetaBlocks*thinmeta.BlockSize)); err != nil {
		return err
	}
	if out, err := exec.Command("thin_restore", "-q", "-i", path+".xml", "-o", path).CombinedOutput(); err != nil {
		return fmt.Errorf("thin_restore: %w: %s", err, out)
	}
	return nil
}

// LoadThinMeta makes a pool, not active, from the metadata in a file.
func LoadThinMeta(path, name string) (*Pool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	out, err := exec.Command("thin_dump", path).Output()
	if err != nil {
		return nil, fmt.Errorf("thin_dump: %w", err)
	}
	var s xmlSuper
	if err := xml.Unmarshal(out, &s); err != nil {
		return nil, err
	}
	p := NewPool(name, 0, uint64(info.Size()))
	p.Active, p.Metadata = false, path
	p.Time, p.TransactionID, p.BlockSectors, p.DataBlocks = s.Time, s.Trans, s.BlockSize, s.DataBlocks
	for _, d := range s.Devices {
		t := &Thin{ID: d.ID, TransactionID: d.Trans, Created: d.Created, Snapped: d.Snapped}
		for _, m := range d.Maps {
			r := thinmeta.Run{Virtual: m.Origin, Data: m.Data, Length: m.Length, Time: m.Time}
			if m.XMLName.Local == "single_mapping" {
				r = thinmeta.Run{Virtual: m.OriginB, Data: m.DataB, Length: 1, Time: m.Time}
			}
			t.Runs = append(t.Runs, r)
		}
		p.Thins = append(p.Thins, t)
	}
	return p, nil
}
