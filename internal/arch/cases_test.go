package arch

// ruleCase is a tree and what one rule says of it.
type ruleCase struct {
	rule, name string
	files      map[string]string
	want       string // part of what is found; "" for nothing
}

// one returns a tree of one file.
func one(path, text string) map[string]string { return map[string]string{path: text} }

func cases() []ruleCase {
	const m = `"github.com/netfate/netfate/`
	return []ruleCase{
		{"every package has a place", "unknown", one("internal/stuff/a.go", "package stuff"), "internal/stuff: no such place"},
		{"every package has a place", "too deep", one("internal/sensor/drop/sub/a.go", "package sub"), "no such place"},
		{"every package has a place", "known", one("internal/sensor/drop/a.go", "package drop"), ""},
		{"every package has a place", "another module", map[string]string{"x/go.mod": "module x", "x/a.go": "package x"}, ""},

		{"imports go down", "up", one("internal/table/a.go", `package table; import `+m+`internal/agent"`), "internal/table/a.go:1: imports internal/agent, which is above"},
		{"imports go down", "brother", one("internal/sensor/drop/a.go", `package drop; import `+m+`internal/sensor/owner"`), "imports its brother internal/sensor/owner"},
		{"imports go down", "brother of another kind", one("internal/view/explain/a.go", `package explain; import `+m+`internal/enrich/netns"`), "brother"},
		{"imports go down", "in a test", one("internal/decode/a_test.go", `package decode; import `+m+`internal/kernel"`), "brother"},
		{"imports go down", "a program", one("cmd/netfate/a.go", `package main; import `+m+`tools/vmlinux"`), "imports the program tools/vmlinux"},
		{"imports go down", "nowhere", one("internal/table/a.go", `package table; import `+m+`internal/nothing"`), "no place"},
		{"imports go down", "down", one("internal/agent/a.go", `package agent; import (`+m+`internal/sensor/drop"; `+m+`internal/record")`), ""},
		{"imports go down", "external test", one("internal/record/a_test.go", `package record_test; import `+m+`internal/record"`), ""},
		{"imports go down", "laboratory", one("internal/sensor/drop/a_test.go", `package drop; import `+m+`test/netlab"`), ""},

		{"imports go down", "recipes", one("test/scenario/demo/a.go", `package main; import `+m+`test/scenario"`), ""},

		{"only tests import test code", "testing", one("internal/table/a.go", `package table; import "testing"`), "imports testing outside of a test"},
		{"only tests import test code", "laboratory", one("cmd/netfate/a.go", `package main; import `+m+`test/netlab"`), "test/netlab outside of a test"},
		{"only tests import test code", "a test", one("internal/table/a_test.go", `package table; import "testing"`), ""},
		{"only tests import test code", "the laboratory itself", one("test/netlab/a.go", `package netlab; import "testing"`), ""},

		{"tests are skipped by test/need", "by itself", one("internal/table/a_test.go", `package table; func f(t *testing.T) { t.Skip("no") }`), "skips by itself"},
		{"tests are skipped by test/need", "a benchmark", one("internal/table/a_test.go", `package table; func f(b *testing.B) { b.Skipf("no") }`), "skips by itself"},
		{"tests are skipped by test/need", "by need", one("internal/table/a_test.go", `package table; func f(t *testing.T) { need.Feature{}.Skip(t, nil) }`), ""},

		{"record imports the standard library only", "library", one("internal/record/a.go", `package record; import "golang.org/x/sys/unix"`), "imports golang.org/x/sys/unix"},
		{"record imports the standard library only", "std", one("internal/record/a.go", `package record; import "encoding/json"`), ""},

		{"cilium/ebpf stays with the sensors", "agent", one("internal/agent/a.go", `package agent; import "github.com/cilium/ebpf/link"`), "imports github.com/cilium/ebpf/link"},
		{"cilium/ebpf stays with the sensors", "agent's test", one("internal/agent/a_test.go", `package agent; import "github.com/cilium/ebpf"`), "imports github.com/cilium/ebpf"},
		{"cilium/ebpf stays with the sensors", "filter", one("internal/filter/a.go", `package filter; import "github.com/cilium/ebpf/link"`), "imports github.com/cilium/ebpf/link"},
		{"cilium/ebpf stays with the sensors", "types in a test", one("internal/verdict/a_test.go", `package verdict; import "github.com/cilium/ebpf/btf"`), ""},
		{"cilium/ebpf stays with the sensors", "types", one("internal/verdict/a.go", `package verdict; import "github.com/cilium/ebpf/btf"`), "imports github.com/cilium/ebpf/btf"},
		{"cilium/ebpf stays with the sensors", "filter's instructions", one("internal/filter/a.go", `package filter; import "github.com/cilium/ebpf/asm"`), ""},
		{"cilium/ebpf stays with the sensors", "filter's test", one("internal/filter/a_test.go", `package filter; import "github.com/cilium/ebpf"`), ""},
		{"cilium/ebpf stays with the sensors", "sensor", one("internal/sensor/drop/a.go", `package drop; import "github.com/cilium/ebpf"`), ""},

		{"nobody runs programs", "a shell", one("internal/agent/a.go", `package agent; import "os/exec"`), "internal/agent/a.go:1: imports os/exec"},
		{"nobody runs programs", "another file of one that may", one("cmd/netfate/a.go", `package main; import "os/exec"`), "imports os/exec"},
		{"nobody runs programs", "itself", one("cmd/netfate/store.go", `package main; import "os/exec"`), ""},
		{"nobody runs programs", "a test", one("internal/agent/a_test.go", `package agent; import "os/exec"`), ""},

		{"package names say something", "clause", one("internal/agent/a.go", "package utils"), "a package named utils"},
		{"package names say something", "directory", one("internal/helpers/a.go", "package agent"), "a package named helpers"},
		{"package names say something", "test", one("internal/agent/a_test.go", "package core_test"), "a package named core"},
		{"package names say something", "good", one("internal/agent/a.go", "package agent"), ""},

		{"every package has a doc comment", "none", one("internal/agent/a.go", "package agent"), "internal/agent: no comment"},
		{"every package has a doc comment", "detached", one("internal/agent/a.go", "// Package agent is.\n\npackage agent"), "no comment"},
		{"every package has a doc comment", "of another", one("internal/agent/a.go", "// Package table is.\npackage agent"), "no comment"},
		{"every package has a doc comment", "command", one("cmd/netfate/main.go", "// Package main is.\npackage main"), "no comment"},
		{"every package has a doc comment", "one of two files", map[string]string{
			"internal/agent/a.go": "package agent", "internal/agent/doc.go": "// Package agent is.\npackage agent",
		}, ""},
		{"every package has a doc comment", "good command", one("cmd/netfate/main.go", "// Command netfate tells.\npackage main"), ""},

		{"no init functions", "init", one("internal/agent/a.go", "package agent\nfunc init() {}"), "a.go:2: func init"},
		{"no init functions", "in a test", one("internal/agent/a_test.go", "package agent\nfunc init() {}"), "func init"},
		{"no init functions", "method", one("internal/agent/a.go", "package agent\ntype t int\nfunc (t) init() {}"), ""},

		{"no mutable package variables", "without value", one("internal/agent/a.go", "package agent\nvar n int"), "a.go:2: var n is neither"},
		{"no mutable package variables", "call", one("internal/agent/a.go", "package agent\nvar n = f()"), "var n is neither"},
		{"no mutable package variables", "of a library", one("internal/agent/a.go", "package agent\nvar s = \"\""), "var s is neither"},
		{"no mutable package variables", "for the linker", one("cmd/netfate/a.go", "package main\nvar s = \"\""), ""},
		{"no mutable package variables", "not for the linker", one("cmd/netfate/a.go", "package main\nvar s = \"\"\nfunc f() { s = \"x\" }"), "changes the package variable s"},
		{"no mutable package variables", "seam", one("internal/agent/a.go", "package agent\nimport \"time\"\nvar now = time.Now"), "var now is neither"},
		{"no mutable package variables", "lock", one("internal/agent/a.go", "package agent\nimport \"sync\"\nvar mu = sync.Mutex{}"), "var mu is neither"},
		{"no mutable package variables", "pointer", one("internal/agent/a.go", "package agent\nvar p = &t{}"), "var p is neither"},
		{"no mutable package variables", "exported table", one("internal/agent/a.go", "package agent\nvar Names = []string{}"), "var Names is exported"},
		{"no mutable package variables", "registry", one("internal/agent/a.go", "package agent\nvar m = map[int]int{}\nfunc f() { m[1] = 2 }"), "a.go:3: changes the package variable m"},
		{"no mutable package variables", "element's field", one("internal/agent/a.go", "package agent\nvar m = [1]struct{ n int }{}\nfunc f() { m[0].n++ }"), "changes the package variable m"},
		{"no mutable package variables", "delete", one("internal/agent/a.go", "package agent\nvar m = map[int]int{}\nfunc f() { delete(m, 1) }"), "changes"},
		{"no mutable package variables", "address", one("internal/agent/a.go", "package agent\nvar m = [1]int{}\nfunc f() *int { return &m[0] }"), "changes"},
		{"no mutable package variables", "error replaced", one("internal/agent/a.go", "package agent\nimport \"errors\"\nvar ErrX = errors.New(\"x\")\nfunc f() { ErrX = nil }"), "changes"},
		{"no mutable package variables", "from a test", map[string]string{
			"internal/agent/a.go":      "package agent\nvar m = []int{1}",
			"internal/agent/a_test.go": "package agent\nfunc f() { m = nil }",
		}, "internal/agent/a_test.go:2: changes"},
		{"no mutable package variables", "good ones", one("internal/agent/a.go", `package agent
import (
	_ "embed"
	"errors"
	"io"
	"regexp"
)

// ErrX is one.
var ErrX = errors.New("x")

var _ io.Reader = (*r)(nil)

var word = regexp.MustCompile("[a-z]")

//go:embed rules.txt
var text string

var names = map[int]string{1: "one"}

func f() string {
	names := map[int]string{}
	names[1] = "mine"
	var word int
	word++
	return names[1]
}
`), ""},

		{"nobody logs or prints below the agent", "log", one("internal/table/a.go", `package table; import "log/slog"`), "imports log/slog"},
		{"nobody logs or prints below the agent", "print", one("internal/view/top/a.go", `package top; import "fmt"; func f() { fmt.Println() }`), "uses fmt.Println"},
		{"nobody logs or prints below the agent", "renamed", one("internal/view/top/a.go", `package top; import x "fmt"; func f() { x.Printf("") }`), "uses fmt.Printf"},
		{"nobody logs or prints below the agent", "stderr", one("internal/kernel/a.go", `package kernel; import "os"; func f() { g(os.Stderr) }`), "uses os.Stderr"},
		{"nobody logs or prints below the agent", "builtin", one("internal/kernel/a.go", `package kernel; func f() { println() }`), "calls println"},
		{"nobody logs or prints below the agent", "agent", one("internal/agent/a.go", `package agent; import "log/slog"`), ""},
		{"nobody logs or prints below the agent", "writer", one("internal/view/top/a.go", `package top; import ("fmt"; "io"); func f(w io.Writer) { fmt.Fprintln(w) }`), ""},

		{"pure packages have no clock, goroutine or lock", "clock", one("internal/table/a.go", `package table; import "time"; func f() { time.Now() }`), "uses time.Now"},
		{"pure packages have no clock, goroutine or lock", "goroutine", one("internal/decode/a.go", `package decode; func f() { go f() }`), "starts a goroutine"},
		{"pure packages have no clock, goroutine or lock", "lock", one("internal/verdict/a.go", `package verdict; import "sync"`), "imports sync"},
		{"pure packages have no clock, goroutine or lock", "time as a value", one("internal/table/a.go", `package table; import "time"; func f(t time.Time) { t.Add(time.Second) }`), ""},
		{"pure packages have no clock, goroutine or lock", "elsewhere", one("internal/agent/a.go", `package agent; import "time"; func f() { time.Now() }`), ""},
	}
}
