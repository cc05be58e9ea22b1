package fakedm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Env names the environment variable that holds the path of the state file.
const Env = "FETTLE_FAKEDM"

// Programs are the names under which Main answers.
func Programs() []string {
	return []string{"dmsetup", "mkfs.ext4", "mkfs.ext2", "mkfs.xfs", "blkdiscard"}
}

// Called tells whether the process was started under one of the names of Programs. A test binary asks it first:
//
//	func TestMain(m *testing.M) {
//		if fakedm.Called(os.Args) {
//			os.Exit(fakedm.Main(os.Args))
//		}
//		os.Exit(m.Run())
//	}
func Called(args []string) bool {
	return len(args) > 0 && slices.Contains(Programs(), filepath.Base(args[0]))
}

// Install puts links named as the programs, which lead to the running executable, into dir and returns dir, to be put before
// PATH of whoever shall call them, with Env set to the path of a state file.
func Install(dir string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("install dmsetup: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("install dmsetup: %w", err)
	}
	for _, name := range Programs() {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			return "", fmt.Errorf("install %s: %w", name, err)
		}
	}
	return dir, nil
}

// Environ is the environment of a process that shall use the programs in dir with that state.
func Environ(dir, state string) []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, Env+"=") || strings.HasPrefix(s, "PATH=") })
	return append(env, Env+"="+state, "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// Main is the program that args[0] names; it returns the exit code.
func Main(args []string) int {
	return call{args: args, state: os.Getenv(Env), caller: os.Getppid(), stdout: os.Stdout, stderr: os.Stderr}.run()
}

// call is one call of a program.
type call struct {
	args           []string
	state          string
	caller         int
	stdout, stderr io.Writer
}

// questions are the commands of dmsetup that change nothing.
var questions = []string{"version", "targets", "info", "ls", "status", "table", "splitname"}

// errFailed ends a call whose message is printed already.
var errFailed = errors.New("failed")

func (c call) run() int {
	if c.state == "" {
		fmt.Fprintf(c.stderr, "fakedm: %s is not set\n", Env)
		return 2
	}
	var fault *Fault
	var out strings.Builder
	code := 0
	err := Edit(c.state, func(s *State) error {
		line := strings.Join(append([]string{filepath.Base(c.args[0])}, c.args[1:]...), " ")
		if err := note(c.state, line); err != nil {
			return err
		}
		fault = s.due(line)
		s.unchanged = len(s.Faults) == 0 && len(c.args) > 1 && slices.Contains(questions, c.args[1])
		if fault.keeps(Before) || fault.keeps(During) {
			if err := fault.keep(); err != nil {
				return err
			}
		} else if fault != nil && fault.When != After && (fault.When != During || !strings.HasPrefix(line, "mkfs")) {
			return nil
		}
		code = c.program(s, &out, fault)
		if fault.keeps(After) {
			return fault.keep()
		}
		return nil
	})
	if err != nil {
		fmt.Fprintln(c.stderr, "fakedm:", err)
		return 2
	}
	if fault != nil && fault.How != Keep {
		return fault.strike(c.stderr, c.caller) // outside of the lock: a caller that hangs must not stop the others
	}
	if _, err := io.WriteString(c.stdout, out.String()); err != nil {
		return 2
	}
	return code
}

// note adds a call to the log.
func note(state, line string) error {
	f, err := os.OpenFile(state+".log", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

// program runs one program on the state. What it prints on standard output goes to out, so that nothing is printed by a
// call whose caller is killed.
func (c call) program(s *State, out io.Writer, fault *Fault) int {
	var err error
	switch name := filepath.Base(c.args[0]); {
	case name == "dmsetup":
		d := &control{s, out, c.stderr}
		if err = d.run(c.args[1:]); err != nil {
			fmt.Fprintln(c.stderr, "Command failed.")
		}
	case name == "blkdiscard":
		err = c.discard(s, out)
	default:
		err = c.mkfs(s, out, fault != nil && fault.When == During)
	}
	if err != nil {
		if !errors.Is(err, errFailed) {
			fmt.Fprintln(c.stderr, err)
		}
		return 1
	}
	return 0
}

// node finds the active thin device that the last argument names.
func (c call) node(s *State) (*Node, *Thin, *Pool, error) {
	path := c.args[len(c.args)-1]
	n := s.Node(path)
	if n == nil || !strings.HasPrefix(path, mapperDir) {
		return nil, nil, nil, fmt.Errorf("%s: cannot open %s: %s", filepath.Base(c.args[0]), path, describe(unix.ENOENT))
	}
	p := s.Pool(n.Pool)
	if p == nil || p.Thin(n.Device) == nil {
		return nil, nil, nil, fmt.Errorf("%s: %s: %s", filepath.Base(c.args[0]), path, describe(unix.EIO))
	}
	return n, p.Thin(n.Device), p, nil
}

// mkfs maps the blocks that a new ext4 writes: a sixth of the device, most of it at the front and the journal in the middle.
func (c call) mkfs(s *State, out io.Writer, half bool) error {
	n, t, p, err := c.node(s)
	if err != nil {
		return err
	}
	blocks := max(1, n.Sectors/uint64(p.BlockSectors))
	want := min(blocks, max(4, blocks/6))
	front := want - want/4
	err = p.Write(t.ID, 0, front)
	if err == nil && !half {
		err = p.Write(t.ID, max(front, blocks/2), min(want/4, blocks-max(front, blocks/2)))
	}
	if err != nil {
		return fmt.Errorf("%s: %s while writing out and closing file system", filepath.Base(c.args[0]), describe(unix.EIO))
	}
	fmt.Fprintf(out, "Creating filesystem with %d 4k blocks\nWriting superblocks and filesystem accounting information: done\n", n.Sectors/8)
	return nil
}

// discard drops all mappings of a device.
func (c call) discard(s *State, out io.Writer) error {
	if len(c.args) == 2 && c.args[1] == "--version" {
		fmt.Fprintln(out, "blkdiscard from util-linux 2.38.1")
		return nil
	}
	_, t, _, err := c.node(s)
	if err == nil {
		t.Runs = nil
	}
	return err
}
