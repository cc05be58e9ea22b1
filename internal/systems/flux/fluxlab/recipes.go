package fluxlab

import (
	"fettle/internal/lab"
)

// recipes is the table of everything that can be done to a store, in the order in which it is shown.
func recipes() (table []recipe) {
	add := func(st stage, class, title string, sql func(*patient, *surgeon, *lab.Done) error) {
		table = append(table, recipe{Recipe: lab.Recipe{Class: class, Title: title}, stage: st, sql: sql})
	}
	file := func(st stage, class, title string, plan func(*patient, *lab.Done) error) {
		table = append(table, recipe{Recipe: lab.Recipe{Class: class, Title: title, Alone: st > pageStage}, stage: st, plan: plan})
	}
	add(rowStage, danglingValref, "delete blobs of values", (*patient).dropValues)
	add(rowStage, danglingDirref, "delete directory objects", (*patient).dropDirs)
	add(rowStage, danglingRoot, "delete the newest root", (*patient).dropRoot)
	add(rowStage, hashMismatch, "flip bits, exchange or empty content", (*patient).changeContent)
	add(rowStage, undecodableBlob, "cut LZ4 blocks, set NULL, set a wrong size", (*patient).breakRows)
	add(commitStage, invalidTreeobj, "commit entries that break a rule of RFC 11", (*patient).commitBadEntries)
	add(commitStage, notADirectory, "commit directory references to values", (*patient).commitNotDirs)
	add(checkptStage, rootIsValue, "add a checkpoint whose root is a value", (*patient).rootIsValue)
	add(rowStage, hashStorageClass, "store keys as BLOB", (*patient).blobKeys)
	add(rowStage, duplicateBlob, "add a twin with a BLOB key", (*patient).twins)
	add(rowStage, damagedOrphan, "damage blobs that nothing refers to", (*patient).breakOrphans)
	add(commitStage, eventlogOrder, "commit job eventlogs out of order", (*patient).shuffleLogs)
	add(checkptStage, badCheckpoint, "write malformed checkpoint rows", (*patient).badCheckpoints)
	add(rowStage, lostCheckpoint, "delete or damage roots of older checkpoints", (*patient).dropOldRoots)
	add(checkptStage, noCheckpoint, "remove all checkpoint rows or their table", (*patient).noCheckpoints)
	add(checkptStage, legacyCheckpoint, "leave a bare blobref in the legacy table", (*patient).legacyValue)
	add(rowStage, randomRows, "delete rows at random", (*patient).dropRandom)
	file(pageStage, badPage, "zero or overwrite pages of the objects table", (*patient).badPages)
	file(pageStage, overflowPage, "zero overflow pages of large rows", (*patient).badOverflow)
	file(pageStage, badIndex, "zero or overwrite pages of the hash index", (*patient).badIndexPages)
	file(fileStage, badHeader, "overwrite the SQLite header", (*patient).clobberHeader)
	file(fileStage, badSchema, "empty the file or lose its schema", (*patient).loseSchema)
	file(fileStage, truncatedFile, "cut off the end of the file", (*patient).truncate)
	file(fileStage, walMissing, "leave only the first page, as before the first checkpoint of a -wal", (*patient).firstPageOnly)
	file(fileStage, liveCopy, "mix pages of different moments", (*patient).tear)
	file(walStage, walTruncated, "add a -wal that ends inside a frame", (*patient).shortWAL)
	file(walStage, walCorrupt, "add a -wal with a damaged frame", (*patient).corruptWAL)
	return table
}

// Recipes that are not named after a class.
const (
	rootIsValue  = "flux/root-is-value"   // makes not-a-directory
	randomRows   = "flux/random-rows"     // makes dangling references of all kinds
	overflowPage = "flux/overflow-zeroed" // makes undecodable-blob
)

// Recipes lists what Damage can do.
func Recipes() []lab.Recipe {
	var out []lab.Recipe
	for _, r := range recipes() {
		out = append(out, r.Recipe)
	}
	return out
}
