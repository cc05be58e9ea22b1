package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Browser is a Unit whose content can be looked at as a tree of named nodes. Browsing never writes to the store.
type Browser interface {
	Unit
	// Browse prepares the unit for looking around. Damage is no error: what cannot be read is told by Notes and by the nodes.
	Browse(ctx context.Context, env BrowseEnv) (View, error)
}

// BrowseEnv is what a shell lends to a View.
type BrowseEnv struct {
	Scratch  string // an empty directory that lives as long as the view
	Workers  int
	Memory   int64                   // budget in bytes
	Progress func(done, total int64) // of the preparation, in bytes; may be called from several goroutines; nil: not wanted
}

// ErrPartial is wrapped by errors of Read and of commands that gave what there is and could not give the rest.
var ErrPartial = errors.New("part of it cannot be read")

// Partial makes an error that wraps ErrPartial and says only what the text says.
func Partial(format string, args ...any) error {
	return &partial{fmt.Errorf(format, args...)}
}

type partial struct{ err error }

func (p *partial) Error() string   { return p.err.Error() }
func (p *partial) Unwrap() []error { return []error{p.err, ErrPartial} }

// Node is one node of the tree.
type Node struct {
	Path []string // names from the root; empty for the root itself
	Kind string   // in the system's words: "dir", "valref", "inode"
	Dir  bool     // can be listed
	// Size of the content in bytes, of what is readable of it; -1 when it is not known, or the node has none.
	Size    int64
	Parts   int    // how many records the content is made of; 0 when the node has none
	Link    string // what a symbolic link points to, as text; "" for other nodes
	Trouble string // what is wrong with the node itself, in one line; "" for nothing
	// Identity is equal for nodes that are the same directory; "" when it cannot be told. Trees may contain a directory many times, and
	// damaged ones even within itself.
	Identity string
	// Handle is for the view's own use.
	Handle any
}

// Name is the last name of the node's path, "" for the root.
func (n Node) Name() string {
	if len(n.Path) == 0 {
		return ""
	}
	return n.Path[len(n.Path)-1]
}

// SlashPath follows a text from cwd as a shell does in a tree whose separator is "/": a leading one means the root, "." and ".." the
// directory and the one above it. name takes the escapes off a name.
func SlashPath(cwd []string, text string, name func(string) string) []string {
	path := slices.Clone(cwd)
	if strings.HasPrefix(text, "/") {
		path = nil
	}
	for _, t := range strings.Split(text, "/") {
		switch t {
		case "", ".":
		case "..":
			path = path[:max(0, len(path)-1)]
		default:
			path = append(path, name(t))
		}
	}
	return path
}

// Field is one fact about a node.
type Field struct{ Name, Value string }

// View is a unit opened for browsing. It belongs to one goroutine.
type View interface {
	// Notes are sentences for the person that hold for what is browsed now, e.g. that the newest checkpoint cannot be used.
	Notes() []string
	// Separator stands between two names of a path: "." or "/".
	Separator() string
	// Resolve turns the text of a path into names from the root; cwd is where relative texts begin. It does not look whether
	// the path exists. It is the inverse of Format for texts that Format made.
	Resolve(ctx context.Context, cwd []string, text string) ([]string, error)
	// Format is the text of a path without control characters.
	Format(path []string) string
	// Lookup finds a node. Links on the way are followed, and the last one too if follow is set. The error wraps fs.ErrNotExist when
	// there is no such node.
	Lookup(ctx context.Context, path []string, follow bool) (Node, error)
	// List gives the nodes of a directory. Sizes may be left at -1 unless sizes is set. A directory that can be read in part gives
	// its nodes and an error that wraps ErrPartial.
	List(ctx context.Context, dir Node, sizes bool) ([]Node, error)
	// Stat gives everything known about a node, in the order in which it should be shown.
	Stat(ctx context.Context, n Node) ([]Field, error)
	// Read writes the content of a node to w, or, for part >= 0, of that one of its parts. What cannot be read is left out and told by
	// an error that wraps ErrPartial.
	Read(ctx context.Context, n Node, part int, w io.Writer) error
	// Commands are the system's own commands beside those that every shell has.
	Commands() []BrowseCommand
}

// BrowseCommand is a command of one system's shell.
type BrowseCommand struct {
	Name    string // one word
	Usage   string // what follows the name: "KEY", "[-a]"
	Short   string // one line for the list of commands, without a full stop
	Long    string // more, for help NAME; may be empty
	MinArgs int
	MaxArgs int  // -1: any number
	Paths   bool // arguments are paths: completed like them
	// Run does it. What was wrong with the command line is an error of kind fault.Usage.
	Run func(ctx context.Context, c BrowseCall) error
}

// BrowseCall is one call of a command.
type BrowseCall struct {
	Args []string  // without the command's name; quotes are taken off
	Cwd  []string  // the current directory of the shell
	Out  io.Writer // results as text; the shell makes them harmless on a terminal
	Raw  io.Writer // results as they are in the store; likewise
	Err  io.Writer // remarks
}
