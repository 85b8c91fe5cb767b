package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/netfate/netfate/internal/history/duckdb"
	"github.com/netfate/netfate/internal/history/remote"
	"github.com/netfate/netfate/internal/runstate"
)

func newMan() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man [COMMAND]",
		Short: "Print the man page of a command, or write all of them",
		Long: `Man prints the man page of netfate or of one of its commands, as packages have it, in
the language of man. With --write it writes every page into a directory.`,
		Example: `  netfate man | man -l -
  netfate man map dump | man -l -
  sudo netfate man --write /usr/local/share/man/man1`,
		Hidden: true,
		Args:   cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			if dir != "" {
				if len(args) > 0 {
					return usagef("--write writes every page, so it takes no command")
				}
				return writeManPages(dir, root)
			}
			found, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("there is no command %q; 'netfate --help' lists the commands", strings.Join(args, " "))
			}
			return writeManPage(os.Stdout, found)
		},
	}
	cmd.Flags().StringVarP(&dir, "write", "w", "", "write every page into `directory`")
	return cmd
}

// writeManPages writes the pages of cmd and of the commands below it.
func writeManPages(dir string, cmd *cobra.Command) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, manName(cmd)+".1"))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := writeManPage(f, cmd); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	for _, c := range documented(cmd) {
		if err := writeManPages(dir, c); err != nil {
			return err
		}
	}
	return nil
}

// documented returns the commands below cmd that help lists.
func documented(cmd *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool { return !c.IsAvailableCommand() || c.Name() == "help" })
}

func manName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// writeManPage writes one page as man(7) describes it. It has no date, so that the same
// sources give the same page.
func writeManPage(out io.Writer, cmd *cobra.Command) error {
	cmd.InitDefaultHelpFlag()
	p := &manPage{bufio.NewWriter(out)}
	p.request("TH", strings.ToUpper(manName(cmd)), "1", "", "netfate "+version(), "netfate")
	// Words and lines as they are elsewhere: what is read here is typed there.
	fmt.Fprint(p, ".nh\n.ad l\n")
	p.request("SH", "NAME")
	p.text(manName(cmd) + ` - ` + lowerFirst(cmd.Short))
	p.request("SH", "SYNOPSIS")
	p.text(cmd.UseLine())
	p.request("SH", "DESCRIPTION")
	p.prose(cmd.Long, cmd.Short+".")
	if below := documented(cmd); len(below) > 0 {
		p.request("SH", "COMMANDS")
		for _, c := range below {
			p.request("TP")
			p.bold(c.CommandPath())
			p.text(c.Short + ".")
		}
	}
	p.request("SH", "OPTIONS")
	cmd.LocalFlags().VisitAll(p.flag)
	if cmd.Example != "" {
		p.request("SH", "EXAMPLES")
		p.verbatim(cmd.Example)
	}
	p.common(cmd)
	return p.Flush()
}

// common writes what every page ends with, and the main one alone.
func (p *manPage) common(cmd *cobra.Command) {
	p.request("SH", "EXIT STATUS")
	for _, code := range []struct {
		code int
		when string
	}{
		{exitDone, "Done."},
		{exitFailed, "Failed."},
		{exitUsage, "The command line, or a file that it names, cannot be meant."},
		{exitNotAllowed, "The kernel or the privileges do not allow it."},
		{exitNoRoom, "The disk is full; what was written is whole."},
	} {
		p.request("TP")
		p.bold(fmt.Sprint(code.code))
		p.text(code.when)
	}
	if cmd.HasParent() {
		p.request("SH", "SEE ALSO")
		p.text(manName(cmd.Parent()) + "(1)")
		return
	}
	p.request("SH", "FILES")
	for _, file := range [][2]string{
		{usualConfig, "What netfate serve does; netfate serve --print-config prints every key."},
		{remote.DefaultSocket, "Where it answers those who may write to it."},
		{duckdb.DefaultPath, "Its history."},
		{runstate.DefaultDir, "What netfate run has loaded."},
	} {
		p.request("TP")
		p.bold(file[0])
		p.text(file[1])
	}
	p.request("SH", "SEE ALSO")
	p.text("https://github.com/netfate/netfate")
}

// manPage writes the language of man(7). Its writer keeps the first error.
type manPage struct{ *bufio.Writer }

// request writes a macro with its arguments.
func (p *manPage) request(name string, args ...string) {
	fmt.Fprintf(p, ".%s", name)
	for _, a := range args {
		fmt.Fprintf(p, ` "%s"`, strings.ReplaceAll(manEscape(a), `"`, `\(dq`))
	}
	fmt.Fprintln(p)
}

// text writes lines that man may fill.
func (p *manPage) text(s string) {
	for line := range strings.Lines(s) {
		line = manEscape(strings.TrimSpace(line))
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line
		}
		fmt.Fprintln(p, line)
	}
}

func (p *manPage) bold(s string) { fmt.Fprintf(p, "\\fB%s\\fR\n", manEscape(s)) }

// prose writes paragraphs, those that begin with a space as they stand.
func (p *manPage) prose(long, short string) {
	if long == "" {
		long = short
	}
	for i, paragraph := range strings.Split(strings.TrimRight(long, "\n"), "\n\n") {
		if strings.HasPrefix(paragraph, " ") {
			p.verbatim(paragraph)
			continue
		}
		if i > 0 {
			p.request("PP")
		}
		p.text(paragraph)
	}
}

// verbatim writes lines as they stand, but for their common indentation of two.
func (p *manPage) verbatim(s string) {
	p.request("PP")
	p.request("RS", "4")
	p.request("EX")
	for line := range strings.Lines(s) {
		line = strings.TrimRight(strings.TrimPrefix(line, "  "), "\n")
		fmt.Fprintf(p, "\\&%s\n", manEscape(line))
	}
	p.request("EE")
	p.request("RE")
}

// flag writes one flag with its meaning and its default.
func (p *manPage) flag(f *pflag.Flag) {
	if f.Hidden {
		return
	}
	value, usage := pflag.UnquoteUsage(f)
	name := `\fB\-\-` + manEscape(f.Name) + `\fR`
	if f.Shorthand != "" {
		name = `\fB\-` + f.Shorthand + `\fR, ` + name
	}
	if value != "" {
		name += ` \fI` + manEscape(value) + `\fR`
	}
	p.request("TP")
	fmt.Fprintln(p, name)
	p.text(usage + unlessPlain(f.DefValue))
}

// unlessPlain tells a default that one would not expect.
func unlessPlain(value string) string {
	switch value {
	case "", "false", "0", "0s", "[]":
		return ""
	}
	return " (default " + value + ")"
}

// manEscape writes what man would take for its own: a backslash, and a minus that is to stay
// one when it is copied.
func manEscape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "~", `\(ti`, "^", `\(ha`, "`", `\(ga`, "'", `\(aq`).Replace(s)
}

// lowerFirst is for what follows a dash; words that are written large stay so.
func lowerFirst(s string) string {
	first, rest := s[:1], s[1:]
	if rest != "" && rest[:1] == strings.ToUpper(rest[:1]) {
		return s
	}
	return strings.ToLower(first) + rest
}
