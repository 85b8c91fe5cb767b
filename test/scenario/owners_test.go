package scenario

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// TestOwnersOfShortLivedProcesses starts a thousand processes that ask one
// question each, half of them over TCP and half over UDP, and end at once. No
// row of theirs may lack the process, and every process has to be there.
func TestOwnersOfShortLivedProcesses(t *testing.T) {
	need.Root(t)
	processes := 1000
	if testing.Short() {
		processes = 250
	}
	// Built here and not this test run again, which the race detector makes slow.
	asker := need.Command(t, "./asker")
	client, server := pair(netlab.New(t))
	listener := server.ListenTCP("10.0.0.2:9000")
	echo := server.ListenUDP("10.0.0.2:9001")
	var servers sync.WaitGroup
	servers.Add(2)
	go func() { defer servers.Done(); answerTCP(listener) }()
	go func() { defer servers.Done(); answerUDP(echo) }()

	spaces := []*netlab.NetNS{client, server}
	s := newSums()
	s.keep = true
	w := watchFlows(t, s)
	started := map[uint32]string{}
	for i := range processes {
		network, addr := "tcp", "10.0.0.2:9000"
		if i%2 == 1 {
			network, addr = "udp", "10.0.0.2:9001"
		}
		// A port of its own: two processes that shared one would share a row.
		cmd := exec.Command(asker, network, fmt.Sprintf("%s:%d", clientAddr, 10_000+i), addr)
		cmd.Stderr = os.Stderr
		client.Start(cmd)
		started[uint32(cmd.Process.Pid)] = network
		if err := cmd.Wait(); err != nil {
			t.Fatalf("asker %d: %v", i, err)
		}
	}
	settled(t, spaces)
	w.stop()
	listener.Close()
	echo.Close()
	servers.Wait()

	self, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	comm := strings.TrimSpace(string(self))
	seen := map[uint32]bool{}
	complain := complaints(t, 20)
	for i := range s.rows {
		f := &s.rows[i]
		if f.IfName != "eth0" || (f.Proto != "tcp" && f.Proto != "udp") {
			continue
		}
		switch {
		case f.Other && (f.NetNS == client.Inode || f.NetNS == server.Inode):
			complain("got a remainder row for %d buffers, want every flow by itself", f.BuffersIn+f.BuffersOut)
		case f.NetNS == client.Inode && started[f.PID] != f.Proto:
			complain("got process %d (%q) for %s, want one that was started for it", f.PID, f.Comm, flowName(f))
		case f.NetNS == client.Inode && f.Comm != "asker":
			complain("got comm %q for process %d and %s, want asker", f.Comm, f.PID, flowName(f))
		case f.NetNS == client.Inode:
			seen[f.PID] = true
		case f.NetNS == server.Inode && (f.PID != uint32(os.Getpid()) || f.Comm != comm):
			complain("got process %d (%q) at the server for %s, want %d (%q)", f.PID, f.Comm, flowName(f), os.Getpid(), comm)
		}
	}
	if len(seen) != len(started) {
		t.Errorf("got rows of %d processes, want all %d", len(seen), len(started))
	}
}

// complaints returns an Errorf that falls silent after some.
func complaints(t *testing.T, most int) func(format string, args ...any) {
	count := 0
	return func(format string, args ...any) {
		t.Helper()
		if count++; count <= most {
			t.Errorf(format, args...)
		}
	}
}

func flowName(f *record.Flow) string {
	return f.Proto + " " + f.SrcAddr.String() + " > " + f.DstAddr.String()
}

// answerTCP sends back one read of every connection, one after the other, and
// closes it when the client has.
func answerTCP(listener *net.TCPListener) {
	for {
		conn, err := listener.AcceptTCP()
		if err != nil {
			return
		}
		buffer := make([]byte, 64)
		if size, err := conn.Read(buffer); err == nil {
			// A client that is gone is the client's own failure.
			_, _ = conn.Write(buffer[:size])
			_, _ = io.Copy(io.Discard, conn)
		}
		conn.Close()
	}
}

func answerUDP(conn *net.UDPConn) {
	buffer := make([]byte, 64)
	for {
		size, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		_, _ = conn.WriteToUDPAddrPort(buffer[:size], from)
	}
}
