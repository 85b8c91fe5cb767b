package scenario

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/handshake"
	"github.com/netfate/netfate/test/need"
	"github.com/netfate/netfate/test/netlab"
)

// TestStartTLS has OpenSSL change to TLS in the middle of a talk about mail, over lo:
// who reads its packets has the handshake, with the name, once.
func TestStartTLS(t *testing.T) {
	need.Root(t)
	host := netlab.New(t).NetNS("host")
	const addr = "127.0.0.1:2525"
	listener := host.ListenTCP(addr)
	ends := make(chan error, 1)
	identity, _ := handshake.Identity(t, "mail.example")
	go func() { ends <- serveMail(listener, identity) }()
	fields := record.Fields(record.Request{})
	var got []string
	w := startWatch(t, func(row []byte) error {
		var q record.Request
		if err := record.ParseJSON(row, fields, &q); err != nil {
			return err
		}
		got = append(got, fmt.Sprintf("%s %s %s %s:%d %s", q.Protocol, q.HostName, q.TLSVersion, q.DstAddr, q.DstPort, q.Error))
		return nil
	}, "http", "--each", "-i", "lo", "--netns", host.Name)
	said := host.Exec("openssl", "s_client", "-starttls", "smtp", "-connect", addr, "-servername", "mail.example", "-quiet")
	host.Must("serve", <-ends)
	if !strings.Contains(said, goodbye) {
		t.Errorf("openssl got %q, want %q", said, goodbye)
	}
	w.stop()
	if diff := cmp.Diff([]string{"tls mail.example 1.3 127.0.0.1:2525 "}, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// goodbye is what the mail server says inside TLS.
const goodbye = "421 mail.example is tired"

// serveMail serves one client, as far as goodbye.
func serveMail(listener net.Listener, identity tls.Certificate) error {
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	for _, answer := range []string{"220 mail.example ESMTP", "250-mail.example\r\n250 STARTTLS", "220 go on"} {
		if _, err := io.WriteString(conn, answer+"\r\n"); err != nil {
			return err
		}
		if answer == "220 go on" {
			break
		}
		if _, err := in.ReadString('\n'); err != nil {
			return err
		}
	}
	inside := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{identity}})
	if _, err := io.WriteString(inside, goodbye+"\r\n"); err != nil {
		return err
	}
	return inside.Close()
}
