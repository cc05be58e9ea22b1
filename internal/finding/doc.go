// Package finding says what can be wrong with a store and what may be done about it: severities, classes, actions,
// findings and policies.
//
// It is pure data and imports nothing else of this project, because everything else speaks its words. Class ids and
// action names are permanent: they are written into plans, baselines and scripts, so they are never renamed or reused.
//
// It must not know any system, read any file or decide anything about a particular store.
package finding
