// Command devmapper measures a check of containerd's four layers beside the tools that look at one layer each: thin_check on the thin
// metadata, and bbolt's own check on each of the three databases. All run in turn on the same set, each as a process of its own.
//
//	go run ./bench/devmapper -fettle ./fettle -runs 5 DIR...
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"fettle/bench/beside"
)

func main() {
	fettle := flag.String("fettle", "", "the binary to measure (build it with go build ./cmd/fettle)")
	runs := flag.Int("runs", 5, "how often each command runs; medians are printed")
	child := flag.String("bolt", "", "internal: check this database with bbolt")
	flag.Parse()
	var err error
	if *child != "" {
		err = boltCheck(*child)
	} else {
		err = compare(*fettle, *runs, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/devmapper:", err)
		os.Exit(1)
	}
}

// boltCheck is what "bbolt check" does.
func boltCheck(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		var all error
		for err := range tx.Check() {
			all = errors.Join(all, err)
		}
		return all
	})
}

func compare(fettle string, runs int, sets []string) error {
	if fettle == "" || len(sets) == 0 {
		return fmt.Errorf("usage: bench/devmapper -fettle BINARY DIR...")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	thinCheck, err := exec.LookPath("thin_check")
	if err != nil {
		return fmt.Errorf("%w (Debian: apt-get install thin-provisioning-tools)", err)
	}
	state, err := os.MkdirTemp("", "fettle-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	fmt.Printf("%-20s %-30s %8s %8s %9s\n", "set", "command", "wall s", "CPU s", "peak MiB")
	for _, set := range sets {
		rows := []beside.Command{{Name: "thin_check", Args: []string{thinCheck, "-q", filepath.Join(set, "thin.meta")}}}
		dbs, err := filepath.Glob(filepath.Join(set, "*.db"))
		if err != nil {
			return err
		}
		for _, db := range dbs {
			rows = append(rows, beside.Command{Name: "bbolt check " + filepath.Base(db), Args: []string{self, "-bolt", db}})
		}
		rows = append(rows, beside.Command{Name: "fettle check, all layers", Args: []string{fettle, "check", "--quiet", "--state-dir", state, "devmapper:" + set}})
		cost, err := beside.Run(rows, runs, 4)
		if err != nil {
			return err
		}
		var sum beside.Cost
		for i, m := range cost {
			if i < len(cost)-1 {
				sum.Wall, sum.CPU, sum.RSS = sum.Wall+m.Wall, sum.CPU+m.CPU, max(sum.RSS, m.RSS)
			} else {
				row(set, "the tools together", sum)
			}
			row(set, rows[i].Name, m)
		}
	}
	return nil
}

func row(set, name string, m beside.Cost) {
	fmt.Printf("%-20.20s %-30.30s %8.2f %8.2f %9.1f\n", filepath.Base(set), name, m.Wall.Seconds(), m.CPU.Seconds(), float64(m.RSS)/(1<<20))
}
