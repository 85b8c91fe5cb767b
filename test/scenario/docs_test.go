package scenario

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the list of recipes into docs/scenarios.md")

// TestRecipesAreDocumented compares the list in docs/scenarios.md with the
// recipes that there are.
func TestRecipesAreDocumented(t *testing.T) {
	const path = "../../docs/scenarios.md"
	const begin, end = "<!-- recipes -->\n", "<!-- end of recipes -->\n"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	list, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("got no list in %s, want it between %q and %q", path, begin, end)
	}
	want := recipeTable()
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("the list of recipes is old; run with -update (-want +got):\n%s", diff)
	}
}

// recipeTable returns the recipes as a Markdown table.
func recipeTable() string {
	var b strings.Builder
	b.WriteString("| recipe | reason | verdict | protocol | direction | owner |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range Recipes() {
		reasons := strings.Join(r.Reasons, " or ")
		if len(r.Places) > 0 {
			reasons += " at " + strings.Join(r.Places, " or ")
		}
		owner := [...]string{AnyOwner: "any", Self: "self", Child: "child", Nobody: "nobody"}[r.Owner]
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.Name, reasons, r.Verdict, r.Proto, r.Direction, owner)
	}
	return b.String()
}

// TestRecipesAreWhole checks what the compiler cannot.
func TestRecipesAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Recipes() {
		switch {
		case seen[r.Name]:
			t.Errorf("got two recipes %q", r.Name)
		case r.Setup == nil || r.Verdict == "":
			t.Errorf("recipe %q has no setup or no verdict", r.Name)
		case r.Verdict != "benign" && len(r.Reasons) == 0:
			t.Errorf("recipe %q loses packets for no reason", r.Name)
		}
		seen[r.Name] = true
	}
}
