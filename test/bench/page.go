package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// The pages.
const (
	benchmarksPage = "docs/benchmarks.md"
	peersPage      = "docs/peers.md"
)

// What is between these lines of the page is replaced; the rest is written by
// hand.
const (
	pageBegin    = "<!-- measured -->\n"
	pageEnd      = "<!-- end of measured -->\n"
	socketsBegin = "<!-- measured: sockets -->\n"
	socketsEnd   = "<!-- end of measured: sockets -->\n"
	historyBegin = "<!-- measured: history -->\n"
	historyEnd   = "<!-- end of measured: history -->\n"
)

// writePage puts results into the page, between two lines.
func writePage(path, begin, end, results string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the page for the results: %w", err)
	}
	page, err := fill(string(text), begin, end, results)
	if err != nil {
		return fmt.Errorf("write the results into %s: %w", path, err)
	}
	return os.WriteFile(path, []byte(page), 0o644)
}

func fill(page, begin, end, results string) (string, error) {
	before, rest, ok := strings.Cut(page, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", fmt.Errorf("no place between %q and %q", begin, end)
	}
	return before + begin + results + end + after, nil
}

// machine describes what was measured on.
func machine() string {
	var uts unix.Utsname
	release := "unknown"
	if unix.Uname(&uts) == nil {
		release = unix.ByteSliceToString(uts.Release[:])
	}
	what := "bare metal or unknown"
	cpu := "unknown CPU"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		cpu, what = describeCPU(string(text))
	}
	return fmt.Sprintf("Linux %s on %s, %d × %s, %s", release, runtime.GOARCH, runtime.NumCPU(), cpu, what)
}

// describeCPU reads the name of the first CPU, and whether it is a guest's.
func describeCPU(cpuinfo string) (name, where string) {
	name, where = "CPU", "no hypervisor seen"
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name":
			name = strings.TrimSpace(value)
		case "flags":
			if strings.Contains(value, " hypervisor") {
				where = "a virtual machine"
			}
			return name, where
		}
	}
	return name, where
}
