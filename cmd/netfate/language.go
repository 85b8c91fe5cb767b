package main

import (
	"os"

	"github.com/netfate/netfate/internal/language"
	"github.com/netfate/netfate/internal/verdict"
	"github.com/netfate/netfate/internal/view/table"
)

// tongue is the language of who reads what is printed: the one that the environment
// asks for, as long as the terminal can show it.
func tongue() language.Language {
	if !table.UnicodeWanted(os.Getenv) {
		return language.English
	}
	return language.Wanted(os.Getenv)
}

// allBooks returns what drops mean, in every language.
func allBooks() ([]*verdict.Book, error) {
	var books []*verdict.Book
	for _, l := range language.All() {
		book, err := verdict.In(l)
		if err != nil {
			return nil, err
		}
		books = append(books, book)
	}
	return books, nil
}
