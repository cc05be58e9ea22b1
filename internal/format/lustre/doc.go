// Package lustre decodes and encodes what a Lustre metadata target (MDT) keeps in extended attributes, directory entries
// and small files: FIDs, LMA, link EA, LMV and the hash from names to shards, dirdata, the IAM indexes (FLD and object
// index), sequence files, last_rcvd, mountdata, and the state that LFSCK leaves on disk.
//
// All functions are pure: bytes in, values out, and back. Whatever the input, they neither panic nor loop, and allocate no
// more than its length justifies. Decoders are tolerant where a checker can use what is left: they give every record that
// can be read together with a list of Problem, and return an error only when nothing at all can be made of the bytes.
//
// The package must not open files, must not know ext4, and must not judge: whether a parent exists or a name is right is for
// others to say. Facts of the format come from Lustre's headers and were compared with images that real servers wrote.
package lustre
