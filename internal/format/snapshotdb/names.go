package snapshotdb

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fettle/internal/format/boltfile"
)

// SplitName takes a device name apart: "vg0-pool-snap-7" is pool vg0-pool, snapshot 7.
func SplitName(name string) (pool string, snapshot uint64, ok bool) {
	i := strings.LastIndex(name, "-snap-")
	if i < 0 {
		return "", 0, false
	}
	digits := name[i+len("-snap-"):]
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || digits != strconv.FormatUint(n, 10) {
		return "", 0, false
	}
	return name[:i], n, true
}

// head is the beginning of a value, short enough for a message.
func head(b []byte) []byte { return b[:min(len(b), 16)] }

// each visits the bucket at path below b. A bucket that is not there is added to missing, what cannot be read to damage.
func each(b *boltfile.Bucket, path []string, missing *[]string, damage *[]error, fn func(key, value []byte, sub *boltfile.Bucket)) *boltfile.Bucket {
	for i, name := range path {
		next, ok, err := b.Bucket([]byte(name))
		where := strings.Join(path[:i+1], "/")
		if err != nil {
			*damage = append(*damage, fmt.Errorf("bucket %s: %w", where, err))
		}
		if !ok {
			if missing != nil && err == nil {
				*missing = append(*missing, where)
			}
			return nil
		}
		b = next
	}
	err := b.Each(func(key, value []byte, sub *boltfile.Bucket) error {
		fn(key, value, sub)
		return nil
	})
	if err != nil {
		*damage = append(*damage, fmt.Errorf("bucket %s: %w", strings.Join(path, "/"), err))
	}
	return b
}

// errAbsent is the error of a record that lacks a field it must have.
var errAbsent = errors.New("is missing")
