// Package mdtbackup reads a file-level backup of a Lustre metadata target: a tar archive (plain, or compressed with gzip, bzip2 or zstd) whose
// pax headers hold the attributes trusted.*, as GNU tar writes it with --xattrs --xattrs-include='trusted.*', or the directory that such an
// archive was extracted to.
//
// It hands out one member after the other, in the order of the archive, or in the order of the names for a directory; so the same input gives the
// same members. Nothing is kept of a member that was handed out, but for files of a directory that have several names.
//
// What must hold: nothing is written, no access time changes where that can be avoided, symbolic links are never followed, and nothing outside of a
// directory is read, on whatever mount. An archive that ends early is an error, because what it lacks would be taken for lost. A member that
// cannot be one of a target's is left out and counted. It must not know what attributes mean.
package mdtbackup
