package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"fettle/internal/fault"
	"fettle/internal/say"
)

// answer is one way to answer a question.
type answer struct {
	key   rune
	label string
}

// quit is always among the answers, and what an end of input means.
const quit = 'q'

// errQuit ends a verb whose user said so. Nothing was written.
var errQuit = &fault.Error{Err: errors.New("nothing was changed"), Kind: fault.Unrepaired}

// interactive tells whether a question can be asked: the input is a terminal, and there is one to write to. That is standard
// error if it is a terminal, otherwise the controlling one, so that a question never ends up in a log.
func (a *App) interactive() bool {
	if a.json || a.quiet || !isTerminal(a.In) {
		return false
	}
	if a.asking == nil {
		a.asking = a.Err
		if !isTerminal(a.Err) {
			tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
			if err != nil {
				a.asking = nil
				return false
			}
			a.asking = tty
		}
	}
	return true
}

// ask puts a question to the person, as "question s=save, r=roll back, q=quit [s]? ", until the answer is one of the keys.
// An empty line is the first answer. Quit is added as the last one unless it is the first. The app must be interactive.
func (a *App) ask(ctx context.Context, question string, answers ...answer) (rune, error) {
	a.clearProgress()
	if answers[0].key != quit {
		answers = append(answers, answer{quit, "quit"})
	}
	parts := make([]string, len(answers))
	for i, an := range answers {
		parts[i] = fmt.Sprintf("%c=%s", an.key, say.Clean(an.label))
	}
	prompt := fmt.Sprintf("%s %s [%c]? ", say.Clean(question), strings.Join(parts, ", "), answers[0].key)
	for range 20 {
		fmt.Fprint(a.asking, prompt)
		line, err := a.readLine(ctx)
		if err != nil {
			return quit, err
		}
		line = strings.TrimSpace(line)
		if line == "" {
			return answers[0].key, nil
		}
		key, n := utf8.DecodeRuneInString(line)
		for _, an := range answers {
			if n == len(line) && key == an.key || strings.EqualFold(line, an.label) {
				return an.key, nil
			}
		}
		fmt.Fprintf(a.asking, "%q is none of the answers\n", line)
	}
	return quit, nil
}

// readLine reads one line from the person; an end of input is the answer quit. A cancelled context ends the waiting, the
// goroutine that waits for the terminal ends with the process.
func (a *App) readLine(ctx context.Context) (string, error) {
	if a.input == nil {
		a.input = bufio.NewReader(a.In)
	}
	type got struct {
		line string
		err  error
	}
	ch := make(chan got, 1)
	go func() {
		line, err := a.input.ReadString('\n')
		ch <- got{line, err}
	}()
	select {
	case g := <-ch:
		if g.err != nil && g.line == "" {
			if errors.Is(g.err, io.EOF) {
				return string(quit), nil
			}
			return "", &fault.Error{Op: "read the answer", Err: g.err}
		}
		return g.line, nil
	case <-ctx.Done():
		fmt.Fprintln(a.asking)
		return "", &fault.Error{Op: "wait for the answer", Err: ctx.Err(), Kind: fault.Cancelled}
	}
}
