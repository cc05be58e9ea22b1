package flux

import (
	"strings"

	"fettle/internal/format/fluid"
)

// Keys that a repair mends in place, because Flux goes on from what they hold.
const (
	keyResourceLog   = "resource.eventlog"
	keyResourceState = "checkpoint.resource"
	keyJobManager    = "checkpoint.job-manager"
)

func specialKey(path string) bool {
	return path == keyResourceLog || path == keyResourceState || path == keyJobManager
}

// jobOf returns the F58 id of the job that a key belongs to, "" if it belongs to none.
func jobOf(path string) string {
	k, ok := fluid.FromPath(strings.SplitN(path, ".", 8))
	if !ok || !k.Complete {
		return ""
	}
	return k.ID.F58()
}

// jobDir returns the path of the job directory that a key lies in, "" if it lies in none. Keys in lost+found do not count.
func jobDir(path string) string {
	if !strings.HasPrefix(path, "job.") {
		return ""
	}
	parts := strings.SplitN(path, ".", 6)
	if len(parts) < 5 || jobOf(path) == "" {
		return ""
	}
	return strings.Join(parts[:5], ".")
}
