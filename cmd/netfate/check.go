package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/loader"
	"github.com/netfate/netfate/internal/view/programs"
)

func newCheck() *cobra.Command {
	var format string
	var events []string
	cmd := &cobra.Command{
		Use:   "check OBJECT",
		Short: "What a BPF object holds, and what this kernel lacks for it",
		Long: `Check reads a BPF object without loading it: its programs, where each would attach
and whether it can do more than watch; its maps, and what would be changed so that
the kernel takes them; its globals with their defaults; which struct each ring or
perf buffer carries, and how that is known.

It asks the kernel whether it has what the object needs: kinds of programs and
maps, tracepoints, functions, files to probe. That needs root; the rest does not.
What the verifier will say only netfate run can tell.`,
		Example: `  sudo netfate check prog.bpf.o
  netfate check prog.bpf.o --event ring=event
  netfate check prog.bpf.o -o json | jq '.globals[] | .name, .default'
  sudo netfate check prog.bpf.o -o json | jq '.programs[] | select(.lacks != "")'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("check takes one object, got %d: netfate check FILE.bpf.o", len(args))
			}
			if format != "table" && format != "json" {
				return usagef("--output is table or json, not %s", format)
			}
			said, err := pairs("--event", "MAP=STRUCT", events)
			if err != nil {
				return err
			}
			report, err := loader.Inspect(loader.Config{Object: args[0], Events: said})
			if err != nil {
				return asUsage(err)
			}
			check := checkOf(args[0], report)
			if format == "json" {
				return programs.WriteCheckJSON(os.Stdout, check)
			}
			return programs.WriteCheck(os.Stdout, check)
		},
	}
	cmd.Flags().StringArrayVar(&events, "event", nil, "what a ring or perf buffer carries: MAP=STRUCT")
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table or json")
	return cmd
}

// checkOf hands what the loader found to the view, which does not know the loader.
func checkOf(object string, r *loader.Report) *programs.Check {
	c := &programs.Check{Object: object, Notes: r.Notes}
	for _, p := range r.Programs {
		c.Programs = append(c.Programs, programs.CheckProgram(p))
	}
	for _, m := range r.Maps {
		c.Maps = append(c.Maps, programs.CheckMap(m))
	}
	for _, g := range r.Globals {
		c.Globals = append(c.Globals, programs.CheckGlobal(g))
	}
	for _, e := range r.Events {
		c.Events = append(c.Events, programs.CheckEvent(e))
	}
	return c
}
