package verdict

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/language"
	"github.com/netfate/netfate/internal/record"
)

var update = flag.Bool("update", false, "write the generated part of docs/verdicts.md")

const (
	docFile  = "../../docs/verdicts.md"
	docStart = "<!-- Generated from internal/verdict/rules by: go test ./internal/verdict -update -->\n"
)

// The reference at the end of docs/verdicts.md says what the rules say.
func TestDocs(t *testing.T) {
	old, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := bytes.Cut(old, []byte(docStart))
	if !ok {
		t.Fatalf("%s: no line %q", docFile, docStart)
	}
	want := string(head) + docStart + reference(t, newBook(t))
	if *update {
		if err := os.WriteFile(docFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(old)); diff != "" {
		t.Errorf("docs/verdicts.md is out of date, run go test ./internal/verdict -update (-want +got):\n%s", diff)
	}
}

func reference(t *testing.T, b *Book) string {
	var out strings.Builder
	for _, v := range record.Verdicts() {
		fmt.Fprintf(&out, "\n### %s\n\n| reason | why |\n| --- | --- |\n", v)
		for _, name := range b.Reasons() {
			e, err := b.Explain(name)
			if err != nil {
				t.Fatal(err)
			}
			if e.Verdict == v {
				fmt.Fprintf(&out, "| `%s` | %s |\n", strings.Join(append([]string{e.Reason}, e.Aliases...), "`, `"), e.Why)
			}
		}
	}
	out.WriteString("\n### Exceptions by place, protocol and state\n\n| reason | where | verdict | why |\n| --- | --- | --- | --- |\n")
	for _, name := range b.Reasons() {
		e, err := b.Explain(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range e.Places {
			fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", e.Reason, p.Where(language.English), p.Verdict, p.Why)
		}
	}
	return out.String()
}
