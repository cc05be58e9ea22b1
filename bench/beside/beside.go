// Package beside runs commands in turn on the same input and gives the medians of what each cost, so that figures that are compared were
// measured in the same minutes on the same machine. It knows nothing of what the commands do.
package beside

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// Command is one program to measure.
type Command struct {
	Name string
	Args []string // the program and its arguments
}

// Cost is what one run of a command took; CPU is user and system time, RSS the largest resident size in bytes.
type Cost struct {
	Wall, CPU time.Duration
	RSS       int64
}

// Run runs every command once to warm the page cache, and then all of them in turn as often as asked for; it returns the median of each. An exit
// code in ok is a result, every other one but 0 an error.
func Run(commands []Command, runs int, ok ...int) ([]Cost, error) {
	all := make([][]Cost, len(commands))
	for range runs + 1 {
		for i, c := range commands {
			u, err := once(c.Args, ok)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			all[i] = append(all[i], u)
		}
	}
	out := make([]Cost, len(commands))
	for i := range all {
		out[i] = median(all[i][1:])
	}
	return out, nil
}

func once(args []string, ok []int) (Cost, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	err := cmd.Run()
	u := Cost{Wall: time.Since(start)}
	if st := cmd.ProcessState; st != nil {
		u.CPU = st.UserTime() + st.SystemTime()
		if ru, is := st.SysUsage().(*syscall.Rusage); is {
			u.RSS = ru.Maxrss << 10
		}
		if slices.Contains(ok, st.ExitCode()) {
			err = nil
		}
	}
	return u, err
}

func median(us []Cost) Cost {
	pick := func(key func(Cost) int64) int64 {
		v := make([]int64, len(us))
		for i, u := range us {
			v[i] = key(u)
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	return Cost{
		Wall: time.Duration(pick(func(u Cost) int64 { return int64(u.Wall) })),
		CPU:  time.Duration(pick(func(u Cost) int64 { return int64(u.CPU) })),
		RSS:  pick(func(u Cost) int64 { return u.RSS }),
	}
}
