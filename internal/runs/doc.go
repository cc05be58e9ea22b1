// Package runs keeps runs: one directory of plain files per run, which cat and jq can read.
//
// Files of a run:
//
//	spec.json       what was asked for; written once, never changed
//	status.json     state and progress; replaced by rename, at most every 500 ms
//	control.json    requests to the running process: stop, rate, rate_bytes
//	lock            flock of the process that works on the run
//	findings.jsonl  one finding per line, in the order of their sequence numbers
//	outcomes.jsonl  what was decided and done about findings; the last line about a number holds
//	checkpoint.json where the check resumes; its content belongs to the check engine
//	summary.json    the last line of the check
//	scratch/        working files of the passes
//
// Everything else in the directory (plans, journals, verify results) belongs to the repair engine, which gets its paths
// from Run.File.
//
// What must hold: spec.json, checkpoint.json and summary.json are either whole or absent, also after power loss; a torn
// last line of a .jsonl file is ignored; at most one process works on a run at a time; a run of which any file is
// damaged can still be listed, found and removed.
//
// It must not open stores, judge findings or decide what is done about them.
package runs
