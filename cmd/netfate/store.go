package main

import (
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/netfate/netfate/internal/confine"
	"github.com/netfate/netfate/internal/history/duckdb"
)

// What the history's process may have: with a daemon in a storm of flows it is less than
// 400 MB. docs/history.md says what each bound is for.
const (
	storeData     = 208 << 20 // as the kernel counts
	storeResident = 192 << 20 // while a statement runs
	storeMemory   = 144 << 20 // as DuckDB counts
	storeAnswer   = 8 << 20
)

// newStore is what the daemon starts to have the history's file open.
func newStore() *cobra.Command {
	return &cobra.Command{
		Use:    "store",
		Short:  "Has the history's file open for netfate serve, which starts it",
		Hidden: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("netfate serve starts this by itself, with the history's file")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			// Whoever starts it ends it.
			signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			file := os.NewFile(3, "daemon")
			conn, err := net.FileConn(file)
			if err != nil {
				return usagef("netfate serve starts this by itself: %w", err)
			}
			if err := file.Close(); err != nil {
				return err
			}
			if err := fewCapabilities(); err != nil {
				return err
			}
			if _, err := confine.History(args[0]); err != nil {
				return err
			}
			return duckdb.Serve(conn)
		},
	}
}

// fewCapabilities gives up all but what a file needs that is not root's own, if root runs this.
func fewCapabilities() error {
	have, want := cap.GetProc(), cap.NewSet()
	if ok, err := have.GetFlag(cap.Permitted, cap.DAC_OVERRIDE); err == nil && ok {
		for _, f := range []cap.Flag{cap.Permitted, cap.Effective} {
			if err := want.SetFlag(f, true, cap.DAC_OVERRIDE); err != nil {
				return err
			}
		}
	}
	return want.SetProc()
}

// storeProcess makes the command of the process that has the history at path: this very
// program, whatever has become of its file.
func storeProcess(path string) func() *exec.Cmd {
	return func() *exec.Cmd {
		cmd := exec.Command("/proc/self/exe", "store", path)
		cmd.Args[0] = os.Args[0]
		return cmd
	}
}
