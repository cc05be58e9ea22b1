package fluxlab_test

import (
	"context"
	"testing"

	"fettle/internal/lab"
	"fettle/internal/systems/flux"
	"fettle/internal/systems/flux/fluxlab"
)

// TestScore does the whole round on small stores. The full table is fettle lab score.
func TestScore(t *testing.T) {
	rep, err := lab.Run(context.Background(), lab.Config{Kit: fluxlab.Kit(flux.System{}, 8), Seeds: 2, Dir: t.TempDir(),
		Cases: []string{"healthy", "dangling-valref", "bad-checkpoint", "bad-page"}})
	if err != nil {
		t.Fatal(err)
	}
	if !rep.Total.Good() || rep.Total.Trials != 8 || rep.Total.Injected < 14 || rep.Total.Undone.Of != 6 {
		t.Errorf("%+v", rep)
	}
	if _, err := lab.Run(context.Background(), lab.Config{Kit: fluxlab.Kit(flux.System{}, 8), Cases: []string{"nonsense"}}); err == nil {
		t.Error("an unknown case was accepted")
	}
}
