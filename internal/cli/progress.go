package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"fettle/internal/check"
	"fettle/internal/runs"
	"fettle/internal/say"
	"fettle/internal/store"
)

// showAfter is how long work may take before its progress is shown on a terminal.
const showAfter = 2 * time.Second

// redrawEvery and jsonEvery are the intervals of the two displays.
const (
	redrawEvery = 200 * time.Millisecond
	jsonEvery   = time.Second
)

// progress shows how far a check or other work is: redrawn in place on a terminal, one JSON line per interval with --json, and nothing
// anywhere else. Its methods may be called from several goroutines.
type progress struct {
	app  *App
	run  string
	json bool
	tty  bool

	mu    sync.Mutex
	begun time.Time
	last  time.Time
	drawn bool
}

// newProgress makes the display for one run; end must be called.
func (a *App) newProgress(run string) *progress {
	p := &progress{app: a, run: run, json: a.json, tty: !a.json && !a.quiet && isTerminal(a.Err), begun: time.Now()}
	a.shown = p
	return p
}

// update shows pr if it is time to.
func (p *progress) update(pr runs.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	switch {
	case p.json && now.Sub(p.last) >= jsonEvery:
		line, err := json.Marshal(struct {
			Type   string `json:"type"`
			Schema int    `json:"schema"`
			Run    string `json:"run,omitempty"`
			runs.Progress
		}{"progress", 1, p.run, pr})
		if err == nil { // numbers and strings only; a NaN would be dropped with its line
			fmt.Fprintf(p.app.Err, "%s\n", line)
		}
	case p.tty && pr.Pass != "" && now.Sub(p.begun) >= showAfter && now.Sub(p.last) >= redrawEvery:
		fmt.Fprintf(p.app.Err, "\r\x1b[K%s", say.Short(progressLine(pr), p.width()-1))
		p.drawn = true
	default:
		return
	}
	p.last = now
}

// metered shows how far the work is that is done with the context it returns, until done is called: the parts of planning,
// applying, undoing, scoring.
func (a *App) metered(ctx context.Context, run string) (_ context.Context, done func()) {
	return a.newProgress(run).follow(ctx)
}

// follow shows what is done with the context it returns.
func (p *progress) follow(ctx context.Context) (_ context.Context, done func()) {
	m := new(store.Meter)
	stop := check.Watch(m, p.update)
	return store.WithMeter(ctx, m), func() { stop(); p.end() }
}

// clear wipes the line so that something else can be written; the next update draws it again.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn {
		fmt.Fprint(p.app.Err, "\r\x1b[K")
		p.drawn = false
	}
}

// end wipes the line for good.
func (p *progress) end() {
	p.clear()
	p.app.shown = nil
}

// clearProgress wipes whatever progress is shown now.
func (a *App) clearProgress() {
	if a.shown != nil {
		a.shown.clear()
	}
}

// width is the width of the terminal, 80 if it cannot be told.
func (p *progress) width() int {
	if f, ok := p.app.Err.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

// progressLine is one line for people: what is done, how far, how fast, how long it will take, what was found.
func progressLine(pr runs.Progress) string {
	line := pr.Title
	if line == "" {
		line = pr.Pass
	}
	line = say.Clean(line)
	if pr.Passes > 1 && pr.PassNumber > 0 {
		line = fmt.Sprintf("%d/%d %s", pr.PassNumber, pr.Passes, line)
	}
	if f := fraction(pr); f >= 0 {
		line += fmt.Sprintf("  %.0f %%", 100*f)
	}
	line += "  " + countText(float64(pr.Records))
	if pr.TotalRecords > 0 {
		line += " of " + countText(float64(pr.TotalRecords))
	}
	line += " records"
	if pr.RecordsPerSecond > 0 {
		line += "  " + countText(pr.RecordsPerSecond) + "/s"
	}
	if pr.BytesPerSecond > 0 {
		line += "  " + bytesText(int64(pr.BytesPerSecond)) + "/s"
	}
	if pr.ETA >= 0 {
		line += "  ETA " + durationText(pr.ETA)
	}
	if pr.Findings > 0 {
		line += fmt.Sprintf("  %d found", pr.Findings)
	}
	return line
}

// fraction is how much of the running passes is done, -1 if unknown.
func fraction(pr runs.Progress) float64 {
	switch {
	case pr.TotalBytes > 0:
		return min(1, float64(pr.Bytes)/float64(pr.TotalBytes))
	case pr.TotalRecords > 0:
		return min(1, float64(pr.Records)/float64(pr.TotalRecords))
	}
	return -1
}

// durationText shows seconds for people: "8 s", "3 min 20 s", "2 h 5 min".
func durationText(seconds float64) string {
	s := int64(seconds + 0.5)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	}
	return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
}
