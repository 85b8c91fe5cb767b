package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// directive is how every BPF object is made: the compiler and the strip
// program by version, since another one gives another object.
const directive = "//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 "

// objectSuffixes are the ends of the names of the files that one directive
// makes, after its stem.
func objectSuffixes() []string {
	return []string{"_arm64_bpfel.go", "_arm64_bpfel.o", "_x86_bpfel.go", "_x86_bpfel.o"}
}

// object is one bpf2go directive.
type object struct {
	dir  string // directory of the Go file that has it
	file string // that file's name
	pkg  string // its package
	args []string
	stem string // of the files made
}

// objects returns every bpf2go directive of t.
func objects(t *tree) (found []object, err error) {
	t.each(func(s *source) {
		for _, group := range s.ast.Comments {
			for _, c := range group.List {
				if !strings.HasPrefix(c.Text, "//go:generate ") || !strings.Contains(c.Text, "bpf2go") {
					continue
				}
				o, e := parseDirective(s, c)
				if e != nil {
					err = fmt.Errorf("%s", t.at(c.Pos(), "%v", e))
					return
				}
				found = append(found, o)
			}
		}
	})
	return found, err
}

func parseDirective(s *source, c *ast.Comment) (object, error) {
	o := object{dir: s.pkg.dir, file: path.Base(s.path), pkg: s.ast.Name.Name}
	if !strings.HasPrefix(c.Text, directive) {
		return o, fmt.Errorf("got %q, want a line that begins %q", c.Text, directive)
	}
	var err error
	if o.args, err = splitDirective(strings.TrimPrefix(c.Text, "//go:generate ")); err != nil {
		return o, err
	}
	// ... [flags] stem source
	if len(o.args) < 3 || strings.HasPrefix(o.args[len(o.args)-2], "-") {
		return o, fmt.Errorf("want stem and source at the end of %q", c.Text)
	}
	o.stem = o.args[len(o.args)-2]
	if o.stem != strings.ToLower(o.stem) {
		return o, fmt.Errorf("stem %s: want lower case, so that what it generates is not exported", o.stem)
	}
	for _, a := range o.args {
		if strings.HasPrefix(a, "-I/") || strings.Contains(a, " -I/") {
			return o, fmt.Errorf("%s: an absolute path gets into the object", a)
		}
	}
	return o, nil
}

// splitDirective splits a line at its spaces as go generate does: a word that
// begins with a quotation mark is a quoted Go string.
func splitDirective(line string) (words []string, err error) {
	for line = strings.TrimLeft(line, " \t"); line != ""; line = strings.TrimLeft(line, " \t") {
		if line[0] == '"' {
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, fmt.Errorf("quotes in %q: %w", line, err)
			}
			word, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, fmt.Errorf("quotes in %q: %w", line, err)
			}
			words, line = append(words, word), line[len(quoted):]
			continue
		}
		end := strings.IndexAny(line, " \t")
		if end < 0 {
			end = len(line)
		}
		words, line = append(words, line[:end]), line[end:]
	}
	return words, nil
}

// compare says how the files that o makes differ between committed and made.
func compare(o object, committed, made fs.FS) (found []string) {
	for _, suffix := range objectSuffixes() {
		name := o.stem + suffix
		want, err := fs.ReadFile(made, name)
		if err != nil {
			found = append(found, fmt.Sprintf("bpf2go made no %s", name))
			continue
		}
		got, err := fs.ReadFile(committed, name)
		switch {
		case err != nil:
			found = append(found, fmt.Sprintf("%s is not committed", name))
		case bytes.Equal(got, want):
		case strings.HasSuffix(name, ".go"):
			found = append(found, fmt.Sprintf("%s differs (-committed +made):\n%s", name, cmp.Diff(string(got), string(want))))
		default:
			found = append(found, fmt.Sprintf("%s differs: %d bytes committed, %d made", name, len(got), len(want)))
		}
	}
	return found
}

