package check

import (
	"math"
	"slices"
	"syscall"
	"time"

	"fettle/internal/runs"
)

// clock measures what a pass takes. The zero value measures nothing.
type clock struct {
	pass   string
	before runs.PassSummary // in earlier lives of the run
	begun  time.Time
	cpu    time.Duration // of the process when the pass began
}

func startClock(pass string, spent []runs.PassSummary) clock {
	c := clock{pass: pass, begun: time.Now(), cpu: processTime()}
	if i := slices.IndexFunc(spent, func(s runs.PassSummary) bool { return s.Pass == pass }); i >= 0 {
		c.before = spent[i]
	}
	return c
}

// addTo returns spent with what the pass took until now; spent itself stays as it is. Records and bytes are those of the whole pass.
func (c *clock) addTo(spent []runs.PassSummary, records, bytes int64) []runs.PassSummary {
	if c.pass == "" {
		return spent
	}
	now := runs.PassSummary{Pass: c.pass, Seconds: millis(c.before.Seconds + time.Since(c.begun).Seconds()),
		CPU: millis(c.before.CPU + (processTime() - c.cpu).Seconds()), Records: records, Bytes: bytes}
	spent = slices.DeleteFunc(slices.Clone(spent), func(s runs.PassSummary) bool { return s.Pass == c.pass })
	return append(spent, now)
}

// processTime is the user and system time of this process, 0 if the system does not tell.
func processTime() time.Duration {
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func millis(seconds float64) float64 { return math.Round(seconds*1000) / 1000 }
