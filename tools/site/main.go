// Command site writes the documentation as web pages: the README in both languages,
// docs/ and what they link to. The pages are plain files that need no server, no
// network and no script.
//
//	site [-root DIRECTORY] OUT
//
// Markdown is read by goldmark, which follows CommonMark and GitHub's tables, has no
// dependencies, and gives a tree in which links can be changed.
//
// Links are those of the Markdown files, so that these read the same where they are:
// a link to a page becomes one to its HTML, one to a picture brings the picture, and
// one to any other file of the repository leads to the repository.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "`directory` of the sources")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: site [-root DIRECTORY] OUT")
		os.Exit(2)
	}
	if err := run(*root, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

// run writes the site of the sources below root to the directory out, which is
// made anew.
func run(root, out string) error {
	files, err := build(os.DirFS(root))
	if err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return fmt.Errorf("remove the last site: %w", err)
	}
	for name, content := range files {
		name = filepath.Join(out, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("make a directory: %w", err)
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return fmt.Errorf("write a page: %w", err)
		}
	}
	fmt.Printf("wrote %d files to %s; open %s\n", len(files), out, filepath.Join(out, "index.html"))
	return nil
}
