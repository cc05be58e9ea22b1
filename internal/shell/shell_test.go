package shell

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"fettle/internal/fault"
	"fettle/internal/store"
)

func sample() *memView {
	return &memView{content: map[string]string{
		"a/one": "1", "a/two": "22\n", "a/deep/er/x": "x", "a/link": "->a/two", "a/todir": "->a/deep", "a/gone": "->no/where",
		"b c/it's": "q", "bad/": "lost", "h": "half:ab", "l": "lost", "esc\x1b[2J": "evil\x1b[31m\r\n", "star*": "s", "starry": "t",
	}}
}

// run executes the lines and returns both outputs and the last error.
func run(t *testing.T, cfg Config, lines ...string) (out, remarks string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	if cfg.View == nil {
		cfg.View = sample()
	}
	cfg.Out, cfg.Err = &o, &e
	cfg.Clean = func(s string) string { return strings.Trim(strconv.Quote(s), `"`) }
	s := New(cfg)
	for _, l := range lines {
		err = s.Run(context.Background(), l)
	}
	return o.String(), e.String(), err
}

func TestCommands(t *testing.T) {
	for _, c := range []struct {
		lines   []string
		out     string
		remarks string // contained
		err     string // contained; "" for none
		partial bool
	}{
		{lines: []string{"ls a"}, out: "deep/\ngone -> no/where\nlink -> a/two\none\ntodir -> a/deep\ntwo\n"},
		{lines: []string{"ls -l a/one a/link"}, out: "file                1      2  a/one\nfile                3      2  a/two\n"},
		{lines: []string{"ls -d a a/link"}, out: "a/\na/link -> a/two\n"},
		{lines: []string{"ls a/one 'b c'"}, out: "a/one\n\nb c:\nit's\n"},
		{lines: []string{"ls bad"}, err: "ls: bad: the directory is lost"},
		{lines: []string{"ls bad a/deep"}, out: "bad:\n\na/deep:\ner/\n", err: "the directory is lost", partial: true},
		{lines: []string{"ls nope"}, err: "nope: not here"},
		{lines: []string{"ls a//b"}, err: "empty name"},
		{lines: []string{"cat a/one a/two"}, out: "122\n"},
		{lines: []string{"cat a/link"}, out: "22\n"},
		{lines: []string{"cat h"}, out: "ab", err: "cat: h: one half is lost", partial: true},
		{lines: []string{"cat -i 1 h"}, out: "b", partial: true, err: "half"},
		{lines: []string{"cat l a/one"}, out: "1", err: "l: all of it is lost", partial: true},
		{lines: []string{"cat l h a/one"}, out: "ab1", remarks: "h: one half is lost\n", err: "2 of 3", partial: true},
		{lines: []string{"cat -i 7 a/one"}, err: "no part 7"},
		{lines: []string{"cat a"}, err: "it is a directory"},
		{lines: []string{"stat a/one"}, out: "path  a/one\nkind  file\n"},
		{lines: []string{"cd a", "pwd", "ls deep"}, out: "a\ner/\n"},
		{lines: []string{"cd a/todir", "pwd", "cd ..", "pwd", "cd", "pwd"}, out: "a/deep\na\n/\n"},
		{lines: []string{"cd a", "cat h"}, out: "ab", err: "half", partial: true}, // found below the root
		{lines: []string{"cd a", "ls ./h"}, err: "not here"},
		{lines: []string{"cd a/one"}, err: "a file, not a directory"},
		{lines: []string{"cd bad", "ls"}, remarks: "bad: lost", err: "the directory is lost"},
		{lines: []string{"cd a*", "pwd"}, out: "a\n"},
		{lines: []string{"cd a/*", "pwd"}, out: "/\n"},
		{lines: []string{"tree -d 1 a/deep"}, out: "a/deep/\n  er/\n"},
		{lines: []string{"tree a/deep bad"}, err: "too many"},
		{lines: []string{"tree bad"}, out: "bad/  ! lost\n", remarks: "bad: the directory is lost", err: "1 directories", partial: true},
		{lines: []string{"find a -name 't*'"}, out: "a/todir\na/two\n"},
		{lines: []string{"find -name '*' a/deep"}, out: "a/deep\na/deep/er\na/deep/er/x\n"},
		{lines: []string{"find -kind link"}, out: "a/gone\na/link\na/todir\n", err: "1 directories", partial: true},
		{lines: []string{"find -damaged"}, out: "bad  ! lost\nh  ! damaged\nl  ! damaged\n", err: "1 directories", partial: true},
		{lines: []string{"cat a/*/er/x"}, out: "x"},
		{lines: []string{"cat star*"}, out: "s"}, // an existing name is itself
		{lines: []string{"cat star?[a-c]"}, err: "nothing fits"},
		{lines: []string{"cat [r-t]tar??"}, out: "t"},
		{lines: []string{`cat "b c/it's"`}, out: "q"},
		{lines: []string{"cat a/one # and no more"}, out: "1"},
		{lines: []string{"", "   ", "# x"}},
		{lines: []string{"shout hi"}, out: "HI\n\xff"},
		{lines: []string{"help shout"}, out: "shout WORD\n  say it aloud\n\nTwice.\n"},
		{lines: []string{"help nope"}, err: "unknown command"},
	} {
		out, remarks, err := run(t, Config{}, c.lines...)
		if out != c.out || !strings.Contains(remarks, c.remarks) {
			t.Errorf("%q: output %q, remarks %q; want %q, %q", c.lines, out, remarks, c.out, c.remarks)
		}
		if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) || errors.Is(err, store.ErrPartial) != c.partial {
			t.Errorf("%q: error %v (partial %v), want %q (%v)", c.lines, err, errors.Is(err, store.ErrPartial), c.err, c.partial)
		}
	}
}

