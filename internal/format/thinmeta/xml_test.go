package thinmeta

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const smallXML = `<?xml version="1.0"?>
<!-- shared > "subtrees -->
<superblock uuid="a&lt;b" time="3" transaction="0" flags="0" version="2" data_block_size="128" nr_data_blocks="100">
  <def name="a">
    <range_mapping origin_begin="0" data_begin="10" length="5" time="1"/>
  </def>
  <def name='b'>
    <ref name="a"/>
    <single_mapping origin_block="9" data_block="20" time="1"/>
  </def>
  <device dev_id="7" mapped_blocks="7" transaction="0" creation_time="1" snap_time="2">
    <ref name="b"/>
    <single_mapping origin_block="10" data_block="21" time="1"/>
  </device>
  <device dev_id="3" mapped_blocks="6" transaction="0" creation_time="2" snap_time="2">
    <ref name="a"/>
    <single_mapping origin_block="100" data_block="30" time="2"/>
  </device>
  <device dev_id="4" mapped_blocks="1" transaction="0" creation_time="2" snap_time="2">
    <single_mapping origin_block="0" data_block="31" time="3"/>
  </device>
  <device dev_id="5" mapped_blocks="0" transaction="0" creation_time="2" snap_time="2"/>
</superblock>
`

func TestXMLWithDefinitions(t *testing.T) {
	d, err := ReadXML(strings.NewReader(smallXML), int64(len(smallXML))+1)
	if err != nil {
		t.Fatal(err)
	}
	devices, _ := d.Devices()
	want := []Device{
		{ID: 3, Mapped: 6, Exclusive: 1, Highest: 101, Newest: 2, Details: Details{MappedBlocks: 6, CreationTime: 2, SnapshotTime: 2}},
		{ID: 4, Mapped: 1, Exclusive: 1, Highest: 1, Newest: 3, Details: Details{MappedBlocks: 1, CreationTime: 2, SnapshotTime: 2}},
		{ID: 5, Details: Details{CreationTime: 2, SnapshotTime: 2}},
		{ID: 7, Mapped: 7, Exclusive: 2, Highest: 11, Newest: 1, Details: Details{MappedBlocks: 7, CreationTime: 1, SnapshotTime: 2}},
	}
	for i, w := range want {
		w.HasDetails, w.HasMapping = true, true
		if devices[i] != w {
			t.Errorf("%+v, want %+v", devices[i], w)
		}
	}
	var runs []Run
	for r, err := range d.Runs(7) {
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	if len(runs) != 2 || runs[0] != (Run{0, 10, 5, 1}) || runs[1] != (Run{9, 20, 2, 1}) {
		t.Errorf("%+v", runs)
	}
	for _, c := range []struct {
		a, b   uint32
		shared bool
	}{{7, 3, true}, {3, 4, false}, {5, 7, false}} {
		if got, complete, err := d.Shares(context.Background(), c.a, c.b); got != c.shared || !complete || err != nil {
			t.Errorf("%+v: %v %v %v", c, got, complete, err)
		}
	}
	if s, _ := d.Super(); !bytes.HasPrefix(s.UUID[:], []byte("a<b\x00")) {
		t.Errorf("uuid %q", s.UUID)
	}
	if r := d.Report(); len(r.Problems) > 0 || r.DataUsed != 9 || r.Mappings != 9 {
		t.Errorf("%d blocks, %d mappings, %q", r.DataUsed, r.Mappings, said(r))
	}
}

func TestXMLProblems(t *testing.T) {
	text := strings.NewReplacer(`mapped_blocks="7"`, `mapped_blocks="8"`, `data_block="31"`, `data_block="100"`, `flags="0"`, `flags="1"`).Replace(smallXML)
	d, err := ReadXML(strings.NewReader(text), 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(said(d.Report()), ", "); got != "needs-check 0, node-invalid dev 4, mapped-blocks-wrong dev 7" {
		t.Error(got)
	}
}

func TestMalformedXML(t *testing.T) {
	for _, c := range []struct {
		name, old, new, want string
	}{
		{"cut off", "</superblock>\n", "", "line 23: the input ends before"},
		{"cut off in a tag", "</superblock>\n", "</superb", "line 23: the input ends inside an element"},
		{"not XML", `<?xml version="1.0"?>`, "hello", "line 1: text 'h'"},
		{"not a number", `length="5"`, `length="5x"`, "line 5: attribute length"},
		{"no attribute", ` length="5"`, ``, `line 5: <range_mapping> has no attribute "length"`},
		{"too long", `length="5"`, `length="18446744073709551615"`, "line 5: mapping of"},
		{"out of order", `origin_block="10"`, `origin_block="9"`, "line 13: mapping of virtual block 9 comes after"},
		{"twice", `dev_id="3"`, `dev_id="7"`, "line 15: device 7 comes twice"},
		{"id", `dev_id="3"`, `dev_id="16777216"`, "line 15: attribute dev_id"},
		{"not defined", `<ref name="b"/>`, `<ref name="c"/>`, `line 12: reference to "c"`},
		{"unknown", `<ref name="b"/>`, `<what/>`, "line 12: unknown element <what>"},
		{"no quotes", `length="5"`, `length=5`, "line 5: value of attribute"},
		{"wrong end", "  </device>\n  <device dev_id=\"3\"", "  </def>\n  <device dev_id=\"3\"", "line 14: </def> has no beginning"},
		{"two superblocks", "</superblock>\n", "</superblock>\n<superblock/>", "line 24: <superblock> is not allowed here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(smallXML, c.old) {
				t.Fatalf("no %q in the text", c.old)
			}
			_, err := ReadXML(strings.NewReader(strings.Replace(smallXML, c.old, c.new, 1)), 0)
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, err := ReadXML(strings.NewReader(smallXML), 500); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("limit: %v", err)
	}
}

// TestRestore lets thin_restore take what WriteXML writes, and reads the result.
func TestRestore(t *testing.T) {
	tool, err := exec.LookPath("thin_restore")
	if err != nil {
		t.Skip("thin_restore is not installed")
	}
	m, _ := smallPool().make()
	f := openImage(t, m.image())
	dir := t.TempDir()
	var text bytes.Buffer
	if err := WriteXML(&text, f); err != nil {
		t.Fatal(err)
	}
	xml, meta := filepath.Join(dir, "pool.xml"), filepath.Join(dir, "pool.meta")
	if err := os.WriteFile(xml, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(meta, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "-q", "-i", xml, "-o", meta).CombinedOutput(); err != nil {
		t.Fatalf("thin_restore: %v: %s", err, out)
	}
	restored, err := Open(meta)
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	r, err := restored.Check(context.Background(), CheckOptions{})
	if err != nil || len(r.Problems) > 0 || !r.Complete {
		t.Fatalf("%v: %q", err, said(r))
	}
	var again bytes.Buffer
	if err := WriteXML(&again, restored); err != nil || !bytes.Equal(text.Bytes(), again.Bytes()) {
		t.Errorf("%v: restored pool differs:\n%s\n%s", err, text.Bytes(), again.Bytes())
	}
}

func FuzzReadXML(f *testing.F) {
	f.Add([]byte(smallXML))
	f.Add([]byte(smallXML[:300]))
	f.Add([]byte(`<superblock time="0" transaction="0" data_block_size="128" nr_data_blocks="0"/>`))
	f.Add([]byte("<!-- <"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ReadXML(bytes.NewReader(text), int64(len(text))+1)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		devices, _ := d.Devices()
		for _, dev := range devices {
			next, mapped := uint64(0), uint64(0)
			for r, err := range d.Runs(dev.ID) {
				if err != nil || r.Length == 0 || r.Virtual < next {
					t.Fatalf("run %+v: %v", r, err)
				}
				next, mapped = r.Virtual+r.Length, mapped+r.Length
			}
			if mapped != dev.Mapped {
				t.Fatalf("%d mapped, want %d", mapped, dev.Mapped)
			}
		}
		d.Report()
		var out bytes.Buffer
		if err := WriteXML(&out, d); err != nil {
			if errors.Is(err, ErrDamaged) && d.super.Version != Version {
				return
			}
			t.Fatal(err)
		}
		again, err := ReadXML(&out, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, dev := range devices {
			if i, ok := again.find(dev.ID); !ok || again.byID[i].details != dev.Details {
				t.Fatalf("device %d changed", dev.ID)
			}
		}
	})
}
