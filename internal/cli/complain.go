package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/say"
)

// complain shows err to the person: "error: ..." and then one "hint: ..." line per hint, all on standard error;
// with --json one error line instead. A mere exit status is not shown: whoever made it has said everything.
func (a *App) complain(err error) {
	var s *status
	if err == nil || errors.As(err, &s) {
		return
	}
	a.clearProgress()
	if err == errQuit && !a.json { // what the person wanted, not an error
		fmt.Fprintln(a.Err, errQuit.Error())
		return
	}
	if a.json {
		line := struct {
			Type   string   `json:"type"`
			Schema int      `json:"schema"`
			Error  string   `json:"error"`
			Op     string   `json:"op,omitempty"`
			Where  string   `json:"where,omitempty"`
			Hints  []string `json:"hints"`
			Exit   int      `json:"exit"`
		}{Type: "error", Schema: 1, Error: err.Error(), Hints: fault.Hints(err), Exit: exitOfError(err)}
		if line.Hints == nil {
			line.Hints = []string{}
		}
		var f *fault.Error
		if errors.As(err, &f) {
			line.Op, line.Where = f.Op, f.Where
		}
		if out, jerr := json.Marshal(line); jerr == nil {
			fmt.Fprintf(a.Err, "%s\n", out)
			return
		}
	}
	// Several errors that were joined come one per line.
	for _, l := range strings.Split(err.Error(), "\n") {
		fmt.Fprintf(a.Err, "%s %s\n", a.errStyle().Severity("error", "error:"), say.Clean(l))
	}
	for _, h := range fault.Hints(err) {
		fmt.Fprintf(a.Err, "hint: %s\n", say.Clean(h))
	}
}

// say writes a line for people to standard error, unless --quiet or --json.
func (a *App) say(format string, args ...any) {
	if a.quiet || a.json {
		return
	}
	a.clearProgress()
	fmt.Fprintf(a.Err, format+"\n", args...)
}

// print writes a line of the result for people to standard output, unless --quiet or --json.
func (a *App) print(format string, args ...any) {
	if a.quiet || a.json {
		return
	}
	a.clearProgress()
	fmt.Fprintf(a.Out, format+"\n", args...)
}

// line writes one JSON object to standard output.
func (a *App) line(v any) error { return writeLine(a.Out, v) }

// writeLine writes one JSON object and a newline.
func writeLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// warn shows something that is not an error but must be seen even with --quiet.
func (a *App) warn(format string, args ...any) {
	a.clearProgress()
	text := fmt.Sprintf(format, args...)
	if a.json {
		line := struct {
			Type   string `json:"type"`
			Schema int    `json:"schema"`
			Text   string `json:"warning"`
		}{"warning", 1, text}
		if err := writeLine(a.Err, line); err == nil {
			return
		}
	}
	fmt.Fprintf(a.Err, "warning: %s\n", text)
}

// usagef is a usage error with a hint.
func usagef(hint, format string, args ...any) error {
	return fault.NewUsage(fmt.Errorf(format, args...), hint)
}