// What kind of error it is decides the exit code; every error about a command line says how to do it.
func TestErrorKinds(t *testing.T) {
	for line, kind := range map[string]fault.Kind{
		"nosuch": fault.Operational, "ls nope": fault.Operational, "cat a": fault.Operational,
		"ls -z": fault.Usage, "cat": fault.Usage, "cat 'x": fault.Usage, `cat "\q"`: fault.Usage, "cat -i x a/one": fault.Usage, "cat -i": fault.Usage,
		"cd a b": fault.Usage, "tree -d 0": fault.Usage, "shout": fault.Usage, "shout a b": fault.Usage, "shout -x": fault.Usage, "cat --": fault.Usage,
	} {
		_, _, err := run(t, Config{}, line)
		if err == nil || fault.KindOf(err) != kind {
			t.Errorf("%q: %v is of kind %d, want %d", line, err, fault.KindOf(err), kind)
		}
	}
	_, _, err := run(t, Config{}, "lst")
	if h := fault.Hints(err); len(h) != 1 || !strings.Contains(h[0], "did you mean ls") {
		t.Errorf("hints %q", h)
	}
	_, _, err = run(t, Config{}, "ls a/nope/x")
	if h := fault.Hints(err); len(h) != 1 || h[0] != "ls a shows what is there" {
		t.Errorf("hints %q", h)
	}
	for _, word := range []string{"exit", "quit", "q"} {
		if _, _, err = run(t, Config{}, word); !errors.Is(err, ErrExit) {
			t.Errorf("%s: %v", word, err)
		}
	}
}

// Bytes reach a pipe as they are, and a terminal never sees a control character.
func TestTerminal(t *testing.T) {
	raw, _, err := run(t, Config{}, "cat esc*")
	if err != nil || raw != "evil\x1b[31m\r\n" {
		t.Errorf("pipe: %q, %v", raw, err)
	}
	safe, _, err := run(t, Config{OutTerminal: true, ErrTerminal: true}, "cat esc*", "ls", "cat a/one", "shout x")
	if err != nil || strings.ContainsAny(safe, "\x1b\r\xff") || !strings.Contains(safe, `evil\x1b[31m\r`+"\n") || !strings.Contains(safe, "\n1\n") {
		t.Errorf("terminal: %q, %v", safe, err)
	}
}

// However text is cut into writes, the terminal shows the same.
func TestSafeWriterCuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(rapid.StringOfN(rapid.RuneFrom([]rune("aé€𝄞\n\t\x1b\u202e")), 0, 40, -1).Draw(t, "text"))
		text = append(text, rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "tail")...)
		clean := func(s string) string { q := strconv.Quote(s); return q[1 : len(q)-1] }
		var whole, parts bytes.Buffer
		one := &safeWriter{w: &whole, clean: clean}
		many := &safeWriter{w: &parts, clean: clean}
		if _, err := one.Write(text); err != nil {
			t.Fatal(err)
		}
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			if _, err := many.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := errors.Join(one.end(), many.end()); err != nil {
			t.Fatal(err)
		}
		if whole.String() != parts.String() {
			t.Fatalf("%q in one write, %q in several", whole.String(), parts.String())
		}
	})
}

// A tree in which every directory holds the next one twice has 2^30 paths; it must end, and say that it was cut.
func TestManyPaths(t *testing.T) {
	v := &memView{content: map[string]string{}}
	for i := range 30 {
		v.content[fmt.Sprintf("d%d/a", i)] = fmt.Sprintf("=>d%d", i+1)
		v.content[fmt.Sprintf("d%d/b", i)] = fmt.Sprintf("=>d%d", i+1)
	}
	v.content["d30/x"] = "1"
	v.content["loop/self"] = "=>loop"
	for _, line := range []string{"find d0 -name x", "tree loop"} {
		out, remarks, err := run(t, Config{View: v}, line)
		if !errors.Is(err, store.ErrPartial) || !strings.Contains(remarks, "were not entered") || len(out) > 100<<20 {
			t.Errorf("%s: %d bytes, remarks %q, %v", line, len(out), remarks, err)
		}
	}
}

