// Package report turns the findings of one run into something to read or to hand on: text for people, JSON lines,
// SARIF 2.1.0, JUnit XML and a self-contained HTML page.
//
// A run may hold millions of findings, so every format reads them from an iterator and keeps no more than a bounded
// number of them: the machine formats keep none, text and HTML keep a few per class and count the rest.
//
// Whatever comes from a store (keys, paths, evidence) is hostile: Clean makes it harmless for a terminal, and every format
// quotes it by its own rules. Colour is written only when the caller says that the reader is a terminal that wants it.
//
// The package must not read runs or stores, decide anything, or know any system.
package report
