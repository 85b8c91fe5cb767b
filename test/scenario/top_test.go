package scenario

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
	"github.com/netfate/netfate/test/term"
)

// TestTop puts netfate into a terminal while a namespace loses packets: the loss comes
// to the screen, is found, frozen, opened and explained, and SIGTERM leaves the
// terminal as it was.
func TestTop(t *testing.T) {
	need.Root(t)
	if known := reasonNames(t); !known["NETFILTER_DROP"] {
		need.Reason(t, "NETFILTER_DROP", known)
	}
	client, server := pair(netlab.New(t))
	const port = 9999
	server.NFT(fmt.Sprintf("table inet guard {\nchain input {\ntype filter hook input priority 0\nudp dport %d counter drop\n}\n}\n", port))
	lost, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(lost)
		conn := client.DialUDP("", fmt.Sprintf("%s:%d", serverAddr, port))
		defer conn.Close()
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				_, _ = conn.Write(make([]byte, 100))
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-lost
	})

	x := term.Start(t, exec.Command(os.Getenv(binaryEnv), "top", "--netns", server.Name), 120, 40)
	x.Shows("1 Overview", "NETFILTER_DROP", fmt.Sprintf("%s:%d", serverAddr, port))
	x.Keys("2")
	x.Shows("row 1 of")
	x.Keys("/no such loss\r")
	x.Lacks("NETFILTER_DROP")
	x.Keys("\x1b")
	x.Shows("NETFILTER_DROP")
	x.Keys("/NETFILTER\r")
	x.Shows("NETFILTER_DROP", "only NETFILTER")

	// Frozen, what is shown stays; counting goes on.
	x.Keys(" ")
	frozen := lossesOn(x.Shows("FROZEN"))
	if rows := x.Text(); lossesOn(rows) != frozen {
		t.Errorf("got %d packets while frozen, want %d", lossesOn(rows), frozen)
	}
	x.Keys(" ")
	x.Until("more packets than before", func(screen string) bool { return lossesOn(screen) > frozen })

	x.Keys("\r")
	x.Shows("one row", "nft_do_chain", clientAddr, "a firewall rule")
	x.Keys("\x1b")
	x.Shows("row 1 of")
	x.Keys("?")
	// What this host says is the rule.
	x.Shows("NETFILTER_DROP", fmt.Sprintf("udp dport %d", port))
	if err := x.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := x.Ends(); code != 0 {
		t.Errorf("SIGTERM: got exit code %d, want 0", code)
	}
	if text := x.Text(); strings.Contains(text, "NETFILTER_DROP") || x.Screen.IsAltScreen() {
		t.Errorf("the last frame stays on the terminal:\n%s", text)
	}
}

// lossesOn returns the packets of the first row of drops on a screen, 0 if there is none.
func lossesOn(screen string) (packets int) {
	for line := range strings.Lines(screen) {
		if strings.Contains(line, "NETFILTER_DROP") {
			for _, word := range strings.Fields(line) {
				if n, err := fmt.Sscanf(word, "%d", &packets); n == 1 && err == nil {
					return packets
				}
			}
		}
	}
	return 0
}
