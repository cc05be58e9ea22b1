package store

import (
	"fmt"
	"os"
	"strings"
)

// Location says where a store is: "flux:/var/lib/flux/content.sqlite", or just a path.
type Location struct {
	System string // "" when it has to be recognised by content
	// Paths are comma separated in the text form of a location that names its system. None means the place where the system is
	// usually found on this machine; a system that has no such place refuses that.
	Paths []string
	Text  string // as the user wrote it
}

// ParseLocation splits "system:path[,path...]". systems are the known system names. A text that exists as a path is
// taken as that path even if it holds a colon.
func ParseLocation(text string, systems []string) (Location, error) {
	if text == "" {
		return Location{}, fmt.Errorf("empty store location")
	}
	loc := Location{Text: text, Paths: []string{text}}
	if _, err := os.Lstat(text); err == nil {
		return loc, nil
	}
	name, rest, ok := strings.Cut(text, ":")
	if !ok {
		return loc, nil
	}
	for _, s := range systems {
		if s == name {
			loc.System = s
			loc.Paths = nil
			for _, p := range strings.Split(rest, ",") {
				if p != "" {
					loc.Paths = append(loc.Paths, p)
				}
			}
			return loc, nil
		}
	}
	return loc, nil
}
