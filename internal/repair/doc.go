// Package repair turns decided findings into a plan, makes the plan true, and takes it back.
//
// It has three parts that know as little as possible of each other:
//
//   - the plan (plan.go, make.go, diff.go, gates.go): what would be done, as a file that people read and sign;
//   - the journal (frame.go, journal.go, scan.go): a write-ahead undo log, one file per unit and application;
//   - the engine (apply.go, undo.go, state.go): puts steps through a store.Writer under the journal's rules.
//
// # What always holds
//
// Before the first write of a step, the old and the new content of every raw record it writes are in the journal and
// durable (file and directory), and a seal that says so is durable as well. After the last write the store is synced, and
// only then is the step marked done. So at any instant a crash, kill or power loss leaves a store in which
//
//   - every step before the current one is complete,
//   - every raw record of the current step holds its old content, its new content, or a tear of the two, and
//   - no record of a later step has been touched;
//
// Resume completes it and Undo restores it byte for byte. Both may themselves be interrupted anywhere and run again.
// A record that holds anything else was written by somebody else: Resume and Undo then refuse before writing anything.
//
// The engine never judges and never invents content: what is written is exactly what a Planner proposed, a person could
// read and a Writer lowered. It does not verify that the store is clean afterwards: that is a second check's job.
package repair
