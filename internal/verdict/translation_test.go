package verdict

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/clipperhouse/displaywidth"

	"github.com/netfate/netfate/internal/language"
)

var translated = flag.Bool("translated", false, "record that every translation says what its English entry says now")

// translations returns the books in other languages.
func translations(t *testing.T) []*Book {
	t.Helper()
	var books []*Book
	for _, l := range language.All()[1:] {
		b, err := In(l)
		if err != nil {
			t.Fatal(err)
		}
		books = append(books, b)
	}
	return books
}

// An entry whose English was changed has to be translated anew: the sums are of the
// English texts that the translations were made of.
func TestTranslationsAreOfTheseTexts(t *testing.T) {
	var sums strings.Builder
	english := newBook(t)
	for _, name := range english.Reasons() {
		fmt.Fprintf(&sums, "%s %s\n", name, sum(mustExplain(t, english, name)))
	}
	for _, b := range translations(t) {
		file := filepath.Join("testdata", b.Language().String()+".sum")
		if *translated {
			if err := os.WriteFile(file, []byte(sums.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		recorded, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		have := strings.Split(string(recorded), "\n")
		for line := range strings.Lines(sums.String()) {
			if line = strings.TrimSuffix(line, "\n"); !slices.Contains(have, line) {
				name, _, _ := strings.Cut(line, " ")
				t.Errorf("%s: its English has changed since it was translated: change rules/%s too, then go test ./internal/verdict -translated", name, b.Language())
			}
		}
		if n := strings.Count(sums.String(), "\n"); n != len(have)-1 {
			t.Errorf("%s has %d sums of %d entries: go test ./internal/verdict -translated", file, len(have)-1, n)
		}
	}
}

// sum is a short sum of all that is to be translated of an entry.
func sum(e Entry) string {
	h := sha256.New()
	for _, s := range texts(&e) {
		fmt.Fprintf(h, "%q\n", s)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:6])
}

// texts are an entry's texts; those of its members are their own entries'.
func texts(e *Entry) []string {
	list := slices.Concat([]string{e.Why, e.Meaning}, e.Causes, e.Confirm, e.Fix)
	for _, p := range e.Places {
		list = append(list, p.Why)
	}
	return list
}

func mustExplain(t *testing.T, b *Book, name string) Entry {
	t.Helper()
	e, err := b.Explain(name)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// names are the words of a text that are the same in every language: placeholders,
// settings, calls, and names of reasons.
var names = regexp.MustCompile(`[A-Za-z0-9]+(?:[_.][A-Za-z0-9_]+)+|\b[A-Z]{2,}(?:-?[A-Z0-9]+)*\b`)

// words are names that are words of the language in translations.
var words = map[string]string{"NIC": "网卡"}

func TestTranslationsAreWhole(t *testing.T) {
	original := newBook(t)
	for _, b := range translations(t) {
		if got, want := b.Reasons(), original.Reasons(); !slices.Equal(got, want) {
			t.Fatalf("%s: other reasons than in English", b.Language())
		}
		for _, name := range original.Reasons() {
			was, is := mustExplain(t, original, name), mustExplain(t, b, name)
			old, text := texts(&was), texts(&is)
			if len(old) != len(text) {
				t.Fatalf("%s: %d texts, want %d", name, len(text), len(old))
			}
			for i := range old {
				checkTranslation(t, name, old[i], text[i])
			}
			if was.Verdict != is.Verdict {
				t.Errorf("%s: the verdict is %s, want %s", name, is.Verdict, was.Verdict)
			}
			for i := range is.Places {
				if was.Places[i].Verdict != is.Places[i].Verdict {
					t.Errorf("%s: another verdict at %v", name, is.Places[i].Places)
				}
			}
			for _, why := range whys(&is) {
				if displaywidth.String(why) > 90 {
					t.Errorf("%s: why is %d columns, too wide for a table: %s", name, displaywidth.String(why), why)
				}
			}
		}
	}
}

// checkTranslation compares one text with its translation.
func checkTranslation(t *testing.T, entry, old, text string) {
	t.Helper()
	command, comment, remarked := strings.Cut(old, commentMark)
	if strings.HasPrefix(old, "$ ") {
		got, remark, ok := strings.Cut(text, commentMark)
		if got != command || ok != remarked {
			t.Errorf("%s: got the command %q, want %q", entry, text, old)
		}
		if !remarked {
			return
		}
		old, text = comment, remark
	}
	if !strings.ContainsFunc(text, func(r rune) bool { return unicode.Is(unicode.Han, r) }) && strings.ContainsFunc(old, unicode.IsLower) && strings.Contains(old, " ") {
		t.Errorf("%s: not translated: %s", entry, text)
	}
	if strings.ContainsAny(text, "\n\t") || strings.TrimSpace(text) != text || text == "" {
		t.Errorf("%s: stray space: %q", entry, text)
	}
	for _, r := range text {
		if strings.ContainsRune(",;:?!", r) && strings.Contains(text, string(r)+" ") {
			t.Errorf("%s: %q of another script in: %s", entry, r, text)
		}
	}
	for _, name := range names.FindAllString(old, -1) {
		if !strings.Contains(text, name) && (words[name] == "" || !strings.Contains(text, words[name])) {
			t.Errorf("%s: %s is not in its translation\n%s\n%s", entry, name, old, text)
		}
	}
}

// Records have English texts; whoever shows them has the book.
func TestReworded(t *testing.T) {
	english := newBook(t)
	for _, b := range translations(t) {
		for _, reason := range english.Reasons() {
			was, is := mustExplain(t, english, reason), mustExplain(t, b, reason)
			old := whys(&was)
			for i, want := range whys(&is) {
				if got := b.Reworded(old[i]); got != want && !slices.Contains(whys(&is), got) {
					t.Errorf("%s: got %s, want %s", old[i], got, want)
				}
			}
		}
		if got := b.Reworded("not of the book"); got != "not of the book" {
			t.Errorf("got %q", got)
		}
	}
}

// A fault in a translation is an error that says where it is, and no empty text.
func TestFaultyTranslation(t *testing.T) {
	e := func() *Entry {
		return &Entry{
			Why: "w", Meaning: "m", Causes: []string{"c"}, Confirm: []string{"$ ss -l  # which?"}, Fix: []string{"$ ss", "start it"},
			Places: []PlaceRule{{Why: "p"}}, Members: []Member{{Reason: "M", Why: "w", Meaning: "m"}},
		}
	}
	good := func() translation {
		return translation{
			Why: "一", Meaning: "二", Causes: []string{"三"}, Confirm: []string{"$ 四"}, Fix: []string{"$", "五"},
			Places: []string{"六"}, Members: map[string]translation{"M": {Why: "七", Meaning: "八"}},
		}
	}
	done := e()
	text := good()
	if err := text.put(done); err != nil {
		t.Fatal(err)
	}
	if got := slices.Concat(texts(done), []string{done.Members[0].Why, done.Members[0].Meaning}); !slices.Equal(got, []string{
		"一", "二", "三", "$ ss -l  # 四", "$ ss", "五", "六", "七", "八",
	}) {
		t.Errorf("got %q", got)
	}
	for name, spoil := range map[string]func(*translation){
		"no why":                func(x *translation) { x.Why = "" },
		"no meaning":            func(x *translation) { x.Meaning = "" },
		"no cause":              func(x *translation) { x.Causes = nil },
		"too many steps":        func(x *translation) { x.Fix = append(x.Fix, "九") },
		"a command lacks":       func(x *translation) { x.Fix[0] = "九" },
		"a command too many":    func(x *translation) { x.Fix[1] = "$ 九" },
		"no comment":            func(x *translation) { x.Confirm[0] = "$" },
		"a comment too many":    func(x *translation) { x.Fix[0] = "$ 九" },
		"no place":              func(x *translation) { x.Places = nil },
		"another member":        func(x *translation) { x.Members = map[string]translation{"N": {Why: "七", Meaning: "八"}} },
		"a member has no words": func(x *translation) { x.Members = map[string]translation{"M": {Why: "七"}} },
	} {
		text := good()
		spoil(&text)
		if err := text.put(e()); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
