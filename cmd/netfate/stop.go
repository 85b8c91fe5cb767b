package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/loader"
	"github.com/netfate/netfate/internal/runstate"
)

func newStop() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "stop NAME|ID…",
		Short: "Take off what netfate run has loaded",
		Long: `Stop ends what netfate run has started, by its name or by the id of one of its
programs: it asks the process that holds it to end, or removes the pins of what was
detached, or cleans up after a crash. It touches nothing else.`,
		Example: `  sudo netfate stop url_map
  sudo netfate stop 1234
  sudo netfate stop --all`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usagef("say what to stop: names, ids of programs, or --all; netfate ps lists them")
			}
			states, err := runstate.List(runstate.DefaultDir)
			if err = errors.Join(err, runstate.Sweep(runstate.DefaultDir)); err != nil {
				return err
			}
			names, err := stopNames(states, args, all)
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range names {
				stopped, err := loader.Stop(cmd.Context(), runstate.DefaultDir, name)
				switch {
				case err != nil:
					errs = append(errs, err)
				case stopped.Crashed:
					fmt.Fprintf(os.Stderr, "netfate: %s had crashed; what it left is gone\n", name)
				default:
					fmt.Fprintf(os.Stderr, "netfate: %s is off\n", name)
				}
			}
			if len(names) == 0 {
				fmt.Fprintln(os.Stderr, "netfate: nothing runs")
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "stop everything that netfate run has loaded")
	return cmd
}

// stopNames finds the names of what is to be stopped.
func stopNames(states []*runstate.State, args []string, all bool) ([]string, error) {
	var names []string
	for _, s := range states {
		if all {
			names = append(names, s.Name)
		}
	}
	for _, arg := range args {
		name := ""
		for _, s := range states {
			if s.Name == arg || hasProgram(s, arg) {
				name = s.Name
				break
			}
		}
		if name == "" {
			return nil, usagef("netfate run has loaded nothing called %s; netfate ps lists what it has", arg)
		}
		names = append(names, name)
	}
	return names, nil
}

// hasProgram reports whether arg is the id of one of the state's programs.
func hasProgram(s *runstate.State, arg string) bool {
	id, err := strconv.ParseUint(arg, 10, 32)
	if err != nil {
		return false
	}
	for _, p := range s.Programs {
		if p.ID == uint32(id) && p.ID != 0 {
			return true
		}
	}
	return false
}
