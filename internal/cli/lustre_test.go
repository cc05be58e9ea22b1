package cli

import (
	"os"

	"fettle/internal/store"
	"fettle/internal/systems/lustre"
)

// lustreMain is a fettle that knows Lustre only, for verbs that have to recognise a store.
func lustreMain() {
	os.Exit(Main(Env{Systems: []store.System{lustre.System{}}, Version: "v0.0.0-test", In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Args[1:]))
}
