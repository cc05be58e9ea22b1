package lab

import (
	"context"

	"fettle/internal/finding"
	"fettle/internal/store"
)

// Recipe is one kind of damage that a kit can do.
type Recipe struct {
	Class string // of the findings, or the recipe's own name when it makes findings of several classes
	Title string
	// Alone recipes injure the file as a whole and cannot be combined with each other.
	Alone bool
}

// Kit is what a system contributes to the lab.
type Kit struct {
	System  store.System
	Recipes []Recipe
	// Mixed are cases with injuries of several classes, or many, at once.
	Mixed []Case
	// Make writes a healthy store to path, a file or a directory, small enough to be checked and repaired in seconds, the same
	// for the same seed.
	Make func(ctx context.Context, path string, seed uint64) error
	// Damage injures the store at path.
	Damage func(ctx context.Context, path string, seed uint64, injuries []Injury) (*Truth, error)
	// Paths are what a Location of the store lists; nil means path itself.
	Paths func(path string) ([]string, error)
	// Files are all files that belong to the store at path, present or not: undo must leave each as it was.
	Files func(path string) []string
	// Observe reads a finding as the truth would have said it.
	Observe func(f *finding.Finding) Expect
}
