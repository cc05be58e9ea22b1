// Package lab measures how well fettle checks and repairs: a store is made from a seed, injured by a recipe that says
// what a check must find, checked, repaired, checked again, and the repair is taken back. Per class of damage the score says
// what was injected, found, missed and falsely reported, and whether repair and undo kept their promises.
//
// The room knows no system. What a system contributes is a Kit: how to make a store, how to injure it, and how to read its
// findings. Truth is the file in which a kit says what is wrong with an injured store; Compare holds it against findings.
//
// The lab must never be given a store that somebody needs: Damage destroys.
package lab
