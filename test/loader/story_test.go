package loader

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/netfate/netfate/test/need"
)

// TestStories plays the examples as their README tells them, in a shell with
// mounts and a network of its own; testdata/story/*.txtar. The objects and world.sh
// are in the directory that a story begins in, and netfate is on its path.
func TestStories(t *testing.T) {
	need.Root(t)
	files := map[string]string{"world.sh": "testdata/world.sh"}
	for _, name := range []string{"minimal", "kfree_skb", "url_map"} {
		files[name+".bpf.o"] = compile(t, filepath.Join(examples, name+".bpf.c"))
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/story",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(os.Getenv(binaryEnv))+string(filepath.ListSeparator)+env.Getenv("PATH"))
			for name, path := range files {
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), text, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	})
}