// TestObjectsAreCurrent builds every BPF object anew and compares it with what
// is committed, byte by byte.
func TestObjectsAreCurrent(t *testing.T) {
	tree, err := parseTree(repository())
	if err != nil {
		t.Fatal(err)
	}
	all, err := objects(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"clang-19", "llvm-strip-19"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v; apt-get install clang-19 llvm-19 libbpf-dev", err)
		}
	}
	for _, o := range all {
		t.Run(o.dir+"/"+o.stem, func(t *testing.T) {
			dir := filepath.Join("..", "..", filepath.FromSlash(o.dir))
			made := t.TempDir()
			// The words are: go tool bpf2go, then flags. In o's own directory,
			// since the paths in the object are relative to it.
			args := slices.Insert(slices.Clone(o.args), 3, "-output-dir", made)
			cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GOPACKAGE="+o.pkg, "GOFILE="+o.file)
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, text)
			}
			for _, f := range compare(o, os.DirFS(dir), os.DirFS(made)) {
				t.Error(f)
			}
			if t.Failed() {
				version, _ := exec.Command("clang-19", "--version").Output() // for the message only
				first, _, _ := strings.Cut(string(version), "\n")
				t.Logf("rebuild with `make generate` and commit; objects are built by Debian clang 19.1.7, here is %s", first)
			}
		})
	}
}

// TestNoStaleObjects finds files that no directive makes any more.
func TestNoStaleObjects(t *testing.T) {
	tree, err := parseTree(repository())
	if err != nil {
		t.Fatal(err)
	}
	all, err := objects(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range stale(tree, all, repository()) {
		t.Error(f)
	}
}

// stale returns the files beside t's packages that look like bpf2go's and that
// none of the directives makes.
func stale(t *tree, all []object, fsys fs.FS) (found []string) {
	for _, pkg := range t.packages {
		names, err := fs.Glob(fsys, pkg.dir+"/*_bpfe[lb].*")
		if err != nil {
			return []string{err.Error()}
		}
		for _, name := range names {
			made := slices.ContainsFunc(all, func(o object) bool {
				suffix, ok := strings.CutPrefix(path.Base(name), o.stem)
				return ok && o.dir == pkg.dir && slices.Contains(objectSuffixes(), suffix)
			})
			if !made {
				found = append(found, name+": no go:generate line makes it; remove it")
			}
		}
	}
	return found
}

func TestObjectsCanFail(t *testing.T) {
	for _, c := range []struct{ name, line, want string }{
		{"good", directive + `-cflags "-O2 -I../../../bpf" bpf ../../../bpf/x.bpf.c`, ""},
		{"other compiler", `//go:generate go tool bpf2go -cc clang -target amd64 bpf x.c`, "want a line that begins"},
		{"run by version", `//go:generate go run github.com/cilium/ebpf/cmd/bpf2go@latest bpf x.c`, "want a line that begins"},
		{"exported", directive + `Drop x.c`, "want lower case"},
		{"absolute", directive + `-cflags "-O2 -I/usr/local/include" bpf x.c`, "absolute path"},
		{"no source", directive + `-cflags "-O2" bpf`, "want stem and source"},
		{"open quotes", directive + `-cflags "-O2 bpf x.c`, "quotes in"},
	} {
		tree, err := parseTree(fstest.MapFS{"internal/sensor/x/x.go": {Data: []byte("package x\n\n" + c.line + "\n")}})
		if err != nil {
			t.Fatal(err)
		}
		all, err := objects(tree)
		switch {
		case c.want == "" && (err != nil || len(all) != 1):
			t.Errorf("%s: got %d objects, error %v; want 1, nil", c.name, len(all), err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got error %v, want %q", c.name, err, c.want)
		}
	}

	o := object{dir: "internal/sensor/x", stem: "bpf"}
	made := fstest.MapFS{}
	for _, suffix := range objectSuffixes() {
		made["bpf"+suffix] = &fstest.MapFile{Data: []byte("one")}
	}
	committed := fstest.MapFS{
		"bpf_x86_bpfel.go":   {Data: []byte("one")},
		"bpf_x86_bpfel.o":    {Data: []byte("one")},
		"bpf_arm64_bpfel.go": {Data: []byte("two")},
	}
	got := strings.Join(compare(o, committed, made), "\n")
	for _, want := range []string{"bpf_arm64_bpfel.go differs", "bpf_arm64_bpfel.o is not committed"} {
		if !strings.Contains(got, want) {
			t.Errorf("compare: got %q, want %q in it", got, want)
		}
	}
	if strings.Contains(got, "x86") {
		t.Errorf("compare: got %q, want nothing of the equal files", got)
	}

	fsys := fstest.MapFS{
		"internal/sensor/x/x.go":            {Data: []byte("package x")},
		"internal/sensor/x/bpf_x86_bpfel.o": {},
		"internal/sensor/x/old_x86_bpfel.o": {},
	}
	tree, err := parseTree(fsys)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"internal/sensor/x/old_x86_bpfel.o: no go:generate line makes it; remove it"}
	if diff := cmp.Diff(want, stale(tree, []object{o}, fsys)); diff != "" {
		t.Errorf("stale (-want +got):\n%s", diff)
	}
}
