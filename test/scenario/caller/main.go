// Command caller is a process of a scenario test that goes by names: it asks a
// name server for each, connects to the address that it is told, and sends a line
// that comes back. A connect that fails ends it with exit code 1.
//
//	caller udp|tcp NAMESERVER A|AAAA NAME:PORT...
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/miekg/dns"
)

// patience is how long an answer or a connection is waited for.
const patience = 5 * time.Second

func main() {
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "usage: caller udp|tcp NAMESERVER A|AAAA NAME:PORT...")
		os.Exit(2)
	}
	for _, to := range os.Args[4:] {
		if err := call(os.Args[1], os.Args[2], os.Args[3], to); err != nil {
			fmt.Fprintf(os.Stderr, "caller: %s: %v\n", to, err)
			os.Exit(1)
		}
	}
}

func call(network, server, kind, to string) error {
	name, text, err := net.SplitHostPort(to)
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return err
	}
	addr, err := lookUp(network, server, kind, name)
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(addr, uint16(port)).String(), patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	const hello = "hello " // and the name
	if _, err := io.WriteString(conn, hello+name); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, len(hello+name)))
	return err
}

// lookUp returns the first address that the server has for the name.
func lookUp(network, server, kind, name string) (netip.Addr, error) {
	client := dns.Client{Net: network, Timeout: patience}
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.StringToType[kind])
	answer, _, err := client.Exchange(question, server)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, rr := range answer.Answer {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if addr, ok := netip.AddrFromSlice(ip); ok {
			return addr.Unmap(), nil
		}
	}
	return netip.Addr{}, errors.New("the server knows no address")
}
