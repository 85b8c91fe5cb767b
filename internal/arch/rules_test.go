package arch

import (
	"go/ast"
	"path"
	"slices"
	"strings"
)

// rule is one thing that holds for the whole tree. Its check returns what
// breaks it, as "file:line: what".
type rule struct {
	name  string
	check func(*tree) []string
}

// rules returns all rules.
func rules() []rule {
	return []rule{
		{"every package has a place", checkPlaces},
		{"imports go down", checkLayers},
		{"only tests import test code", checkTestCode},
		{"tests are skipped by test/need", checkSkips},
		{"record imports the standard library only", checkStdOnly},
		{"cilium/ebpf stays with the sensors", checkEBPF},
		{"package names say something", checkNames},
		{"every package has a doc comment", checkDocs},
		{"no init functions", checkInit},
		{"no mutable package variables", checkVars},
		{"nobody logs or prints below the agent", checkPrinting},
		{"nobody runs programs", checkExec},
		{"pure packages have no clock, goroutine or lock", checkPure},
	}
}

func checkPlaces(t *tree) (found []string) {
	for _, pkg := range t.packages {
		if !pkg.known {
			found = append(found, pkg.dir+": no such place in the table in internal/arch/layers_test.go")
		}
	}
	return found
}

func checkLayers(t *tree) (found []string) {
	t.each(func(s *source) {
		for _, spec := range s.ast.Imports {
			target, ok := strings.CutPrefix(importPath(spec), module+"/")
			if !ok || target == s.pkg.dir { // an external test imports what it tests
				continue
			}
			to, ok := find(target)
			if !ok {
				found = append(found, t.at(spec.Pos(), "imports %s, which has no place", target))
				continue
			}
			switch {
			case to.testing:
			case to.level == programs:
				found = append(found, t.at(spec.Pos(), "imports the program %s", target))
			case to.level > s.pkg.place.level:
				found = append(found, t.at(spec.Pos(), "imports %s, which is above", target))
			case to.level == s.pkg.place.level:
				found = append(found, t.at(spec.Pos(), "imports its brother %s", target))
			}
		}
	})
	return found
}

func checkTestCode(t *tree) (found []string) {
	t.each(func(s *source) {
		if s.test || strings.HasPrefix(s.pkg.dir, "test/") {
			return
		}
		for _, spec := range s.ast.Imports {
			p := importPath(spec)
			if p == "testing" || strings.HasPrefix(p, "testing/") || strings.HasPrefix(p, module+"/test/") {
				found = append(found, t.at(spec.Pos(), "imports %s outside of a test", p))
			}
		}
	})
	return found
}

// checkSkips holds that a test which skips has its excuse looked at. The kernel's
// own facts are what test/need stands on, so its tests have to do without.
func checkSkips(t *tree) (found []string) {
	t.each(func(s *source) {
		if s.pkg.dir == "test/need" || s.pkg.dir == "internal/kernel" {
			return
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Skip" && sel.Sel.Name != "Skipf" && sel.Sel.Name != "SkipNow" {
				return true
			}
			if on, ok := sel.X.(*ast.Ident); ok && (on.Name == "t" || on.Name == "b" || on.Name == "f" || on.Name == "tb") {
				found = append(found, t.at(call.Pos(), "skips by itself"))
			}
			return true
		})
	})
	return found
}

func checkStdOnly(t *tree) (found []string) {
	t.written(func(s *source) {
		if !s.pkg.place.stdOnly {
			return
		}
		for _, spec := range s.ast.Imports {
			p := importPath(spec)
			if first, _, _ := strings.Cut(p, "/"); strings.Contains(first, ".") {
				found = append(found, t.at(spec.Pos(), "imports %s", p))
			}
		}
	})
	return found
}

func checkEBPF(t *tree) (found []string) {
	const library = "github.com/cilium/ebpf"
	t.each(func(s *source) {
		p := s.pkg.place
		// A test of a place that makes instructions or types may load them;
		// any test may read the running kernel's types.
		if s.test && len(p.ebpf) > 0 {
			return
		}
		for _, spec := range s.ast.Imports {
			name := importPath(spec)
			if name != library && !strings.HasPrefix(name, library+"/") {
				continue
			}
			sub := strings.TrimPrefix(strings.TrimPrefix(name, library), "/")
			if !p.mayUseEBPF(sub) && !(s.test && sub == "btf") {
				found = append(found, t.at(spec.Pos(), "imports %s", name))
			}
		}
	})
	return found
}

