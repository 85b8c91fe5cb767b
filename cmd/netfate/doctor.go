package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/view/doctor"
	"github.com/netfate/netfate/internal/view/table"
)

func newDoctor() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "What this kernel supports, and what each missing feature costs",
		Long: `Doctor tries each kernel feature that netfate uses, by loading and attaching small
programs of its own and taking them off at once, and says what works, why the
rest does not, what that costs and what to do about it. It leaves nothing behind.`,
		Example: `  sudo netfate doctor
  sudo netfate doctor -o json | jq '.capabilities[] | select(.ok | not) | .name'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			facts := kernel.ReadFacts()
			caps := kernel.Probe(cmd.Context())
			if err := writeDoctor(format, facts, caps); err != nil {
				return err
			}
			if text, usable := doctor.Summary(caps); !usable {
				return fmt.Errorf("%s%w", text, quiet{kernel.ErrNotAllowed})
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table, json or csv")
	return cmd
}

// quiet is an error that decides the exit code and says nothing.
type quiet struct{ err error }

func (quiet) Error() string   { return "" }
func (q quiet) Unwrap() error { return q.err }

func writeDoctor(format string, facts kernel.Facts, caps []kernel.Capability) error {
	switch format {
	case "json":
		return doctor.WriteJSON(os.Stdout, facts, caps)
	case "csv":
		return doctor.WriteCSV(os.Stdout, caps)
	case "table":
	default:
		return usagef("--output is table, json or csv, not %s", format)
	}
	terminal := term.IsTerminal(int(os.Stdout.Fd()))
	style := doctor.Style{Color: table.ColourWanted(terminal, os.Getenv), ASCII: !table.UnicodeWanted(os.Getenv)}
	if terminal {
		style.Width, _ = terminalSize()
	}
	return doctor.WriteReport(os.Stdout, facts, caps, style)
}
