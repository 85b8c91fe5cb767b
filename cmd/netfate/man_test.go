package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/netfate/netfate/test/need"
)

// TestManPages has man read every page: what it warns of is wrong in it.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	if err := writeManPages(dir, newRoot()); err != nil {
		t.Fatal(err)
	}
	var commands []string
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		commands = append(commands, filepath.Join(dir, manName(c)+".1"))
		for _, below := range documented(c) {
			walk(below)
		}
	}
	walk(newRoot())
	pages, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(pages) != len(commands) || len(pages) < 20 {
		t.Fatalf("got %d pages, %v, for %d commands", len(pages), err, len(commands))
	}
	man := need.Tool(t, "man")
	for _, page := range pages {
		cmd := exec.Command(man, "--warnings", "-E", "UTF-8", "-l", page)
		cmd.Env = append(os.Environ(), "MANWIDTH=80", "LC_ALL=C.UTF-8", "MANPAGER=cat")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil || errs.Len() > 0 {
			t.Errorf("%s: %v\n%s", filepath.Base(page), err, &errs)
		}
		for _, part := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"} {
			if !strings.Contains(out.String(), "\n"+part+"\n") {
				t.Errorf("%s has no %s:\n%s", filepath.Base(page), part, &out)
			}
		}
	}
}

// TestManPage holds what is written for man against what is meant.
func TestManPage(t *testing.T) {
	root := &cobra.Command{Use: "tool"}
	cmd := &cobra.Command{
		Use:     "look [AT]",
		Short:   "Look at it",
		Long:    "Look looks.\n.And 'this' is C:\\x.\n\n  a  one\n     more\n\nThe end.",
		Example: "  tool look -n 3   \"all\"",
		Run:     func(*cobra.Command, []string) {},
	}
	cmd.Flags().IntP("number", "n", 5, "how `often`")
	cmd.Flags().Bool("quiet", false, "say nothing")
	root.AddCommand(cmd)
	var out strings.Builder
	if err := writeManPage(&out, cmd); err != nil {
		t.Fatal(err)
	}
	got := strings.Replace(out.String(), manEscape(version()), "VERSION", 1)
	want := `.TH "TOOL\-LOOK" "1" "" "netfate VERSION" "netfate"
.nh
.ad l
.SH "NAME"
tool\-look \- look at it
.SH "SYNOPSIS"
tool look [AT] [flags]
.SH "DESCRIPTION"
Look looks.
\&.And \(aqthis\(aq is C:\ex.
.PP
.RS "4"
.EX
\&a  one
\&   more
.EE
.RE
.PP
The end.
.SH "OPTIONS"
.TP
\fB\-h\fR, \fB\-\-help\fR
help for look
.TP
\fB\-n\fR, \fB\-\-number\fR \fIoften\fR
how often (default 5)
.TP
\fB\-\-quiet\fR
say nothing
.SH "EXAMPLES"
.PP
.RS "4"
.EX
\&tool look \-n 3   "all"
.EE
.RE
.SH "EXIT STATUS"
.TP
\fB0\fR
Done.
.TP
\fB1\fR
Failed.
.TP
\fB2\fR
The command line, or a file that it names, cannot be meant.
.TP
\fB3\fR
The kernel or the privileges do not allow it.
.TP
\fB4\fR
The disk is full; what was written is whole.
.SH "SEE ALSO"
tool(1)
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
