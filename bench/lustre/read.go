package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"fettle/internal/format/ext4"
)

// A list says what is to be read: for each image the length of its path and the path, the number of stretches, and of each its first byte
// and length; all numbers are 8 bytes, little-endian.

// stretch is bytes of an image that are read together.
type stretch struct{ at, length int64 }

const (
	gap   = 64 << 10 // the longest stretch between two others that is read rather than skipped
	piece = 1 << 20  // the most that is read at once
)

// writeList finds inode tables and directory blocks of images, and writes where they are, inodes of each image first.
func writeList(path string, images []string) (inodes, bytes int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, 0, err
	}
	w := bufio.NewWriter(f)
	defer func() { err = errors.Join(err, w.Flush(), f.Close()) }()
	for _, image := range images {
		tables, blocks, n, err := survey(image)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", image, err)
		}
		inodes += n
		list := append(tables, blocks...)
		out := binary.LittleEndian.AppendUint64(nil, uint64(len(image)))
		out = binary.LittleEndian.AppendUint64(append(out, image...), uint64(len(list)))
		for _, s := range list {
			bytes += s.length
			out = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(out, uint64(s.at)), uint64(s.length))
		}
		if _, err := w.Write(out); err != nil {
			return 0, 0, err
		}
	}
	return inodes, bytes, nil
}

// survey gives where an image has inodes in use and blocks of directories, and how many inodes are in use.
func survey(image string) (tables, blocks []stretch, inodes int64, err error) {
	fs, err := ext4.Open(image)
	if err != nil {
		return nil, nil, 0, err
	}
	defer func() { err = errors.Join(err, fs.Close()) }()
	size, block := int64(fs.Super().InodeSize), int64(fs.Super().BlockSize)
	err = fs.SweepInodes(context.Background(), ext4.SweepOptions{}, func(in *ext4.Inode) error {
		inodes++
		tables = add(tables, stretch{in.Offset, size})
		if !in.IsDir() {
			return nil
		}
		return fs.DirBlocks(in, func(b ext4.DirBlock) bool {
			blocks = append(blocks, stretch{int64(b.Physical) * block, block})
			return true
		}, nil)
	})
	slices.SortFunc(blocks, func(a, b stretch) int { return int(min(1, max(-1, a.at-b.at))) })
	var joined []stretch
	for _, b := range blocks {
		joined = add(joined, b)
	}
	return tables, joined, inodes, err
}

// add appends a stretch, to the one before if it is near.
func add(list []stretch, s stretch) []stretch {
	if n := len(list); n > 0 {
		if last := &list[n-1]; s.at >= last.at && s.at-last.at-last.length <= gap && s.at+s.length-last.at <= piece {
			last.length = max(last.length, s.at+s.length-last.at)
			return list
		}
	}
	return append(list, s)
}

// readList reads what a list says, and touches it.
func readList(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	buf := make([]byte, piece)
	var sum byte
	for {
		n, err := number(r)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		name := make([]byte, n)
		if _, err := io.ReadFull(r, name); err != nil {
			return err
		}
		if err := readImage(string(name), r, buf, &sum); err != nil {
			return err
		}
	}
	if sum == 1 {
		fmt.Fprint(io.Discard, sum) // so that the bytes are really looked at
	}
	return nil
}

func readImage(image string, r io.Reader, buf []byte, sum *byte) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	count, err := number(r)
	if err != nil {
		return err
	}
	for range count {
		at, err := number(r)
		if err != nil {
			return err
		}
		length, err := number(r)
		if err != nil {
			return err
		}
		b := buf[:length]
		if _, err := f.ReadAt(b, at); err != nil {
			return err
		}
		for i := 0; i < len(b); i += 64 {
			*sum += b[i]
		}
	}
	return nil
}

func number(r io.Reader) (int64, error) {
	var b [8]byte
	_, err := io.ReadFull(r, b[:])
	return int64(binary.LittleEndian.Uint64(b[:])), err
}
