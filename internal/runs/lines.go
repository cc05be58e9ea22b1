package runs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"fettle/internal/fault"
)

// maxLine bounds one line of a .jsonl file. The writers refuse longer ones.
const maxLine = 64 << 20

// eachLine calls fn with every whole line of the file, without its newline, and its offset. A last line without a
// newline is torn and left out. decode errors of the last line mean that it is torn too; those of any other line are
// returned with the line's number. fn returns false to end early. The line is only valid during the call.
func eachLine(path string, decode func(line []byte) error, fn func(line []byte, off int64) bool) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &fault.Error{Op: "read", Where: path, Err: err}
	}
	defer f.Close()
	br := bufio.NewReaderSize(f, 64<<10)
	var buf []byte
	var off int64
	for n := 1; ; n++ {
		buf, err = readLine(br, buf[:0])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &fault.Error{Op: "read", Where: fmt.Sprintf("%s line %d", path, n), Err: err}
		}
		size := int64(len(buf)) + 1
		if err := decode(buf); err != nil {
			if _, peek := br.Peek(1); errors.Is(peek, io.EOF) {
				return nil
			}
			return &fault.Error{Op: "read", Where: fmt.Sprintf("%s line %d", path, n), Err: err,
				Hint: "the file was damaged after it was written; run the check again"}
		}
		if !fn(buf, off) {
			return nil
		}
		off += size
	}
}

// readLine appends the next line without its newline to buf. A line that ends without a newline is io.EOF.
func readLine(br *bufio.Reader, buf []byte) ([]byte, error) {
	for {
		part, err := br.ReadSlice('\n')
		if len(buf)+len(part) > maxLine {
			return nil, fmt.Errorf("line is longer than %d bytes", maxLine)
		}
		buf = append(buf, part...)
		switch {
		case err == nil:
			return buf[:len(buf)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
