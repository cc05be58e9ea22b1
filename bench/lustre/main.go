// Command lustre measures a check of the MDTs of a Lustre file system beside what nobody can do without: reading the inode tables and the
// directory blocks once, in the order in which they are stored. Both run in turn on the same images, each as a process of its own; the
// stages of the check are shown by themselves, from its summary.
//
//	go run ./bench/lustre -fettle ./fettle -runs 3 DIR...
//	go run ./bench/lustre -fettle ./fettle -make 2000000 -dir /var/tmp
//
// A DIR holds mdt0.img, mdt1.img, ..., as "fettle lab make lustre" writes them.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"fettle/bench/beside"
	"fettle/internal/runs"
)

func main() {
	fettle := flag.String("fettle", "", "the binary to measure (build it with go build ./cmd/fettle)")
	times := flag.Int("runs", 3, "how often each command runs; medians are printed")
	files := flag.Int("make", 0, "make a pair of MDTs with so many files first, measure it, and remove it")
	dir := flag.String("dir", "", "where -make puts it, and where the check keeps its runs; default: the temporary directory")
	child := flag.String("read", "", "internal: read what this list says")
	flag.Parse()
	var err error
	if *child != "" {
		err = readList(*child)
	} else {
		err = compare(*fettle, *times, *files, *dir, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/lustre:", err)
		os.Exit(1)
	}
}

func compare(fettle string, times, files int, dir string, sets []string) error {
	if fettle == "" || len(sets) == 0 && files == 0 {
		return fmt.Errorf("usage: bench/lustre -fettle BINARY [-make FILES] DIR")
	}
	work, err := os.MkdirTemp(dir, "fettle-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if files > 0 {
		made := filepath.Join(work, strconv.Itoa(files))
		cmd := exec.Command(fettle, "lab", "make", "lustre", "-q", "-o", made, "--mdts", "2", "--files", strconv.Itoa(files))
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("make MDTs: %w", err)
		}
		sets = append(slices.Clone(sets), made)
	}
	fmt.Printf("%-16s %-28s %8s %8s %9s %14s %6s\n", "set", "command", "wall s", "CPU s", "peak MiB", "inodes/CPU s", "ratio")
	for i, set := range sets {
		if err := one(fettle, set, filepath.Join(work, strconv.Itoa(i)), times); err != nil {
			return fmt.Errorf("%s: %w", set, err)
		}
	}
	fmt.Println("ratio: processor time against reading")
	return nil
}

// one measures one set of images; work is a directory that it makes.
func one(fettle, set, work string, times int) error {
	images, err := filepath.Glob(filepath.Join(set, "mdt*.img"))
	if err != nil || len(images) == 0 {
		return fmt.Errorf("no mdt*.img there: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	list := filepath.Join(work, "list")
	inodes, bytes, err := writeList(list, images)
	if err != nil {
		return err
	}
	state := filepath.Join(work, "state")
	check := []string{fettle, "check", "--quiet", "--state-dir", state, "lustre:" + images[0]}
	for _, image := range images[1:] {
		check[len(check)-1] += "," + image
	}
	rows := []beside.Command{{Name: fmt.Sprintf("read %d MB", bytes/1e6), Args: []string{self, "-read", list}}, {Name: "fettle check", Args: check}}
	cost, err := beside.Run(rows, times, 4)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%d inodes", inodes)
	row := func(what string, wall, cpu float64, rss int64) {
		peak := ""
		if rss > 0 {
			peak = fmt.Sprintf("%.1f", float64(rss)/(1<<20))
		}
		fmt.Printf("%-16s %-28s %8.2f %8.2f %9s %14.0f %6.1f\n", name, what, wall, cpu, peak, float64(inodes)/max(cpu, 0.001),
			cpu/max(cost[0].CPU.Seconds(), 0.001))
		name = ""
	}
	for i, m := range cost {
		row(rows[i].Name, m.Wall.Seconds(), m.CPU.Seconds(), m.RSS)
	}
	passes, err := stages(state)
	for _, p := range passes {
		if p.CPU < 0.01 {
			continue // nothing to do in a sound file system
		}
		row("  "+p.Pass, p.Seconds, p.CPU, 0)
	}
	return err
}

// stages gives the medians of what each pass took in the runs that were measured, all but the first.
func stages(state string) ([]runs.PassSummary, error) {
	dir, err := runs.Open(state)
	if err != nil {
		return nil, err
	}
	all, err := dir.List()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *runs.Run) int { return a.Spec().Started.Compare(b.Spec().Started) })
	var order []string
	wall, cpu := map[string][]float64{}, map[string][]float64{}
	for _, r := range all[min(1, len(all)):] {
		sum, err := r.Summary()
		if err != nil {
			return nil, err
		}
		for _, p := range sum.ByUnit[0].Passes {
			if wall[p.Pass] == nil {
				order = append(order, p.Pass)
			}
			wall[p.Pass], cpu[p.Pass] = append(wall[p.Pass], p.Seconds), append(cpu[p.Pass], p.CPU)
		}
	}
	var out []runs.PassSummary
	for _, pass := range order {
		slices.Sort(wall[pass])
		slices.Sort(cpu[pass])
		out = append(out, runs.PassSummary{Pass: pass, Seconds: wall[pass][len(wall[pass])/2], CPU: cpu[pass][len(cpu[pass])/2]})
	}
	return out, nil
}
