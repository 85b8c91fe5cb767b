// Command asker is the short-lived process of a scenario test: it sends one
// line from a given address, waits for the same line, and ends.
//
//	asker tcp|udp SOURCE DESTINATION
package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: asker tcp|udp SOURCE DESTINATION")
		os.Exit(2)
	}
	if err := ask(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "asker:", err)
		os.Exit(1)
	}
}

func ask(network, from, to string) error {
	local, err := netip.ParseAddrPort(from)
	if err != nil {
		return err
	}
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local)}
	if network == "udp" {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(local)
	}
	conn, err := dialer.Dial(network, to)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	const question = "who am I\n"
	if _, err := conn.Write([]byte(question)); err != nil {
		return err
	}
	answer := make([]byte, 64)
	size, err := conn.Read(answer)
	if err != nil {
		return err
	}
	if got := string(answer[:size]); got != question {
		return fmt.Errorf("got answer %q, want %q", got, question)
	}
	return nil
}
