package arch

import (
	"errors"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// checkVars holds package variables to what never changes. A variable may be
//
//   - an error made by errors.New or fmt.Errorf, the only kind that may be exported;
//   - made by one of the constructors in constant, or by a literal: a table;
//   - filled by go:embed;
//   - a string of a command's, which only the linker can set (-X);
//   - named _, which asserts something at compile time;
//
// and no code of its package, tests included, may assign to it or to a part of
// it, take its address, or hand it to append, clear, copy or delete.
func checkVars(t *tree) (found []string) {
	for _, pkg := range t.packages {
		written := writtenVars(t, pkg)
		for _, s := range pkg.files {
			if s.test || s.generated {
				continue
			}
			for _, d := range s.ast.Decls {
				decl, ok := d.(*ast.GenDecl)
				if !ok || decl.Tok != token.VAR {
					continue
				}
				for _, spec := range decl.Specs {
					found = append(found, checkVar(t, s, decl, spec.(*ast.ValueSpec), written)...)
				}
			}
		}
	}
	return found
}

// constant lists constructors whose results nobody can change.
func constant() []string {
	return []string{
		"errors.New", "fmt.Errorf", "net/netip.MustParseAddr", "net/netip.MustParsePrefix", "net/netip.AddrFrom4",
		"regexp.MustCompile", "strings.NewReplacer", "text/template.Must", "hash/crc32.MakeTable",
		"encoding/binary.Size", "reflect.TypeFor", "unsafe.Sizeof",
	}
}

func checkVar(t *tree, s *source, decl *ast.GenDecl, spec *ast.ValueSpec, written map[string]token.Pos) (found []string) {
	embedded := hasEmbed(decl.Doc) || hasEmbed(spec.Doc)
	for i, name := range spec.Names {
		var value ast.Expr
		if i < len(spec.Values) {
			value = spec.Values[i]
		}
		kind := s.varKind(value)
		pos, changes := written[name.Name]
		switch {
		case name.Name == "_":
		case !embedded && kind == "":
			found = append(found, t.at(name.Pos(), "var %s is neither an error, a table nor a constant", name.Name))
		case changes:
			found = append(found, t.at(pos, "changes the package variable %s", name.Name))
		case name.IsExported() && kind != "error":
			found = append(found, t.at(name.Pos(), "var %s is exported: others can change it; make it a function", name.Name))
		}
	}
	return found
}

func hasEmbed(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// varKind says what a package variable's first value is: an error, a constant,
// a table, or "" for something that can change.
func (s *source) varKind(value ast.Expr) string {
	switch v := value.(type) {
	case *ast.CallExpr:
		f := v.Fun
		if index, ok := f.(*ast.IndexExpr); ok { // reflect.TypeFor[T]()
			f = index.X
		}
		name := s.symbol(f)
		if name == "errors.New" || name == "fmt.Errorf" {
			return "error"
		}
		if slices.Contains(constant(), name) {
			return "constant"
		}
	case *ast.CompositeLit:
		// A lock or a pool is there to change.
		if name := s.symbol(v.Type); !strings.HasPrefix(name, "sync.") && !strings.HasPrefix(name, "sync/atomic.") {
			return "table"
		}
	case *ast.BasicLit:
		if v.Kind == token.STRING && s.ast.Name.Name == "main" {
			return "constant"
		}
	}
	return ""
}

// writtenVars returns the package variables that code of pkg changes, each
// with the place of the first change.
func writtenVars(t *tree, pkg *pkgSource) map[string]token.Pos {
	// Tests of package x may be of package x or x_test: types cannot check
	// both at once, and the second cannot assign to the first's lower-case
	// variables.
	var files []*ast.File
	for _, s := range pkg.files {
		if !strings.HasSuffix(s.ast.Name.Name, "_test") {
			files = append(files, s.ast)
		}
	}
	// Imports stay unresolved, which the checker survives: names of this
	// package and their scopes are all that is asked of it.
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: noImports{}, Error: func(error) {}}
	self, _ := config.Check(pkg.dir, t.fset, files, info) // errors for want of imports

	written := map[string]token.Pos{}
	note := func(e ast.Expr) {
		id := root(e)
		if id == nil {
			return
		}
		if v, ok := info.Uses[id].(*types.Var); ok && self != nil && v.Parent() == self.Scope() {
			if _, seen := written[v.Name()]; !seen {
				written[v.Name()] = e.Pos()
			}
		}
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, e := range n.Lhs {
					note(e)
				}
			case *ast.IncDecStmt:
				note(n.X)
			case *ast.RangeStmt:
				note(n.Key)
				note(n.Value)
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					note(n.X)
				}
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && slices.Contains([]string{"append", "clear", "copy", "delete"}, f.Name) {
					note(n.Args[0])
				}
			}
			return true
		})
	}
	return written
}

// root returns the variable that e is or is a part of, nil if it is none.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// noImports is an importer that has nothing.
type noImports struct{}

// Import implements types.Importer.
func (noImports) Import(string) (*types.Package, error) {
	return nil, errors.New("imports are not resolved")
}
