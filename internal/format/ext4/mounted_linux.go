package ext4

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is a place at which a device is mounted.
type mount struct {
	Dir      string
	ReadOnly bool
}

// mountsOf gives where a device, or an image file by way of loop devices, is mounted. It sees the mounts of its own name space only.
// proc and sys are where those file systems are, usually /proc and /sys; what is missing there counts as not mounted.
func mountsOf(path, proc, sys string) ([]mount, error) {
	devs, err := devicesOf(path, sys)
	if err != nil || len(devs) == 0 {
		return nil, err
	}
	f, err := os.Open(filepath.Join(proc, "self/mountinfo"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list of mounts: %w", err)
	}
	defer f.Close()
	return parseMounts(f, devs)
}

// devicesOf gives the numbers "major:minor" of a block device, or of the loop devices whose backing file path is.
func devicesOf(path, sys string) (map[string]bool, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return map[string]bool{fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)): true}, nil
	}
	loops, err := filepath.Glob(filepath.Join(sys, "block/loop*/loop/backing_file"))
	if err != nil {
		return nil, fmt.Errorf("list of loop devices: %w", err)
	}
	devs := map[string]bool{}
	for _, file := range loops {
		backing, err := os.ReadFile(file)
		if err != nil {
			continue // detached meanwhile
		}
		var other unix.Stat_t
		if unix.Stat(strings.TrimSuffix(string(backing), "\n"), &other) != nil || other.Dev != st.Dev || other.Ino != st.Ino {
			continue
		}
		if dev, err := os.ReadFile(filepath.Join(filepath.Dir(file), "../dev")); err == nil {
			devs[strings.TrimSpace(string(dev))] = true
		}
	}
	return devs, nil
}

// parseMounts reads a mountinfo: id, parent, major:minor, root, mount point, options, ... (proc_pid_mountinfo(5)).
func parseMounts(r io.Reader, devs map[string]bool) ([]mount, error) {
	var list []mount
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 6 || !devs[f[2]] {
			continue
		}
		dir, err := strconv.Unquote(`"` + strings.ReplaceAll(f[4], `"`, `\"`) + `"`) // spaces are written as \040
		if err != nil {
			dir = f[4]
		}
		super := f[len(f)-1] // options of the file system, behind those of the mount
		list = append(list, mount{Dir: dir, ReadOnly: super == "ro" || strings.HasPrefix(super, "ro,")})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("list of mounts: %w", err)
	}
	return list, nil
}