func TestScript(t *testing.T) {
	var out, remarks bytes.Buffer
	s := New(Config{View: sample(), Out: &out, Err: &remarks})
	var seen []string
	err := s.Script(context.Background(), strings.NewReader("cat a/one\nnosuch\nls -z\ncat a/one\nexit\ncat a/one\n"), func(err error) { seen = append(seen, err.Error()) })
	if out.String() != "11" || len(seen) != 2 || err == nil || err.Error() != seen[0] {
		t.Errorf("output %q, errors %q, end %v", out.String(), seen, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Script(ctx, strings.NewReader("find\n"), func(error) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestComplete(t *testing.T) {
	s := New(Config{View: sample(), Out: new(bytes.Buffer), Err: new(bytes.Buffer)})
	for in, want := range map[string]string{
		"ca": "cat ", "s": "stat |shout ", "cat a/t": "cat a/todir|cat a/two", "ls a/d": "ls a/deep/", "ls /a/o": "ls /a/one", "ls b": "ls bad/",
		"cat 'b": "", "help st": "help stat", "pwd a": "", "nosuch a": "", "ls bad/": "", "shout a/o": "shout a/one", "ls -l a/on": "ls -l a/one",
	} {
		if got := strings.Join(s.complete(context.Background(), in), "|"); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if p := s.prompt(); p != ":/> " {
		t.Errorf("prompt %q", p)
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	out, _, err := run(t, Config{}, "help", "help paths")
	if err != nil || !strings.Contains(out, `separated by "/"`) {
		t.Errorf("%q, %v", out, err)
	}
	for _, c := range append(builtins(), command{name: "shout"}) {
		if !strings.Contains(out, "\n  "+c.name) && !strings.HasPrefix(out, "  "+c.name) {
			t.Errorf("help does not name %s", c.name)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true}, {"*", "", true}, {"*", "a/b", true}, {"a*b", "ab", true}, {"a*b", "axxbxb", true}, {"a*b", "axxbx", false}, {"?", "é", true},
		{"[a-c]", "b", true}, {"[^a-c]", "b", false}, {"[!a]", "b", true}, {"[]]", "]", true}, {"[a", "[a", true}, {"[a-]", "-", true}, {"\xff*", "\xffx", true},
		{"*.eventlog", "guest.exec.eventlog", true}, {"[", "[", true}, {"?", "", false},
	} {
		if got := match(c.pattern, c.name); got != c.want {
			t.Errorf("match(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
	if match(strings.Repeat("*a", 100), strings.Repeat("a", 5000)+"b") {
		t.Error("matched")
	}
}

// Any word survives quoting, alone and among others.
func TestQuoteAndWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune(" '\"\\#a*\n")))), 0, 4).Draw(t, "words")
		var line []string
		for _, w := range in {
			line = append(line, quote(w))
		}
		got, err := words(strings.Join(line, " "))
		if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", in) {
			t.Fatalf("%q -> %q -> %q, %v", in, line, got, err)
		}
	})
}

// Any line either is cut into words that can be written down again, or is refused; patterns match what they are.
func FuzzWords(f *testing.F) {
	for _, s := range []string{"ls -l 'a b'", `cat "x\n" # c`, `a\ b`, "'", `"\x`, "[a-z*?", "é\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got, err := words(line)
		if err != nil {
			if fault.KindOf(err) != fault.Usage {
				t.Fatalf("%v is no usage error", err)
			}
			return
		}
		for _, w := range got {
			if !isPattern(w) && !match(w, w) {
				t.Fatalf("%q does not match itself", w)
			}
			if len(w) < 100 {
				match(w, line)
			}
		}
	})
}

func TestJSON(t *testing.T) {
	run := func(line string) ([]nodeLine, error) {
		var out, remarks bytes.Buffer
		s := New(Config{View: sample(), Out: &out, Err: &remarks, JSON: true})
		err := s.Run(context.Background(), line)
		var nodes []nodeLine
		for dec := json.NewDecoder(&out); ; {
			var n nodeLine
			if derr := dec.Decode(&n); derr != nil {
				if !errors.Is(derr, io.EOF) {
					t.Errorf("%s: %v", line, derr)
				}
				return nodes, err
			}
			if n.Type != "node" || n.Schema != 1 {
				t.Errorf("%s: %+v", line, n)
			}
			nodes = append(nodes, n)
		}
	}
	one, err := run("stat a/one")
	if err != nil || len(one) != 1 || !slices.Equal(one[0].Names, []string{"a", "one"}) || one[0].Dir || len(one[0].Fields) == 0 {
		t.Errorf("stat: %+v, %v", one, err)
	}
	listed, err := run("ls -l a")
	if err != nil || len(listed) < 2 || !slices.ContainsFunc(listed, func(n nodeLine) bool { return n.Path == one[0].Path && n.Size != nil && *n.Size == 1 }) {
		t.Errorf("ls: %+v, %v", listed, err)
	}
	found, err := run("find a -name one")
	if err != nil || len(found) != 1 || found[0].Path != one[0].Path {
		t.Errorf("find: %+v, %v", found, err)
	}
	for _, line := range []string{"cat a/one", "tree", "pwd", "help", "shout a/one"} {
		if nodes, err := run(line); err == nil || len(nodes) != 0 || fault.KindOf(err) != fault.Usage {
			t.Errorf("%s: %+v, %v", line, nodes, err)
		}
	}
}
