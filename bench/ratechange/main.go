//go:build linux

// Command ratechange measures how a running check follows its limit: it sets a limit in the pass that it was asked for, doubles it and halves it
// (to twice and to half of the first), and looks every second at what was done and at the speed that fettle status shows.
//
//	go build -o /tmp/fettle ./cmd/fettle
//	go run ./bench/ratechange -fettle /tmp/fettle -pass match -rate 20000 lustre:mdt0.img,mdt1.img
//
// For each limit it prints after how many seconds the measured and the shown speed are within 10 % of it for good, and both speeds over
// the rest. The store has to be large enough for the pass to last three times -each. The check is stopped at the end, its run is removed.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// settings are the flags.
type settings struct {
	fettle, pass, store, state string
	rate, bytes                int64
	each                       time.Duration
}

// status is what is needed of fettle status --json.
type status struct {
	State   string    `json:"state"`
	Pass    string    `json:"pass"`
	Updated time.Time `json:"updated"`
	Records int64     `json:"records"`
	Bytes   int64     `json:"bytes"`
	Speed   float64   `json:"records_per_s"`
	Flow    float64   `json:"bytes_per_s"`
}

func main() {
	var s settings
	flag.StringVar(&s.fettle, "fettle", "fettle", "the program")
	flag.StringVar(&s.pass, "pass", "sweep", "the pass to measure in")
	flag.Int64Var(&s.rate, "rate", 20_000, "first limit in records per second")
	flag.Int64Var(&s.bytes, "bytes", 0, "first limit in bytes per second, instead of -rate")
	flag.DurationVar(&s.each, "each", 15*time.Second, "how long each limit is watched")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: ratechange [flags] STORE")
		os.Exit(2)
	}
	s.store = flag.Arg(0)
	if err := s.measure(); err != nil {
		fmt.Fprintln(os.Stderr, "ratechange:", err)
		os.Exit(1)
	}
}

func (s *settings) measure() (err error) {
	if s.state, err = os.MkdirTemp("", "ratechange"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.state)) }()
	check := exec.Command(s.fettle, "--state-dir", s.state, "--quiet", "check", s.store)
	if err := check.Start(); err != nil {
		return err
	}
	defer func() {
		check.Process.Signal(os.Interrupt) // it may have ended
		check.Wait()                       // its exit code says that it was stopped
	}()
	if err := s.await(); err != nil {
		return err
	}
	first := max(s.rate, 1)
	if s.bytes > 0 {
		first = s.bytes
	}
	fmt.Printf("%-10s %12s %16s %12s %14s %12s\n", "pass", "limit", "measured within", "shown within", "measured", "shown")
	for _, limit := range []int64{first, 2 * first, first / 2} {
		if err := s.follow(limit); err != nil {
			return err
		}
	}
	return nil
}

// await waits until the pass has begun.
func (s *settings) await() error {
	for range 6000 {
		if st, err := s.look(); err == nil && st.Pass == s.pass {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("pass %s never began", s.pass)
}

// look reads the status of the check.
func (s *settings) look() (status, error) {
	var st status
	out, err := exec.Command(s.fettle, "--state-dir", s.state, "--json", "status", "last").Output()
	if err != nil {
		return st, fmt.Errorf("fettle status: %w", err)
	}
	return st, json.Unmarshal(out, &st)
}

// limit sets a limit.
func (s *settings) limit(n int64) error {
	args := []string{"--state-dir", s.state, "rate", "last", strconv.FormatInt(n, 10)}
	if s.bytes > 0 {
		args = append(args[:4], "--bytes", strconv.FormatInt(n, 10))
	}
	if out, err := exec.Command(s.fettle, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("fettle rate: %w\n%s", err, out)
	}
	return nil
}

// span is over how many seconds the speed is measured.
const span = 5

// follow sets a limit and prints how the check follows it.
func (s *settings) follow(limit int64) error {
	if err := s.limit(limit); err != nil {
		return err
	}
	start := time.Now()
	first, err := s.look()
	if err != nil {
		return err
	}
	seen := []status{first}
	did, shown := &track{want: float64(limit)}, &track{want: float64(limit)}
	for time.Since(start) < s.each {
		time.Sleep(time.Second)
		st, err := s.look()
		if err != nil {
			return err
		}
		if st.State != "running" || st.Pass != s.pass {
			return fmt.Errorf("pass %s ended after %v at %d/s: the store is too small", s.pass, time.Since(start).Round(time.Second), limit)
		}
		old := seen[max(0, len(seen)-span)]
		seen = append(seen, st)
		dt := st.Updated.Sub(old.Updated).Seconds()
		if dt <= 0 {
			continue
		}
		now, speed, done := time.Since(start), st.Speed, float64(st.Records-old.Records)
		if s.bytes > 0 {
			speed, done = st.Flow, float64(st.Bytes-old.Bytes)
		}
		did.add(now, done/dt)
		shown.add(now, speed)
	}
	fmt.Printf("%-10s %12d %16s %12s %14.0f %12.0f\n", s.pass, limit, did.settled(), shown.settled(), did.mean(), shown.mean())
	return nil
}

// track follows one speed.
type track struct {
	want float64
	good time.Duration // since when it has been right; 0 while it is not
	sum  float64       // of all since then
	n    float64
}

// add takes the speed of the last seconds.
func (t *track) add(now time.Duration, speed float64) {
	if math.Abs(speed-t.want) > t.want/10 {
		t.good, t.sum, t.n = 0, 0, 0
		return
	}
	if t.good == 0 {
		t.good = now
	}
	t.sum += speed
	t.n++
}

func (t *track) settled() string {
	if t.good == 0 {
		return "never"
	}
	return t.good.Round(100 * time.Millisecond).String()
}

func (t *track) mean() float64 {
	if t.n == 0 {
		return math.NaN()
	}
	return t.sum / t.n
}
