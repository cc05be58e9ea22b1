package systems

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fettle/internal/fault"
	"fettle/internal/store"
)

// Every system tells of a place that cannot be opened in the same manner: the path once, what is wrong with it, and what to try.
func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.txt")
	if err := os.WriteFile(text, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sys := range All() {
		for place, says := range map[string]string{
			"/dev/null":                "a character device",
			filepath.Join(dir, "none"): "no such file",
			filepath.Join(text, "x"):   "not a directory",
			dir:                        "",
			text:                       "",
		} {
			st, err := sys.Open(t.Context(), store.Location{System: sys.Name(), Paths: []string{place}, Text: place}, store.Options{})
			if err == nil {
				st.Close() // a file of which everything is damaged, for some
				if place != text {
					t.Errorf("%s: %s was opened", sys.Name(), place)
				}
				continue
			}
			got := err.Error()
			if strings.Count(got, place) != 1 || strings.Count(got, "open") > 1 || !strings.Contains(got, says) {
				t.Errorf("%s: %s", sys.Name(), got)
			}
			if len(fault.Hints(err)) != 1 {
				t.Errorf("%s: %s: hints %q", sys.Name(), got, fault.Hints(err))
			}
		}
	}
}
