package thinbuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/format/thinmeta"
)

func fromDump(t testing.TB, xml string, e Edits) (string, *Comparison, error) {
	t.Helper()
	dump, err := thinmeta.ReadXML(strings.NewReader(xml), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "new")
	c, err := FromDump(context.Background(), dump, to, e)
	if _, missing := os.Stat(to); (err == nil) != (missing == nil) {
		t.Errorf("error %v, file %v", err, missing)
	}
	return to, c, err
}

// Metadata that went through XML holds the same, and trees that were the same are shared again.
func TestFromDump(t *testing.T) {
	path, want := samplePool(t, 1024, 30000)
	f, err := thinmeta.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var xml bytes.Buffer
	if err := thinmeta.WriteXML(&xml, f); err != nil {
		t.Fatal(err)
	}
	to, c, err := fromDump(t, xml.String(), Edits{MetadataBlocks: 1024})
	if err != nil {
		t.Fatal(err)
	}
	thinCheck(t, to)
	wantReader(t, to, want)
	before, after := superOf(t, path), superOf(t, to)
	// The one leaf that differs is cut at another place than the kernel would; a leaf and a branch for each snapshot.
	if after.Metadata.Allocated > before.Metadata.Allocated+4 || after.Time != before.Time || after.DataBlockSize != before.DataBlockSize {
		t.Errorf("superblock %+v, before %+v", after, before)
	}
	if len(c.Devices) != len(want) || len(c.Losses()) > 0 {
		t.Errorf("%+v", c)
	}
	to, _, err = fromDump(t, xml.String(), Edits{MetadataBlocks: 1024, Drop: map[uint32]string{2: "test"}})
	if err != nil {
		t.Fatal(err)
	}
	delete(want, 2)
	wantReader(t, to, want)
}

// Mappings beyond the data device are losses; a dump of too much is refused before it takes for ever.
func TestFromHostileDump(t *testing.T) {
	var xml strings.Builder
	xml.WriteString(`<superblock uuid="" time="1" transaction="0" flags="0" version="2" data_block_size="128" nr_data_blocks="100000">`)
	for id := range 100000 {
		fmt.Fprintf(&xml, `<device dev_id="%d" mapped_blocks="99999" transaction="0" creation_time="0" snap_time="1"><range_mapping origin_begin="0" data_begin="0" length="99999" time="0"/></device>`, id)
	}
	xml.WriteString(`</superblock>`)
	if _, _, err := fromDump(t, xml.String(), Edits{MetadataBlocks: 1024}); !errors.Is(err, ErrFull) {
		t.Errorf("10^10 mappings: %v", err)
	}
	if _, _, err := fromDump(t, xml.String(), Edits{}); err == nil {
		t.Error("no size was accepted")
	}
	small := `<superblock uuid="" time="1" transaction="0" flags="0" version="2" data_block_size="128" nr_data_blocks="100">
<device dev_id="1" mapped_blocks="40" transaction="0" creation_time="0" snap_time="1"><range_mapping origin_begin="0" data_begin="80" length="40" time="0"/></device></superblock>`
	_, c, err := fromDump(t, small, Edits{MetadataBlocks: 64})
	if err != nil {
		t.Fatal(err)
	}
	if d := c.Devices[0]; d.MappedBefore != 40 || d.MappedAfter != 20 || d.Lost == "" {
		t.Errorf("device 1: %+v", d)
	}
}
