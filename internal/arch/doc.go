// Package arch keeps the house in order. It holds nothing but tests: who may import whom, that every package says what it is
// for, that files stay readable, that nothing registers itself, and that the reference pages match the program.
//
// go test ./internal/arch -update writes classes.md, cli.md and lfsck-scenarios.md in docs/reference anew.
//
// Nothing imports it, and it must not test what a room does; that is the room's own business.
package arch
