package fakedm

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// control answers one call of dmsetup.
type control struct {
	*State
	out, stderr io.Writer
}

// describe is the C library's text of an error: "File exists".
func describe(e unix.Errno) string {
	s := e.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}

// ioctl reports a failed ioctl as libdm does. The blank before "failed" belongs to a device number that libdm leaves out.
func (d *control) ioctl(what, name string, err error) error {
	var e unix.Errno
	if !errors.As(err, &e) {
		return err
	}
	fmt.Fprintf(d.stderr, "device-mapper: %s ioctl on %s  failed: %s\n", what, base(name), describe(e))
	return errFailed
}

// say prints a message of dmsetup's own and fails.
func (d *control) say(format string, args ...any) error {
	fmt.Fprintf(d.stderr, format+"\n", args...)
	return errFailed
}

// exists refuses a path that has no node, which libdm does before it asks the kernel. Bare names go to the kernel.
func (d *control) exists(name string) error {
	if strings.HasPrefix(name, mapperDir) && !d.known(name) {
		return d.say("Device %s not found", name)
	}
	return nil
}

func (d *control) known(name string) bool {
	p := d.Pool(name)
	return p != nil && p.Active || d.Node(name) != nil
}

// options takes the switches out of the arguments. Those of withValue take the next word, unless joined by "=".
func options(args []string, withValue ...string) (opts map[string]string, rest []string) {
	opts = map[string]string{}
	takes := map[string]bool{}
	for _, w := range withValue {
		takes[w] = true
	}
	for i := 0; i < len(args); i++ {
		a := args[i]
		if !strings.HasPrefix(a, "-") || a == "-" {
			if a != "" {
				rest = append(rest, a)
			}
			continue
		}
		name, value, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if takes[name] && !joined && i+1 < len(args) {
			i++
			value = args[i]
		}
		opts[name] = value
	}
	return opts, rest
}

func (d *control) run(args []string) error {
	if len(args) == 0 {
		return d.say("Usage:\n\ndmsetup command")
	}
	opts, rest := options(args[1:], "table", "o", "options", "separator", "target", "u", "uuid", "S", "select", "c0")
	name := ""
	if len(rest) > 0 {
		name = rest[0]
	}
	switch cmd := args[0]; cmd {
	case "version":
		fmt.Fprint(d.out, "Library version:   1.02.185 (2022-05-18)\nDriver version:    4.47.0\n")
		return nil
	case "udevcookies", "udevcomplete", "udevcomplete_all", "mknodes":
		return nil
	case "targets":
		fmt.Fprint(d.out, "thin             v1.22.0\nthin-pool        v1.22.0\nlinear           v1.4.0\n")
		return nil
	case "splitname":
		return d.splitName(name)
	case "ls":
		return d.ls(opts["target"])
	case "info":
		return d.info(opts, name)
	case "status", "table":
		return d.lines(cmd, opts["target"], name)
	case "create", "reload", "load", "suspend", "resume", "remove", "message":
		if name == "" {
			return d.say("dmsetup: %s needs a device name", cmd)
		}
		return d.change(cmd, name, rest, opts)
	default:
		return d.say("Unknown command")
	}
}

func (d *control) change(cmd, name string, rest []string, opts map[string]string) error {
	switch cmd {
	case "create":
		return d.create(name, opts["table"])
	case "reload", "load":
		return d.reload(name, opts["table"])
	case "suspend":
		return d.suspend(name, true)
	case "resume":
		return d.suspend(name, false)
	case "remove":
		for _, n := range rest {
			if err := d.remove(n, opts); err != nil {
				return err
			}
		}
		return nil
	}
	if len(rest) < 3 {
		return d.say("dmsetup: message needs a device, a sector and a message")
	}
	if err := d.exists(name); err != nil {
		return err
	}
	if err := d.message(name, strings.Fields(strings.Join(rest[2:], " "))); err != nil {
		return d.ioctl("message", name, err)
	}
	return nil
}

// message does what the thin-pool target does with a message.
func (d *control) message(name string, words []string) error {
	p := d.Pool(name)
	if p == nil || !p.Active {
		if d.Node(name) != nil {
			return unix.EINVAL // the thin target takes no messages
		}
		return unix.ENXIO
	}
	if p.ReadOnly || p.NeedsCheck {
		return unix.EOPNOTSUPP
	}
	if len(words) == 0 {
		return unix.EINVAL
	}
	var n [2]uint64
	for i, w := range words[1:] {
		v, err := strconv.ParseUint(w, 10, 64)
		if err != nil || i > 1 {
			return unix.EINVAL
		}
		n[i] = v
	}
	return d.obey(p, words[0], len(words)-1, n)
}

// maxDevice bounds device ids.
const maxDevice = 1<<24 - 1

func (d *control) obey(p *Pool, word string, args int, n [2]uint64) error {
	needs := map[string]int{"create_thin": 1, "create_snap": 2, "delete": 1, "set_transaction_id": 2, "reserve_metadata_snap": 0, "release_metadata_snap": 0}
	if k, ok := needs[word]; !ok || k != args {
		return unix.EINVAL
	}
	if word != "set_transaction_id" && (n[0] > maxDevice || n[1] > maxDevice) {
		return unix.EINVAL
	}
	var err error
	switch word {
	case "create_thin":
		err = p.CreateThin(uint32(n[0]))
	case "create_snap":
		err = p.CreateSnap(uint32(n[0]), uint32(n[1]))
	case "delete":
		err = p.Delete(uint32(n[0]), d.active(p, uint32(n[0])))
	case "set_transaction_id":
		if p.TransactionID != n[0] {
			return unix.EINVAL
		}
		p.TransactionID = n[1]
	case "reserve_metadata_snap":
		if p.HeldRoot != 0 {
			return unix.EBUSY
		}
		p.HeldRoot = p.MetaBlocks - 1 // the last block, which the metadata does not use
	case "release_metadata_snap":
		if p.HeldRoot == 0 {
			return unix.EINVAL
		}
		p.HeldRoot = 0
	}
	if err != nil {
		return err
	}
	return p.flush() // the kernel commits after each message
}

func (d *control) active(p *Pool, id uint32) bool {
	for _, n := range d.Nodes {
		if n.Pool == p.Name && n.Device == id {
			return true
		}
	}
	return false
}
