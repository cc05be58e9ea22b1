package devmapper

import "fettle/internal/finding"

// keyIn is the key of a finding about something in a namespace of meta.db, or about anything else when the namespace is empty.
func keyIn(class, subject string, in nsKey) string {
	if in.ns == "" {
		return keyOf(class, subject)
	}
	return keyOf(class, subject) + "\x00" + in.ns + "\x00" + in.key
}

// identity is the key of a finding that was written down.
func identity(f *finding.Finding) string {
	d := (&judged{Finding: *f}).facts()
	return keyIn(f.Class, f.Subject, nsKey{d.Namespace, d.Key})
}

// foundIndex finds findings by key; there may be as many as devices.
type foundIndex struct {
	of []judged // what was indexed
	at map[string]int
}

// lookup is the finding with a key, nil if the last analysis did not make it.
func (u *unit) lookup(key string) *judged {
	x := &u.index
	if x.at == nil || len(x.of) != len(u.found) || len(x.of) > 0 && &x.of[0] != &u.found[0] {
		*x = foundIndex{u.found, make(map[string]int, len(u.found))}
		for i := range u.found {
			x.at[u.found[i].key()] = i
		}
	}
	if i, ok := x.at[key]; ok {
		return &u.found[i]
	}
	return nil
}
