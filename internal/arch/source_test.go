package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// tree is the parsed source of the module.
type tree struct {
	fset     *token.FileSet
	packages []*pkgSource // by directory
}

// pkgSource is one directory's Go files: those of the package and its tests.
type pkgSource struct {
	dir   string // slash-separated, below the module
	place place
	known bool // place is one of the house's
	files []*source
}

// source is one parsed file.
type source struct {
	pkg       *pkgSource
	path      string // slash-separated, below the module
	test      bool   // _test.go
	generated bool
	ast       *ast.File
}

// parseTree parses every Go file below fsys that belongs to the module: no
// testdata, nothing hidden, no directory with a go.mod of its own.
func parseTree(fsys fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet()}
	byDir := map[string]*pkgSource{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return enter(fsys, name)
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(t.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		pkg := byDir[dir]
		if pkg == nil {
			pkg = &pkgSource{dir: dir}
			pkg.place, pkg.known = find(dir)
			byDir[dir] = pkg
			t.packages = append(t.packages, pkg)
		}
		pkg.files = append(pkg.files, &source{
			pkg: pkg, path: name, test: strings.HasSuffix(name, "_test.go"), generated: ast.IsGenerated(parsed), ast: parsed,
		})
		return nil
	})
	return t, err
}

// enter returns fs.SkipDir for directories that are not part of the module.
func enter(fsys fs.FS, dir string) error {
	if dir == "." {
		return nil
	}
	base := path.Base(dir)
	if base == "testdata" || base == "node_modules" || base[0] == '.' || base[0] == '_' {
		return fs.SkipDir
	}
	if _, err := fs.Stat(fsys, path.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

// each calls f for every file.
func (t *tree) each(f func(*source)) {
	for _, pkg := range t.packages {
		for _, file := range pkg.files {
			f(file)
		}
	}
}

// written calls f for every file that people wrote as part of the program:
// neither generated nor a test.
func (t *tree) written(f func(*source)) {
	t.each(func(s *source) {
		if !s.test && !s.generated {
			f(s)
		}
	})
}

// at formats a finding about the code at pos.
func (t *tree) at(pos token.Pos, format string, args ...any) string {
	p := t.fset.Position(pos)
	return fmt.Sprintf("%s:%d: %s", p.Filename, p.Line, fmt.Sprintf(format, args...))
}

// importPath returns the path of an import.
func importPath(spec *ast.ImportSpec) string {
	text, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return spec.Path.Value
	}
	return text
}

// qualifier returns the import path that name stands for in s, as in
// name.Symbol; "" if it is no import. It knows only names that are spelled as
// in the import or are the last element of the path: enough for the standard
// library.
func (s *source) qualifier(name string) string {
	for _, spec := range s.ast.Imports {
		p := importPath(spec)
		local := path.Base(p)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		if local == name {
			return p
		}
	}
	return ""
}

// symbol returns what a selector of an import stands for, as "fmt.Println";
// "" if n is none.
func (s *source) symbol(n ast.Node) string {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	if p := s.qualifier(x.Name); p != "" {
		return p + "." + sel.Sel.Name
	}
	return ""
}
