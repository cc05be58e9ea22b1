// Package fluxlab makes content stores of the Flux KVS from a seed, injures them, and says what a check must find.
//
// It has three parts:
//
//	make     a store as a real instance leaves it: the SQL, the storage classes, the compression, the order of rows and
//	         the garbage of earlier commits are those of Flux (make.go, tree.go, site.go, jobs.go)
//	damage   recipes, one per class of package flux, that injure a store through SQL or by writing pages (recipes.go)
//	truth    a naive walker that reads the injured store through SQLite, follows every path and lists what is wrong
//	         (naive.go, walk.go, truth.go)
//
// The same seed and options always give the same bytes.
//
// The truth must stay independent of what it judges: nothing here may import package flux, and the walker may use neither
// sqlitefile nor the readers of treeobj. It is simple rather than fast, and keeps a record of every row in memory.
package fluxlab
