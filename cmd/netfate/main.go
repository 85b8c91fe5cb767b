// Command netfate tells what became of a Linux host's network traffic.
//
// Here are only flags, exit codes and help; internal/agent does the work.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/export/pcapng"
	"github.com/netfate/netfate/internal/kernel"
)

// Exit codes; the same in every command, and part of what scripts rely on.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2
	exitNotAllowed = 3 // by the kernel or the privileges
	exitNoRoom     = 4 // on the disk; what was written is whole
)

// usageError is a command line that cannot be meant.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	// A second Ctrl-C ends at once: the kernel takes off what is attached.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	root := newRoot()
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "netfate:", tongue().Translate(err.Error()))
	}
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, kernel.ErrNotAllowed):
		return exitNotAllowed
	case errors.Is(err, pcapng.ErrNoRoom):
		return exitNoRoom
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "netfate",
		Short: "What became of my traffic?",
		Long: `netfate tells the fate of a host's network traffic: what was delivered, what was
lost, where in the kernel, why, whose it was, and what to do about it.

Without a command it fills the terminal with what all network namespaces carry and
lose, as netfate top does: h lists the keys, ? explains a loss, q ends it. Where there
is no terminal it prints drops and flows, every ten seconds. It attaches to no
interface and changes nothing; what it attaches is gone when it ends.`,
		Example: `  sudo netfate                        everything, on one screen
  sudo netfate drops                  what is lost, where, why, whose
  sudo netfate drops --each port 53   each lost DNS packet as it happens
  sudo netfate flows --by process     who uses the bandwidth
  sudo netfate conns --failed         who cannot connect, and why
  sudo netfate ledger                 where every packet went, and what is unexplained
  sudo netfate dns --by server        which resolver is slow or silent
  netfate explain NETFILTER_DROP      what a reason means and what to do
  sudo netfate doctor                 what this kernel supports`,
		Args:          noArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; '%s --help' shows the flags", err, cmd.CommandPath())
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	screen(root)
	root.AddCommand(newTop(), newDrops(), newFlows(), newConns(), newDNS(), newHTTP(), newLedger(), newWatch(), newRecord(), newCapture(), newQuery(), newDiff(), newExplain(), newDoctor(), newVersion(), newRun(), newPs(), newStop(), newMap(), newLog(), newCheck(), newServe(), newStore(), newMan())
	return root
}

// noArgs refuses arguments with the exit code of wrong usage.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		return usagef("unknown command %q; 'netfate --help' lists the commands", args[0])
	}
	return usagef("%s takes no arguments, got %q", cmd.CommandPath(), args[0])
}
