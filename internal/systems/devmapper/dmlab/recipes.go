package dmlab

import "fettle/internal/lab"

// Why a repair by default actions leaves something.
const (
	byPerson = "a person has to decide"
	byPool   = "the thin pool has to be changed, which is only done when asked for by name"
	byLoss   = "what is lost cannot be made again"
)

// recipes is the table of everything that can be done to a set, in the order in which it is shown.
func recipes() (table []recipe) {
	for _, part := range [][]recipe{poolRecipes(), storeRecipes(), metaRecipes(), boltRecipes(), thinRecipes()} {
		table = append(table, part...)
	}
	return table
}

// Recipes lists what Damage can do.
func Recipes() []lab.Recipe {
	var out []lab.Recipe
	for _, r := range recipes() {
		out = append(out, r.Recipe)
	}
	return out
}

func named(class, title string) lab.Recipe { return lab.Recipe{Class: class, Title: title} }

func alone(class, title string) lab.Recipe {
	return lab.Recipe{Class: class, Title: title, Alone: true}
}