// checkExec holds that nothing of netfate's own runs a program but the one that has the
// history, which is itself; loading looks for files on the PATH.
func checkExec(t *tree) (found []string) {
	may := []string{"cmd/netfate/store.go", "internal/history/duckdb/config.go", "internal/history/duckdb/process.go", "internal/loader/host.go"}
	t.written(func(s *source) {
		own := strings.HasPrefix(s.pkg.dir, "cmd/") || strings.HasPrefix(s.pkg.dir, "internal/")
		if !own || slices.Contains(may, s.path) {
			return
		}
		for _, spec := range s.ast.Imports {
			if p := importPath(spec); p == "os/exec" {
				found = append(found, t.at(spec.Pos(), "imports %s", p))
			}
		}
	})
	return found
}

func checkNames(t *tree) (found []string) {
	t.each(func(s *source) {
		name := strings.TrimSuffix(s.ast.Name.Name, "_test")
		for _, n := range []string{name, path.Base(s.pkg.dir)} {
			if slices.Contains(forbiddenNames(), n) {
				found = append(found, t.at(s.ast.Name.Pos(), "a package named %s", n))
				break
			}
		}
	})
	return found
}

func checkDocs(t *tree) (found []string) {
	for _, pkg := range t.packages {
		if !slices.ContainsFunc(pkg.files, documents) {
			found = append(found, pkg.dir+": no comment that says what the package is, is not, and who imports it")
		}
	}
	return found
}

// documents reports whether the comment above s's package clause is a doc
// comment of the package.
func documents(s *source) bool {
	if s.ast.Doc == nil {
		return false
	}
	text := s.ast.Doc.Text()
	if s.ast.Name.Name == "main" {
		return strings.HasPrefix(text, "Command "+path.Base(s.pkg.dir)+" ")
	}
	return strings.HasPrefix(text, "Package "+s.ast.Name.Name+" ")
}

func checkInit(t *tree) (found []string) {
	t.each(func(s *source) {
		for _, d := range s.ast.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv == nil && f.Name.Name == "init" {
				found = append(found, t.at(f.Pos(), "func init: make it a call from main"))
			}
		}
	})
	return found
}

func checkPrinting(t *tree) (found []string) {
	forbidden := []string{"fmt.Print", "fmt.Printf", "fmt.Println", "os.Stdout", "os.Stderr", "os.Exit"}
	t.written(func(s *source) {
		if !s.pkg.place.library() {
			return
		}
		for _, spec := range s.ast.Imports {
			if p := importPath(spec); p == "log" || strings.HasPrefix(p, "log/") {
				found = append(found, t.at(spec.Pos(), "imports %s: return the error or count it", p))
			}
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if name := s.symbol(n); slices.Contains(forbidden, name) {
				found = append(found, t.at(n.Pos(), "uses %s: take an io.Writer, or return it", name))
			}
			if call, ok := n.(*ast.CallExpr); ok {
				if f, ok := call.Fun.(*ast.Ident); ok && (f.Name == "print" || f.Name == "println") {
					found = append(found, t.at(n.Pos(), "calls %s", f.Name))
				}
			}
			return true
		})
	})
	return found
}

func checkPure(t *tree) (found []string) {
	clock := []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTicker", "NewTimer"}
	t.written(func(s *source) {
		if !s.pkg.place.pure {
			return
		}
		for _, spec := range s.ast.Imports {
			if p := importPath(spec); p == "sync" || p == "sync/atomic" {
				found = append(found, t.at(spec.Pos(), "imports %s: its caller owns it", p))
			}
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				found = append(found, t.at(g.Pos(), "starts a goroutine"))
			}
			if name, ok := strings.CutPrefix(s.symbol(n), "time."); ok && slices.Contains(clock, name) {
				found = append(found, t.at(n.Pos(), "uses time.%s: take the time as an argument", name))
			}
			return true
		})
	})
	return found
}
