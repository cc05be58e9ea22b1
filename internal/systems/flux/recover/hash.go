package recover

import (
	"bytes"
	"io"
	"os"
)

// hashInFile looks for blobrefs as text anywhere in a file that cannot be read as a database. Directory objects and
// checkpoints are full of them.
func hashInFile(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	var n1, n256 int
	const overlap = 8
	buf := make([]byte, 1<<20)
	kept := 0
	for {
		n, err := io.ReadFull(f, buf[kept:])
		part := buf[:kept+n]
		n1 += bytes.Count(part, []byte(`"sha1-`))
		n256 += bytes.Count(part, []byte(`"sha256-`))
		if err != nil {
			break
		}
		kept = copy(buf, part[len(part)-overlap:])
	}
	switch {
	case n256 > n1:
		return "sha256"
	case n1 > 0:
		return "sha1"
	}
	return ""
}
