// Package shell is the debug shell: any store that is a store.Browser can be looked at like a tree of files, interactively or one
// command at a time (fettle shell STORE -c 'ls job').
//
// It knows command lines (words, quotes, patterns), the commands that make sense for every tree (ls, cat, stat, tree, find, cd, ...),
// the terminal (line editing, history, completion) and nothing about any system: trees and further commands come from a store.View.
//
// What must hold: a shell never writes to the store; damage is shown where it is met and never ends a listing; what comes from the
// store cannot steer a terminal, but reaches a file or a pipe byte for byte; trees that contain themselves, or the same directory
// many times, end.
package shell
