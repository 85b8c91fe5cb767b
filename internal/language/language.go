// Package language says which language the reader wants, and says in it what
// netfate prints to people: one who meets a loss at night should not have to
// translate first. Words for machines (names of fields, verdicts, commands) are the
// same in every language and do not come from here.
//
// Everybody may import it. It reads nothing but what it is given.
package language

import "strings"

// Language is a language that netfate speaks. The zero value is English.
type Language uint8

// The languages, as their readers write them: Chinese is simplified.
const (
	English Language = iota
	Chinese
)

// All returns the languages that there are, English first.
func All() []Language { return []Language{English, Chinese} }

// String returns the language's tag, as BCP 47 writes it.
func (l Language) String() string {
	if l == Chinese {
		return "zh-CN"
	}
	return "en"
}

// Wanted returns the language that the environment asks for, as programs do by
// POSIX: the first of LC_ALL, LC_MESSAGES and LANG that is set decides. Whether the
// terminal can show it is another question.
func Wanted(getenv func(string) string) Language {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if locale := getenv(name); locale != "" {
			// language[_territory][.encoding][@modifier]
			if tongue := locale[:len(locale)-len(strings.TrimLeft(locale, letters))]; tongue == "zh" {
				return Chinese
			}
			return English
		}
	}
	return English
}

const letters = "abcdefghijklmnopqrstuvwxyz"
