package livepool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"fettle/internal/fault"
)

// Pool is a thin pool that was active when it was found.
type Pool struct {
	Name             string
	MetadataDevice   string // path; /dev/block/253:0 where the table has a number
	DataDevice       string // likewise
	DataBlockSectors uint32 // of 512 bytes
	TableReadOnly    bool   // whoever made the pool wanted it to be read-only

	number string // "253:2", as tables of thin devices name the pool
}

// maxName is the kernel's DM_NAME_LEN without the final zero.
const maxName = 127

// checkName refuses what cannot be the name of a pool, or would be taken for an option of dmsetup.
func checkName(name string) error {
	bad := name == "" || len(name) > maxName || name[0] == '-' || name[0] == '.' ||
		strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' })
	if bad {
		return fault.NewUsage(fmt.Errorf("%q cannot be the name of a thin pool", name), "pool_name in containerd's config.toml is a bare name, without /dev/mapper/")
	}
	return nil
}

// Find tells whether a thin pool of that name is active on this machine. ok is false when there is no dmsetup in PATH, no
// device-mapper in the kernel, or no such pool. An error means that it could not be told.
func Find(ctx context.Context, name string) (p *Pool, ok bool, err error) {
	if err := checkName(name); err != nil {
		return nil, false, err
	}
	if _, err := exec.LookPath("dmsetup"); errors.Is(err, exec.ErrNotFound) {
		return nil, false, nil
	}
	out, err := dmsetup(ctx, askTime, nil, "table", "--target", "thin-pool")
	if says(err, textNoDriver) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for line := range strings.Lines(out) {
		of, table, found := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		if !found || of != name {
			continue
		}
		p, err := parseTable(name, table)
		if err == nil {
			err = p.learnNumber(ctx)
		}
		return p, err == nil, err
	}
	return nil, false, nil
}

// parseTable reads "0 LENGTH thin-pool METADATA DATA BLOCK LOWWATER [N FEATURE...]".
func parseTable(name, table string) (*Pool, error) {
	bad := func(what string) (*Pool, error) {
		return nil, &fault.Error{Op: "read the table of pool", Where: name, Err: fmt.Errorf("%s in %q", what, oneLine(table))}
	}
	f := strings.Fields(table)
	if len(f) < 7 || f[2] != "thin-pool" || f[0] != "0" {
		return bad("not the table of a thin pool")
	}
	block, err := strconv.ParseUint(f[5], 10, 32)
	if err != nil || block == 0 {
		return bad("impossible block size")
	}
	p := &Pool{Name: name, DataBlockSectors: uint32(block)}
	if p.MetadataDevice, err = devicePath(f[3]); err != nil {
		return bad(err.Error())
	}
	if p.DataDevice, err = devicePath(f[4]); err != nil {
		return bad(err.Error())
	}
	if len(f) > 8 {
		p.TableReadOnly = slices.Contains(f[8:], "read_only")
	}
	return p, nil
}

// devicePath is the path of a device as tables name it.
func devicePath(s string) (string, error) {
	if filepath.IsAbs(s) {
		return s, nil
	}
	if !isNumber(s) {
		return "", fmt.Errorf("device %q is neither a number nor a path", s)
	}
	path := "/dev/block/" + s
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	// Without udev there is no /dev/block; the kernel's own name of the device is the next best.
	if link, err := os.Readlink("/sys/dev/block/" + s); err == nil {
		return "/dev/" + filepath.Base(link), nil
	}
	return path, nil
}

// isNumber tells whether s is a device number like 253:0.
func isNumber(s string) bool {
	major, minor, ok := strings.Cut(s, ":")
	_, err1 := strconv.ParseUint(major, 10, 32)
	_, err2 := strconv.ParseUint(minor, 10, 32)
	return ok && err1 == nil && err2 == nil
}

// info is one line of dmsetup info.
type info struct {
	name      string
	number    string
	open      int
	suspended bool
}

// infos asks for the state of a device, or of all devices when name is empty.
func infos(ctx context.Context, name string) ([]info, error) {
	args := []string{"info", "-c", "--noheadings", "--separator", ":", "-o", "attr,major,minor,open,name"}
	if name != "" {
		args = append(args, name)
	}
	out, err := dmsetup(ctx, askTime, nil, args...)
	if err != nil {
		return nil, err
	}
	var all []info
	for line := range strings.Lines(out) {
		if strings.TrimSpace(line) == "No devices found" {
			continue
		}
		i, err := parseInfo(strings.TrimRight(line, "\n"))
		if err != nil {
			return nil, &fault.Error{Op: "read the answer of", Where: "dmsetup info", Err: err}
		}
		all = append(all, i)
	}
	return all, nil
}

// parseInfo reads "ATTR:MAJOR:MINOR:OPEN:NAME". The name is the last because it may hold colons.
func parseInfo(line string) (info, error) {
	f := strings.SplitN(line, ":", 5)
	for i := range f {
		f[i] = strings.TrimSpace(f[i])
	}
	if len(f) != 5 || len(f[0]) < 4 || !isNumber(f[1]+":"+f[2]) || f[4] == "" {
		return info{}, fmt.Errorf("unexpected line %q", oneLine(line))
	}
	open, err := strconv.ParseUint(f[3], 10, 31)
	if err != nil {
		return info{}, fmt.Errorf("unexpected open count in line %q", oneLine(line))
	}
	return info{name: f[4], number: f[1] + ":" + f[2], open: int(open), suspended: f[0][2] == 's'}, nil
}

// own is the state of the pool's own device.
func (p *Pool) own(ctx context.Context) (info, error) {
	all, err := infos(ctx, p.Name)
	if err != nil {
		return info{}, err
	}
	if len(all) != 1 || all[0].name != p.Name {
		return info{}, &fault.Error{Op: "look at pool", Where: p.Name, Err: fmt.Errorf("dmsetup info tells of %d devices", len(all)), Hint: "is it still active? dmsetup ls lists what is"}
	}
	return all[0], nil
}

func (p *Pool) learnNumber(ctx context.Context) error {
	i, err := p.own(ctx)
	p.number = i.number
	return err
}

// message sends a message to the pool.
func (p *Pool) message(ctx context.Context, held []*os.File, text string) error {
	_, err := dmsetup(ctx, messageTime, held, "message", p.Name, "0", text)
	return err
}
