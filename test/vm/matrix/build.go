package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Where the test binaries go, and the programs that tests run; below the
// module's root.
const (
	binaries = "bin/vm/tests"
	commands = "bin/vm/commands"
)

// test is one package's tests.
type test struct {
	Name   string // its path below the module: internal/kernel
	Dir    string // where they run
	Binary string
	Only   []string `json:",omitempty"` // the tests of them to run; nil for all
}

// elsewhere are the packages whose tests are about sources, about what gcc makes
// of them, about bytes of files, or about numbers, and not about a kernel.
func elsewhere(name string) bool {
	switch name {
	case "internal/alert", "internal/api", "internal/arch", "internal/capture", "internal/config", "internal/decode", "internal/diff", "internal/dns", "internal/flows",
		"internal/http", "internal/nft", "internal/outbox", "internal/packet", "internal/quic", "internal/record", "internal/recording", "internal/section", "internal/stream",
		"internal/table", "internal/tls", "internal/tlslib", "internal/value", "internal/webui", "test/bench/peers", "test/export", "test/packages", "test/parse", "test/vm", "test/webui":
		return true
	}
	for _, below := range []string{"internal/export/", "internal/history/", "internal/view/", "test/vm/", "tools/"} {
		if strings.HasPrefix(name, below) {
			return true
		}
	}
	return false
}

// everywhere are the packages that in the short form too all kernels get: those whose
// tests load netfate's own programs one by one, and what they count in, which is where
// kernels differ the most.
func everywhere(name string) bool {
	switch name {
	case "internal/bpfmap", "internal/confine", "internal/counting", "internal/filter", "internal/hook", "internal/kernel", "internal/ledger/counters",
		"test/kernels", "test/ledger", "test/netlab", "test/sensor", "test/wire":
		return true
	}
	return false
}

// takes reports whether a kernel, by its place on the command line, gets a package in the
// short form. Of the others the first one gets those that drive the whole program, and the
// second one the rest and the loader's, which takes as long; a kernel that is alone
// gets all.
func takes(place, kernels int, name string) bool {
	switch {
	case kernels == 1, everywhere(name):
		return true
	case strings.HasPrefix(name, "test/") && name != "test/loader":
		return place == 0
	}
	return place == 1
}

// build compiles the tests of the packages, statically, so that they run on
// whatever the guest has.
func build(ctx context.Context, packages []string) ([]test, error) {
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	root, err := output(ctx, "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return nil, err
	}
	const format = "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}\t{{.Dir}}{{end}}"
	list, err := output(ctx, "go", append([]string{"list", "-f", format}, packages...)...)
	if err != nil {
		return nil, err
	}
	var tests []test
	for in := bufio.NewScanner(strings.NewReader(list)); in.Scan(); {
		path, dir, _ := strings.Cut(in.Text(), "\t")
		name, err := filepath.Rel(root, dir)
		if err != nil {
			return nil, err
		}
		if path == "" || elsewhere(name) {
			continue
		}
		tests = append(tests, test{Name: name, Dir: dir, Binary: filepath.Join(root, binaries, strings.ReplaceAll(name, "/", ".")+".test")})
	}
	if len(tests) == 0 {
		return nil, errors.New("these packages have no tests for a kernel")
	}
	// The laboratory first: nothing else is worth trying where it does not work.
	slices.SortStableFunc(tests, func(a, b test) int { return rank(a.Name == "test/netlab") - rank(b.Name == "test/netlab") })
	fmt.Printf("matrix: building the tests of %d packages\n", len(tests))
	return tests, errors.Join(compile(ctx, tests), buildCommands(ctx, root))
}

// compile builds two at a time: the linker is most of it, and runs on one CPU.
func compile(ctx context.Context, tests []test) error {
	errs := make([]error, len(tests))
	slots := make(chan struct{}, 2)
	var wg sync.WaitGroup
	for i, t := range tests {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", t.Binary, t.Dir)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("build the tests of %s: %w\n%s", t.Name, err, bytes.TrimSpace(out))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// buildCommands builds what need.Command asks for.
func buildCommands(ctx context.Context, root string) error {
	for _, dir := range []string{"test/scenario/asker", "test/scenario/caller", "test/scenario/demo", "cmd/netfate"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(root, commands, filepath.Base(dir)), "./"+dir)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", dir, err, bytes.TrimSpace(out))
		}
	}
	return nil
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
