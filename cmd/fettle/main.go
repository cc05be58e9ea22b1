// Command fettle checks and repairs the metadata of storage systems. It only wires the rooms together: the systems to the
// command line, the streams of the process to both, and the result to the exit code. Started as the watchdog of a live thin pool, it is
// that and nothing else.
package main

import (
	"os"
	"runtime/debug"

	"fettle/internal/cli"
	"fettle/internal/systems"
	"fettle/internal/systems/devmapper/livepool"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

func main() {
	if livepool.Watching(os.Args) {
		os.Exit(livepool.Watch(os.Args))
	}
	os.Exit(cli.Main(cli.Env{Systems: systems.All(), Version: buildVersion(), In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Args[1:]))
}

// buildVersion is the version of this binary: what the linker was told, else what the module system recorded.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
