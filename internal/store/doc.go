// Package store is the contract that every supported system fulfils: how a store is opened, checked, planned for and
// written to. The engines (check, repair) know only this package; the systems know only this package; neither knows the
// other.
//
// Data goes one way. A Pass reads targets and emits findings through its Env; a Planner turns decided findings into
// Steps of Changes; a Writer makes Changes true. A Pass never writes, a Planner never writes, and a Writer never judges.
//
// The package holds no engine and no knowledge of any system. storetest holds the suite that every system must pass.
package store
