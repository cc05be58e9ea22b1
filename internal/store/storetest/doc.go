// Package storetest holds what is needed to test everything about the store contract: the conformance suite that every
// system passes (Run), a toy system in memory (MemSystem) to test the engines on, and devices that crash and lose power on
// demand (Power, Disk, Files, Crashing).
//
// It is imported by tests only. It must not know any real system.
package storetest
