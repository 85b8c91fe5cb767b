package scenario

import (
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/netfate/netfate/test/netlab"
)

// dnsmasq is a name server of a test. Its log tells each question.
type dnsmasq struct {
	n   *netlab.NetNS
	cmd *exec.Cmd
	log string // file
}

// startDNSMasq starts dnsmasq(8) in a namespace, with these options and none of
// the host's, and returns when it answers at that address.
func startDNSMasq(n *netlab.NetNS, addr string, options ...string) *dnsmasq {
	log, err := os.CreateTemp("", "netfate-dnsmasq-")
	n.Must("make a log", err)
	defer log.Close()
	n.TB().Cleanup(func() { _ = os.Remove(log.Name()) })
	d := &dnsmasq{n: n, log: log.Name()}
	d.cmd = exec.Command("dnsmasq", append([]string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--no-poll", "--user=root", "--pid-file=",
		"--bind-interfaces", "--listen-address=" + addr, "--log-facility=-", "--log-queries=extra", "--cache-size=0",
	}, options...)...)
	d.cmd.Stderr = log
	n.Start(d.cmd)
	if !netlab.Poll(20*time.Second, func() bool {
		conn, err := n.TryDialTCP(net.JoinHostPort(addr, "53"), time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}) {
		n.TB().Fatalf("dnsmasq does not answer at %s; it says:\n%s", addr, d.said())
	}
	return d
}

func (d *dnsmasq) said() string {
	text, err := os.ReadFile(d.log)
	d.n.Must("read dnsmasq's log", err)
	return string(text)
}

// freeze stops it where it is: from then on it is silent.
func (d *dnsmasq) freeze() { d.n.Must("stop dnsmasq", d.cmd.Process.Signal(syscall.SIGSTOP)) }

// inquiry is a question, and how it was answered.
type inquiry struct{ QName, QType, RCode string }

// logged counts what its log says that it was asked and answered.
func (d *dnsmasq) logged() map[inquiry]int {
	// The process (of TCP each connection has one), the number of the question, what happened.
	question := regexp.MustCompile(`^(dnsmasq\[\d+\]: \d+) \S+ query\[(\w+)\] (\S+) from `)
	answer := regexp.MustCompile(`^(dnsmasq\[\d+\]: \d+) \S+ (?:config|reply) \S+ is (\S+)`)
	all := map[string]inquiry{}
	for line := range strings.Lines(d.said()) {
		if m := question.FindStringSubmatch(line); m != nil {
			all[m[1]] = inquiry{m[3], m[2], ""}
		} else if m := answer.FindStringSubmatch(line); m != nil {
			q := all[m[1]]
			q.RCode = "NOERROR"
			switch m[2] {
			case "NXDOMAIN", "SERVFAIL", "REFUSED":
				q.RCode = m[2]
			}
			all[m[1]] = q
		}
	}
	counts := map[inquiry]int{}
	for _, q := range all {
		counts[q]++
	}
	return counts
}
