package wholefile

import (
	"os"
	"syscall"
)

// SameOwner gives a new file the owner of the one that it stands in for, where we may: a program that runs as its own user
// must be able to open what a repair run by root leaves behind.
func SameOwner(like os.FileInfo, path string) {
	if st, ok := like.Sys().(*syscall.Stat_t); ok {
		_ = os.Chown(path, int(st.Uid), int(st.Gid)) // without privileges the owner is ours already
	}
}
