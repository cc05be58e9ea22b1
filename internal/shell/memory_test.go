package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"strconv"
	"strings"

	"fettle/internal/fault"
	"fettle/internal/store"
)

// memView is a small tree in memory, with names separated by "/". The value of a path is its content; a path that ends in "/" is a
// directory. Special contents: "->TARGET" is a link, "lost" cannot be read, "half:TEXT" can be read in part; "=>DIR" is a directory
// that is the same as another one.
type memView struct {
	content map[string]string
	calls   []string // of the extra command
}

func (*memView) Notes() []string             { return nil }
func (*memView) Separator() string           { return "/" }
func (*memView) Format(path []string) string { return strings.Join(quoteAll(path), "/") }

func quoteAll(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n
		if strings.ContainsAny(n, "\x1b\n") {
			out[i] = strconv.Quote(n)
		}
	}
	return out
}

func (*memView) Resolve(_ context.Context, cwd []string, text string) ([]string, error) {
	if strings.Contains(text, "//") {
		return nil, errors.New("empty name")
	}
	if strings.HasPrefix(text, "/") {
		cwd = nil
	}
	path := append([]string{}, cwd...)
	for _, n := range strings.Split(text, "/") {
		switch n {
		case "", ".":
		case "..":
			path = path[:max(0, len(path)-1)]
		default:
			path = append(path, n)
		}
	}
	return path, nil
}

// real follows "=>" on the way.
func (v *memView) real(path []string) string {
	at := ""
	for _, n := range path {
		at += n
		if to, ok := strings.CutPrefix(v.content[at], "=>"); ok {
			at = to
		}
		at += "/"
	}
	return strings.TrimSuffix(at, "/")
}

func (v *memView) Lookup(ctx context.Context, path []string, follow bool) (store.Node, error) {
	key := v.real(path)
	n := store.Node{Path: path, Size: -1, Handle: key}
	text, isFile := v.content[key]
	target, isLink := strings.CutPrefix(text, "->")
	switch {
	case key == "" || !isFile && v.isDir(key):
		n.Kind, n.Dir, n.Identity = "dir", true, "id:"+key
		if v.content[key+"/"] == "lost" {
			n.Trouble = "lost"
		}
	case !isFile:
		return n, fmt.Errorf("not here: %w", fs.ErrNotExist)
	case isLink && follow:
		return v.Lookup(ctx, strings.Split(target, "/"), true)
	case isLink:
		n.Kind, n.Link = "link", target
	default:
		n.Kind, n.Size, n.Parts = "file", int64(len(text)), 2
		if text == "lost" || strings.HasPrefix(text, "half:") {
			n.Trouble = "damaged"
		}
	}
	return n, nil
}

func (v *memView) isDir(key string) bool {
	for k := range v.content {
		if strings.HasPrefix(k, key+"/") {
			return true
		}
	}
	return false
}

func (v *memView) List(ctx context.Context, dir store.Node, _ bool) ([]store.Node, error) {
	key := dir.Handle.(string)
	if v.content[key+"/"] == "lost" {
		return nil, errors.New("the directory is lost")
	}
	names := map[string]bool{}
	for k := range v.content {
		rest := k
		if key != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(k, key+"/"); !ok {
				continue
			}
		}
		if name, _, _ := strings.Cut(rest, "/"); name != "" {
			names[name] = true
		}
	}
	var out []store.Node
	for name := range names {
		n, err := v.Lookup(ctx, child(dir.Path, name), false)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name() < out[j].Name() })
	return out, nil
}

func (v *memView) Stat(_ context.Context, n store.Node) ([]store.Field, error) {
	return []store.Field{{Name: "path", Value: v.Format(n.Path)}, {Name: "kind", Value: n.Kind}}, nil
}

func (v *memView) Read(_ context.Context, n store.Node, part int, w io.Writer) error {
	if n.Dir {
		return errors.New("it is a directory")
	}
	text := v.content[n.Handle.(string)]
	half := strings.TrimPrefix(text, "half:")
	switch {
	case text == "lost":
		return store.Partial("all of it is lost")
	case part > 1:
		return fmt.Errorf("no part %d", part)
	case part == 0:
		half = half[:len(half)/2]
	case part == 1:
		half = half[len(half)/2:]
	}
	if _, err := io.WriteString(w, half); err != nil {
		return err
	}
	if half != text && strings.HasPrefix(text, "half:") {
		return store.Partial("one half is lost")
	}
	return nil
}

func (v *memView) Commands() []store.BrowseCommand {
	return []store.BrowseCommand{{Name: "shout", Usage: "WORD", Short: "say it aloud", Long: "Twice.", MinArgs: 1, MaxArgs: 1, Paths: true,
		Run: func(_ context.Context, c store.BrowseCall) error {
			if c.Args[0] == "-x" {
				return fault.NewUsage(errors.New("no -x"), "")
			}
			v.calls = append(v.calls, strings.Join(c.Cwd, "/")+" "+c.Args[0])
			fmt.Fprintln(c.Out, strings.ToUpper(c.Args[0]))
			_, err := c.Raw.Write([]byte{0xff})
			return err
		}}}
}
