//go:build linux

// Command match measures package match over several decades of claims and prints a
// table: claims, wall time, CPU per claim, peak memory, bytes spilled.
//
// Every row runs in a process of its own, so that its peak memory and CPU time are
// its own (getrusage). Each claim has a 20-byte subject and an 8-byte payload; each
// subject has two claims, added far apart in unrelated orders, and the run checks
// that every group comes out with exactly these two. CPU time includes making the
// claims, which the column "making" shows alone.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"fettle/internal/claim"
	"fettle/internal/match"
)

// settings are the flags.
type settings struct {
	sizes   string
	dir     string
	memory  int64
	workers int
	hot     bool
	child   int64
}

// row is what a child reports, as JSON on its standard output.
type row struct {
	Claims  int64
	Wall    time.Duration
	Adding  time.Duration // CPU up to the start of Groups, making included
	Making  time.Duration // CPU of making the claims alone
	CPU     time.Duration // all, but a second making
	PeakRSS int64         // bytes
	Spilled int64         // bytes
	Split   int64         // bytes
	Groups  int64
}

func main() {
	var s settings
	flag.StringVar(&s.sizes, "n", "1e5,1e6,1e7", "numbers of claims, separated by commas")
	flag.StringVar(&s.dir, "dir", os.TempDir(), "where the temporary spill directory goes")
	flag.Int64Var(&s.memory, "memory", match.DefaultMemory, "memory budget in bytes")
	flag.IntVar(&s.workers, "workers", 1, "goroutines adding and grouping")
	flag.BoolVar(&s.hot, "hot", false, "give half of all claims to a single subject")
	flag.Int64Var(&s.child, "child", 0, "measure this many claims and print JSON (used by the command itself)")
	flag.Parse()
	run := parent
	if s.child > 0 {
		run = child
	}
	if err := run(s); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// parent runs one child per size and prints the table.
func parent(s settings) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Printf("budget %d MiB, %d worker(s), hot key: %v\n\n", s.memory>>20, s.workers, s.hot)
	fmt.Printf("| %11s | %8s | %13s | %6s | %6s | %5s | %8s | %11s | %9s |\n", "claims", "wall s", "CPU us/claim", "making", "add", "group", "peak MiB", "spilled MB", "split MB")
	fmt.Println("|------------:|---------:|--------------:|-------:|-------:|------:|---------:|------------:|----------:|")
	for _, text := range strings.Split(s.sizes, ",") {
		n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || n < 2 || n > 1e12 {
			return fmt.Errorf("-n: %q is not a number of claims", text)
		}
		if err := enoughRoom(s.dir, int64(n)); err != nil {
			return err
		}
		cmd := exec.Command(self, "-child", strconv.FormatInt(int64(n), 10), "-dir", s.dir, "-memory", strconv.FormatInt(s.memory, 10),
			"-workers", strconv.Itoa(s.workers), "-hot="+strconv.FormatBool(s.hot))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("measure %s claims: %w", text, err)
		}
		var r row
		if err := json.Unmarshal(out, &r); err != nil {
			return fmt.Errorf("measure %s claims: %w", text, err)
		}
		each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(r.Claims) }
		fmt.Printf("| %11d | %8.2f | %13.3f | %6.3f | %6.3f | %5.3f | %8.1f | %11.1f | %9.1f |\n", r.Claims, r.Wall.Seconds(), each(r.CPU), each(r.Making),
			each(r.Adding-r.Making), each(r.CPU-r.Adding), float64(r.PeakRSS)/(1<<20), float64(r.Spilled)/1e6, float64(r.Split)/1e6)
	}
	return nil
}

// enoughRoom refuses to fill a disk: a claim takes 41 bytes at most here, and twice
// that while a partition is split.
func enoughRoom(dir string, claims int64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < 2*41*claims+1<<30 {
		return fmt.Errorf("%s has %d MB free, not enough for %d claims", dir, free/1e6, claims)
	}
	return nil
}

