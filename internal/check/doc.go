// Package check runs one check of a store: it leads every unit through its passes, numbers and keeps what they find,
// and ends with a summary.
//
// Units run in parallel, each through its own passes in order; a unit that fails does not hold up the others. The
// engine is the store.Env of every pass: it counts work, enforces rate limits, takes checkpoints, stops on request and
// resumes where the last checkpoint was taken.
//
// What must hold: sequence numbers are dense from 1; findings.jsonl is on disk before the checkpoint that counts on it;
// a resumed run ends with the same findings as one that was never interrupted; a finding is only counted if it still
// holds after the store was seen to change.
//
// It must not know any system, write to a store, or decide what is done about a finding.
package check
