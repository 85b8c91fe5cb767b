package main

import (
	"os"
	"strings"
	"testing"
)

// TestOwn has the licences of this test's own program printed.
func TestOwn(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(&out, program); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"==== Go go1.", "Redistribution and use in source and binary forms"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got\n%s\nwant %q in it", &out, want)
		}
	}
}

func TestNoProgram(t *testing.T) {
	if err := run(&strings.Builder{}, "main.go"); err == nil {
		t.Error("got nil for what is no program, want an error")
	}
}

func TestNoLicence(t *testing.T) {
	if err := write(&strings.Builder{}, work{"example.com/x", "v1.0.0", t.TempDir()}); err == nil {
		t.Error("got nil for a module without a licence, want an error")
	}
}