// child measures one size in this process.
func child(s settings) (err error) {
	debug.SetMemoryLimit(s.memory)
	runtime.GOMAXPROCS(s.workers)
	dir, err := os.MkdirTemp(s.dir, "fettle-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	started := usage().cpu
	making(s)
	r := row{Claims: s.child, Making: usage().cpu - started}

	begin, base := time.Now(), usage().cpu
	m, err := match.New(match.Options{Dir: dir, Memory: s.memory, Writers: s.workers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := add(m, s); err != nil {
		return err
	}
	r.Adding = usage().cpu - base
	if r.Groups, err = group(m, s); err != nil {
		return err
	}
	end := usage()
	r.CPU, r.Wall, r.PeakRSS = end.cpu-base, time.Since(begin), end.rss
	st := m.Stats()
	r.Spilled, r.Split = st.Spilled, st.Split
	return json.NewEncoder(os.Stdout).Encode(r)
}

// making is what it costs to make the claims, in the same way as add.
func making(s settings) {
	var sum uint64
	buf := make([]byte, 28)
	for i := range s.child {
		c := makeClaim(buf, i, s)
		sum += c.Witness.At
	}
	runtime.KeepAlive(sum)
}

// add adds all claims through one writer per worker.
func add(m *match.Matcher, s settings) error {
	var wg sync.WaitGroup
	errs := make([]error, s.workers)
	for k := range s.workers {
		wg.Go(func() {
			errs[k] = addSlice(m, s, int64(k))
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func addSlice(m *match.Matcher, s settings, k int64) error {
	w, err := m.Writer()
	if err != nil {
		return err
	}
	buf := make([]byte, 28)
	for i := k; i < s.child; i += int64(s.workers) {
		if err := w.Add(makeClaim(buf, i, s)); err != nil {
			return err
		}
	}
	return w.Close()
}

// makeClaim makes claim i in buf. Claims i and n-1-i are about one subject. With
// -hot, odd ones among the first half are about subject 0 instead, with theirs.
func makeClaim(buf []byte, i int64, s settings) claim.Claim {
	id := uint64(min(i, s.child-1-i))
	if s.hot && id%2 == 1 {
		id = 0
	}
	binary.LittleEndian.PutUint64(buf, spread(id))
	binary.LittleEndian.PutUint64(buf[8:], spread(^id))
	binary.LittleEndian.PutUint32(buf[16:], uint32(id))
	binary.LittleEndian.PutUint64(buf[20:], uint64(i))
	kind := claim.Kind(1)
	if i >= s.child/2 {
		kind = 2
	}
	return claim.Claim{Subject: buf[:20], Kind: kind, Witness: claim.Witness{Target: 1, At: uint64(i) * 41}, Says: buf[20:]}
}

// spread mixes a number so that subjects look like digests.
func spread(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0x9e3779b97f4a7c15, 0xd1342543de82ef95)
	return hi ^ lo
}

// group counts the groups and checks each.
func group(m *match.Matcher, s settings) (int64, error) {
	var groups, claims atomic.Int64
	err := m.Groups(context.Background(), match.Pass{Workers: s.workers}, func(g match.Group) error {
		groups.Add(1)
		claims.Add(g.Len)
		if g.Huge {
			return countHuge(g)
		}
		if g.Len != 2 || g.Claims[0].Kind != 1 || g.Claims[1].Kind != 2 {
			return fmt.Errorf("subject %v has %d claims", g.Subject, g.Len)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if claims.Load() != s.child {
		return 0, fmt.Errorf("%d claims came back of %d", claims.Load(), s.child)
	}
	return groups.Load(), nil
}

func countHuge(g match.Group) error {
	var n int64
	for _, err := range g.All() {
		if err != nil {
			return err
		}
		n++
	}
	if n != g.Len {
		return fmt.Errorf("subject %v has %d claims, %d came", g.Subject, g.Len, n)
	}
	return nil
}

// used is what the process has used so far.
type used struct {
	cpu time.Duration // user and system
	rss int64         // peak, bytes
}

func usage() used {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // cannot fail for RUSAGE_SELF and a valid pointer
	}
	return used{cpu: time.Duration(u.Utime.Nano() + u.Stime.Nano()), rss: u.Maxrss << 10}
}
