// Command cached is a compiler with a memory: called clang-19 or gcc, it copies
// what that made of the same sources with the same arguments from the directory
// in $NETFATE_COMPILED, and runs it if it has not yet. Tests compile some hundred
// small objects, and in a guest without KVM each takes seconds. First in PATH,
// it serves the host's tests, which fill the memory, and the guests', which find
// things there.
//
// Not ccache: that takes the directory of a source for part of it, and tests
// compile in temporary ones.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	name := filepath.Base(os.Args[0])
	compiler, err := find(name)
	if err != nil {
		fmt.Fprintf(os.Stderr, "cached: %v\n", err)
		os.Exit(127)
	}
	c := &call{compiler: compiler, args: os.Args[1:]}
	os.Exit(c.run(os.Getenv("NETFATE_COMPILED")))
}

// find looks the compiler up in PATH, behind this program.
func find(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		target, err := filepath.EvalSymlinks(path)
		if err == nil && target != self && filepath.Dir(path) != filepath.Dir(self) {
			return path, nil
		}
	}
	return "", fmt.Errorf("no %s in PATH behind this one", name)
}

// call is one call of the compiler.
type call struct {
	compiler string
	args     []string

	output  string // what -o says
	sources int
	stdin   []byte // nil if the sources are files
}

// run returns the exit status.
func (c *call) run(memory string) int {
	key, ok := "", false
	if memory != "" {
		key, ok = c.key()
	}
	if !ok { // nothing to remember: a question about the compiler, a build without -o
		return c.compile()
	}
	known := filepath.Join(memory, key)
	if text, err := os.ReadFile(known); err == nil {
		if err := os.WriteFile(c.output, text, 0o755); err != nil {
			fmt.Fprintf(os.Stderr, "cached: %v\n", err)
			return 1
		}
		return 0
	}
	if status := c.compile(); status != 0 {
		return status
	}
	c.remember(memory, known)
	return 0
}

// compile runs the compiler itself.
func (c *call) compile() int {
	cmd := exec.Command(c.compiler, c.args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if c.stdin != nil {
		cmd.Stdin = bytes.NewReader(c.stdin)
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	fmt.Fprintf(os.Stderr, "cached: %v\n", err)
	return 127
}

// remember keeps what was made. Where that cannot be written, as in a guest,
// the compiler did its work all the same.
func (c *call) remember(memory, known string) {
	text, err := os.ReadFile(c.output)
	if err != nil || os.MkdirAll(memory, 0o755) != nil {
		return
	}
	fresh := fmt.Sprintf("%s.%d", known, os.Getpid())
	if os.WriteFile(fresh, text, 0o644) == nil {
		_ = os.Rename(fresh, known)
	}
}

// key is a hash of all that decides what comes out: the compiler, the sources,
// the headers beside them and in directories of this tree, and the arguments but
// for the directories of sources and result. False if nothing of the sort comes out.
func (c *call) key() (string, bool) {
	h := sha256.New()
	info, err := os.Stat(c.compiler)
	if err != nil {
		return "", false
	}
	fmt.Fprintln(h, info.Name(), info.Size(), info.ModTime())
	for i := 0; i < len(c.args); i++ {
		arg := c.args[i]
		switch ext := filepath.Ext(arg); {
		case arg == "-o" && i+1 < len(c.args):
			i++
			c.output = c.args[i]
			continue
		case arg == "-":
			if c.stdin, err = io.ReadAll(os.Stdin); err != nil {
				return "", false
			}
			c.sources++
			h.Write(c.stdin)
		case strings.HasPrefix(arg, "-I.."):
			err = hashHeaders(h, arg[len("-I"):])
		case !strings.HasPrefix(arg, "-") && (ext == ".c" || ext == ".h"):
			c.sources++
			arg, err = filepath.Base(arg), errors.Join(hashFile(h, arg), hashBeside(h, arg))
		}
		if err != nil {
			return "", false // it is the compiler's to complain
		}
		fmt.Fprintln(h, arg)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), c.output != "" && c.sources > 0
}

func hashFile(h hash.Hash, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	fmt.Fprintln(h, len(text))
	_, err = h.Write(text)
	return err
}

// hashBeside hashes the headers in the directory of a source.
func hashBeside(h hash.Hash, source string) error {
	headers, err := filepath.Glob(filepath.Join(filepath.Dir(source), "*.h"))
	for _, header := range headers {
		err = errors.Join(err, hashFile(h, header))
	}
	return err
}

// hashHeaders hashes all headers below a directory.
func hashHeaders(h hash.Hash, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".h" {
			return err
		}
		return hashFile(h, path)
	})
}
