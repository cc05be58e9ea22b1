// Package cli is the command line: one file per verb, plus the few things that all verbs share (the app with its global
// flags, exit codes, errors, terminals, progress, help).
//
// A verb reads its flags, calls the rooms that do the work, and says what came out: findings and results go to standard
// output, everything about the work itself (progress, questions, errors, hints) to standard error. With --json both are one
// JSON object per line. Nothing here decides what is wrong with a store or what to write to it.
//
// Rules of the terminal: no colour and no redrawing unless the stream is a terminal; whatever comes from a store goes through
// say.Clean; a question is asked only when standard input is a terminal, goes to the terminal and nowhere else, and "q" always quits.
package cli
