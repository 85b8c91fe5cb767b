package scenario

import (
	"net"
	"os/exec"
	"time"

	"github.com/netfate/netfate/test/netlab"
)

// dnsmasq is a name server of a test. Its log has a line for each question.
type dnsmasq struct {
	cmd *exec.Cmd
	log *lines
}

// startDNSMasq starts dnsmasq(8) in a namespace, with these options and none of
// the host's, and returns when it answers at that address.
func startDNSMasq(n *netlab.NetNS, addr string, options ...string) *dnsmasq {
	d := &dnsmasq{log: &lines{}}
	args := append([]string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--no-poll", "--user=root", "--pid-file=",
		"--bind-interfaces", "--listen-address=" + addr, "--log-facility=-", "--log-queries=extra", "--cache-size=0",
	}, options...)
	d.cmd = exec.Command("dnsmasq", args...)
	d.cmd.Stderr = d.log
	n.Start(d.cmd)
	if !netlab.Poll(20*time.Second, func() bool {
		conn, err := n.TryDialTCP(net.JoinHostPort(addr, "53"), time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}) {
		n.TB().Fatalf("dnsmasq does not answer at %s; it says:\n%s", addr, d.log)
	}
	return d
}
