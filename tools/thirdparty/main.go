// Command thirdparty prints the licences of Go and of the modules that a program was linked
// with. Most of them demand to come with every copy of it.
//
//	thirdparty PROGRAM
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: thirdparty PROGRAM")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "thirdparty:", err)
		os.Exit(1)
	}
}

// work is something of others, and where its licence is.
type work struct {
	name, version, dir string
}

func run(out io.Writer, program string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	works, err := modules(info)
	if err != nil {
		return err
	}
	for _, w := range works {
		if err := write(out, w); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// modules returns Go, then what the program was linked with, each where go has it.
func modules(info *buildinfo.BuildInfo) ([]work, error) {
	goroot, err := output("go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	works := []work{{"Go", info.GoVersion, goroot}}
	ask := []string{"mod", "download", "-json"}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		ask = append(ask, m.Path+"@"+m.Version)
	}
	text, err := output("go", ask...)
	if err != nil {
		return nil, err
	}
	for answers := json.NewDecoder(strings.NewReader(text)); answers.More(); {
		var m struct{ Path, Version, Dir string }
		if err := answers.Decode(&m); err != nil {
			return nil, err
		}
		works = append(works, work{m.Path, m.Version, m.Dir})
	}
	return works, nil
}

func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// licence matches the names of files that say what may be done with the others.
var licence = regexp.MustCompile(`^(?i)(licen[cs]e|copying|notice|patents)`)

func write(out io.Writer, w work) error {
	files, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	found := false
	for _, f := range files {
		if f.IsDir() || !licence.MatchString(f.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(w.dir, f.Name()))
		if err != nil {
			return err
		}
		found = true
		if _, err := fmt.Fprintf(out, "==== %s %s: %s\n\n%s\n", w.name, w.version, f.Name(), text); err != nil {
			return err
		}
	}
	if !found {
		return errors.New("no licence in " + w.dir)
	}
	return nil
}
