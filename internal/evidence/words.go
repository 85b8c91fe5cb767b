package evidence

import (
	"slices"

	"github.com/netfate/netfate/internal/language"
)

// InWords returns facts with their names, values and notes in l, as far as they are
// words of netfate: names of settings, rules and addresses stay as they are.
func InWords(facts []Fact, l language.Language) []Fact {
	names := language.NewTranslator(l, language.FactNames())
	values := language.NewTranslator(l, language.FactValues(), language.Catalogue())
	told := slices.Clone(facts)
	for i := range told {
		f := &told[i]
		f.Name, f.Value, f.Note = names.Translate(f.Name), values.Translate(f.Value), values.Translate(f.Note)
	}
	return told
}
