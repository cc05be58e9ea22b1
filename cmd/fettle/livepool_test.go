package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"fettle/internal/systems/devmapper/fakedm"
	"fettle/internal/systems/devmapper/realctr"
)

// scriptLivePool plays a scenario of containerd on a fake thin pool that is active, and puts the fake dmsetup into PATH: livepool ROOT WORK
// SCENARIO. The databases lie below ROOT as containerd has them, ROOT.toml is its configuration; device-mapper's state is WORK/dm.json, its
// calls are in WORK/dm.json.log. $FETTLE_BIN is a PATH without dmsetup.
func scriptLivePool(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: livepool ROOT WORK SCENARIO")
	}
	root, work := ts.MkAbs(args[0]), ts.MkAbs(args[1])
	s, ok := realctr.ByName(args[2])
	if !ok {
		ts.Fatalf("no scenario %q", args[2])
	}
	dir := filepath.Join(root, "devmapper")
	m, err := s.Run(context.Background(), dir, work)
	ts.Check(err)
	meta := filepath.Join(root, "io.containerd.metadata.v1.bolt")
	ts.Check(os.MkdirAll(meta, 0o700))
	ts.Check(os.Rename(m.DB("meta"), filepath.Join(meta, "meta.db")))
	ts.Check(os.Rename(filepath.Join(dir, "thin.meta"), filepath.Join(work, "tmeta")))
	conf := fmt.Sprintf("version = 3\nroot = %q\n[plugins.'io.containerd.snapshotter.v1.devmapper']\npool_name = %q\nroot_path = %q\n", root, m.Pool, dir)
	ts.Check(os.WriteFile(root+".toml", []byte(conf), 0o600))
	ts.Check(fakedm.Edit(m.State(), func(s *fakedm.State) error {
		s.Pool(m.Pool).Metadata = filepath.Join(work, "tmeta")
		return nil
	}))
	ts.Check(os.Remove(m.State() + ".log"))
	fettle, _, _ := strings.Cut(ts.Getenv("PATH"), string(os.PathListSeparator))
	ts.Setenv("FETTLE_BIN", fettle)
	ts.Setenv("PATH", filepath.Join(work, "bin")+string(os.PathListSeparator)+ts.Getenv("PATH"))
	ts.Setenv(fakedm.Env, m.State())
}

// scriptDM changes the fake device-mapper's state: dm WORK WORD...
//
//	readonly, writable, full   the pool; held=BLOCK, held=0 a metadata snapshot that somebody else took or released
//	open=DEVICE          the thin device becomes active and open; active=DEVICE only active
//	fault={JSON}         its fields are those of fakedm.Fault
func scriptDM(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: dm WORK WORD...")
	}
	ts.Check(fakedm.Edit(filepath.Join(ts.MkAbs(args[0]), "dm.json"), func(s *fakedm.State) error {
		p := s.Pool(realctr.PoolName)
		for _, w := range args[1:] {
			word, value, _ := strings.Cut(w, "=")
			n, err := strconv.ParseUint(value, 10, 32)
			switch word {
			case "readonly", "writable":
				p.ReadOnly, err = word == "readonly", nil
			case "full":
				p.DataBlocks, err = 0, nil
				for _, d := range p.Thins {
					for _, r := range d.Runs {
						p.DataBlocks = max(p.DataBlocks, r.Data+r.Length)
					}
				}
			case "held":
				p.HeldRoot = n
				if err == nil {
					err = fakedm.WriteThinMeta(p, p.Metadata)
				}
			case "open", "active":
				s.Minor++
				node := &fakedm.Node{Name: fmt.Sprintf("%s-snap-x%d", p.Name, n), Pool: p.Name, Device: uint32(n), Sectors: 1 << 17, Minor: s.Minor}
				if word == "open" {
					node.Open = 2
				}
				s.Nodes = append(slices.DeleteFunc(s.Nodes, func(o *fakedm.Node) bool { return o.Device == node.Device }), node)
			case "fault":
				var f fakedm.Fault
				err = json.Unmarshal([]byte(value), &f)
				s.Faults = append(s.Faults, &f)
			default:
				err = fmt.Errorf("dm: unknown word %q", word)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
}
