package netlab

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
)

// Programs go through Start: fork happens on the thread that is
// inside the namespace, and the child inherits that and nothing else.

// Start starts a prepared command inside the namespace. The caller waits for
// it; if it still runs when the lab goes, it is killed and waited for.
func (n *NetNS) Start(cmd *exec.Cmd) {
	n.tb.Helper()
	n.Do(func() error {
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start %s: %w", strings.Join(cmd.Args, " "), err)
		}
		return nil
	})
	n.tb.Cleanup(func() {
		// After a Wait by the caller this finds the process done, and does nothing.
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_, _ = cmd.Process.Wait()
	})
}

// TryExec runs a program inside the namespace to its end and returns what it
// printed, stdout and stderr together.
func (n *NetNS) TryExec(argv ...string) (string, error) {
	n.tb.Helper()
	var out bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	n.Start(cmd)
	err := cmd.Wait()
	return out.String(), err
}

// Exec is TryExec for what must succeed.
func (n *NetNS) Exec(argv ...string) string {
	n.tb.Helper()
	out, err := n.TryExec(argv...)
	if err != nil {
		n.tb.Fatalf("run %q in %s: %v\n%s", argv, n.Short, err, out)
	}
	return out
}

// NFT loads a ruleset with nft(8).
func (n *NetNS) NFT(ruleset string) {
	n.tb.Helper()
	var out bytes.Buffer
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(ruleset+"\n"), &out, &out
	n.Start(cmd)
	if err := cmd.Wait(); err != nil {
		n.tb.Fatalf("load nft rules in %s: %v\n%s\n%s", n.Short, err, ruleset, out.String())
	}
}
