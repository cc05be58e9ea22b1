package finding

import (
	"fmt"
	"strings"
)

// Severity is how much a finding matters. Only errors and warnings make a verdict other than clean.
type Severity string

// The severities, most serious first.
const (
	Error   Severity = "error"   // the system loses data, refuses to start or answers wrongly because of it
	Warning Severity = "warning" // harmless today, but it costs a way back or breaks a later operation
	Info    Severity = "info"    // worth knowing; never makes a store "damaged"
)

// ParseSeverity accepts the exact names.
func ParseSeverity(s string) (Severity, error) {
	switch v := Severity(s); v {
	case Error, Warning, Info:
		return v, nil
	}
	return "", fmt.Errorf("unknown severity %q (one of error, warning, info)", s)
}

// Rank orders severities: 0 is the most serious.
func (s Severity) Rank() int {
	switch s {
	case Error:
		return 0
	case Warning:
		return 1
	}
	return 2
}

// Shape is the kind of disagreement between witnesses that a class is an instance of.
type Shape string

// The shapes. Every class of every system has exactly one.
const (
	Dangling  Shape = "dangling"  // a reference whose object is gone
	Orphan    Shape = "orphan"    // an object nobody refers to
	Contested Shape = "contested" // several claim the same
	Mismatch  Shape = "mismatch"  // both sides exist and differ
	Miscount  Shape = "miscount"  // a count that does not add up
	Corrupt   Shape = "corrupt"   // a record that cannot be read
)

// Action is what can be done about a finding. Actions that decide between witnesses are named after the one they trust.
type Action string

// Actions known to more than one system, and the two that exist for every class (Ignore, Interact).
const (
	Quarantine Action = "quarantine" // keep what is readable in the store's lost+found
	Restore    Action = "restore"    // put back an older or recomputed version
	Unlink     Action = "unlink"     // remove the reference
	Rollback   Action = "rollback"   // return the whole unit to its newest good state
	Discard    Action = "discard"    // remove the record
	Recreate   Action = "recreate"   // make anew what is lost, with what can be known of it
	Rewrite    Action = "rewrite"    // write the record again as it must be; nothing is lost
	Rebuild    Action = "rebuild"    // write the whole file anew from every readable record
	Ignore     Action = "ignore"     // leave it
	Interact   Action = "interact"   // leave it, and all of its unit, until a person has decided
	Default    Action = "default"    // whatever the finding suggests (only in policies)
)

// ActionDoc explains one action of one class.
type ActionDoc struct {
	Action       Action `json:"action"`
	Does         string `json:"does"`                   // what is written, in the system's terms
	Loses        string `json:"loses"`                  // what is gone afterwards; "" means nothing
	Irreversible bool   `json:"irreversible,omitempty"` // never a default; must be asked for by name
}

// Class is one way in which a store can be inconsistent: one row in a system's table of classes.
type Class struct {
	ID        string      `json:"id"` // system/short-name, permanent
	Aliases   []string    `json:"aliases,omitempty"`
	Title     string      `json:"title"` // one line, no final period
	Severity  Severity    `json:"severity"`
	Shape     Shape       `json:"shape"`
	Explain   string      `json:"explain"` // what it is, how it comes about, what the system does with it
	Actions   []ActionDoc `json:"actions"` // the default first
	DependsOn []string    `json:"depends_on,omitempty"`
}

// Default is the action taken when a policy says nothing: the first of the list.
func (c Class) Default() Action {
	if len(c.Actions) == 0 {
		return Ignore
	}
	return c.Actions[0].Action
}

// ActionNames lists the actions of the class, default first.
func (c Class) ActionNames() []Action {
	out := make([]Action, len(c.Actions))
	for i, a := range c.Actions {
		out[i] = a.Action
	}
	return out
}

// Offers tells whether a is one of the class's actions.
func (c Class) Offers(a Action) bool {
	for _, d := range c.Actions {
		if d.Action == a {
			return true
		}
	}
	return false
}

// Doc returns the explanation of action a, and whether the class offers it.
func (c Class) Doc(a Action) (ActionDoc, bool) {
	for _, d := range c.Actions {
		if d.Action == a {
			return d, true
		}
	}
	return ActionDoc{}, false
}

// Classes is a system's table of classes.
type Classes []Class

// Lookup finds a class by its id or one of its aliases, case-insensitively.
func (cs Classes) Lookup(name string) (Class, bool) {
	for _, c := range cs {
		if strings.EqualFold(c.ID, name) {
			return c, true
		}
		for _, a := range c.Aliases {
			if strings.EqualFold(a, name) {
				return c, true
			}
		}
	}
	return Class{}, false
}
