package lustrelab

import (
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"fettle/internal/lab"
	"fettle/internal/systems/lustre/mkldiskfs"
)

// complaints are what e2fsck says of an injury that it can see at all: names without inodes and inodes without names. Everything
// else would mean that an edit left a count or a checksum wrong.
var complaints = regexp.MustCompile(`(?m)^(` + strings.Join([]string{
	`e2fsck .*`, `Pass \d.*`, `.*WARNING: Filesystem still has errors.*`, `\s*`, `lab-MDT.*: \d+/\d+ files.*`, `Fix\? no`, `Clear\? no`, `Connect to /lost\+found\? no`,
	`Unattached inode \d+`, `Unattached zero-length inode \d+\..*`, `Unconnected directory inode .*`, `Entry '.*' in .* has deleted/unused inode .*`,
	`Inode \d+ ref count is \d+, should be \d+\..*`, `Entry '.*' in .* has an incorrect filetype .*`, `'\.\.' in .* is .*, should be .*`,
	`Entry '.*' in .* is a link to directory .*`,
}, "|") + `)$`)

// e2fsck complains of nothing but names and inodes that do not go together.
func TestDamageE2fsck(t *testing.T) {
	tool := e2fsck(t)
	cases := map[string][]lab.Injury{"half of all names": {{Class: randomNames, Percent: 50}}}
	for _, r := range Recipes() {
		cases[strings.TrimPrefix(r.Class, "lustre/")] = []lab.Injury{{Class: r.Class, Count: 4}}
		cases["all"] = append(cases["all"], lab.Injury{Class: r.Class, Count: 2})
	}
	for what, o := range hurt {
		base := makeBase(t, o)
		for name, injuries := range cases {
			t.Run(what+"/"+name, func(t *testing.T) {
				t.Parallel()
				dir := makeHurt(t, base)
				if _, err := Damage(t.Context(), dir, 9, injuries); err != nil {
					t.Fatal(err)
				}
				paths, err := Targets(dir)
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range paths {
					if err := mkldiskfs.Plain(t.Context(), path); err != nil {
						t.Fatal(err)
					}
					out, err := exec.CommandContext(t.Context(), tool, "-fn", path).CombinedOutput()
					var failed *exec.ExitError
					if err != nil && !errors.As(err, &failed) {
						t.Fatal(err)
					}
					for _, l := range strings.Split(string(out), "\n") {
						if !complaints.MatchString(l) {
							t.Errorf("%s", l)
						}
					}
				}
			})
		}
	}
}
