// Package treeobj reads and writes the tree objects of the Flux key-value
// store (RFC 11) and the blob references they are made of.
//
// A tree object is a JSON object with exactly the keys "ver", "type" and
// "data". The types are val, valref, dir, dirref and symlink. Directory blobs
// of the content store hold one serialized dir object.
//
// The room has three doors:
//
//   - Ref: one blob reference, text <-> hash, and Hash over content.
//   - Scanner: a single-pass reader of one serialized object. It judges every
//     entry on its own: one malformed entry never hides its neighbours.
//   - Dir and the New* functions: build and edit directory objects and write
//     them exactly as Flux does (compact, keys in byte order, only the escapes
//     that JSON demands).
//
// Invariants: the reader accepts as decodable exactly what Flux accepts
// (jansson's json_loadb without flags, then its recursive validation). Where
// RFC 11 is stricter than Flux the entry carries a rule for which
// Rule.FluxRejects is false. Of equal keys the last one counts, because Flux
// does not ask jansson to refuse them. One known difference: jansson overlooks
// a single NUL byte right after a number or a word; here it is a fault. Time and memory are linear in the input; nesting
// is bounded like in jansson.
//
// The room must NOT look blobs up, follow references or decide what to do
// about a bad entry.
package treeobj
