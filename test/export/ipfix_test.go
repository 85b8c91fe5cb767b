package export

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/netfate/netfate/internal/export/ipfix"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/exporttest"
)

// freeUDP returns an address that nobody listens at.
func freeUDP(t *testing.T) (addr, port string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, port, err = net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return conn.LocalAddr().String(), port
}

// TestNfcapd has nfcapd collect flows over UDP, and nfdump read them: every flow, packet
// and byte is there, both ways.
func TestNfcapd(t *testing.T) {
	addr, port := freeUDP(t)
	dir := t.TempDir()
	nfcapd := program(t, "nfcapd", "-b", "127.0.0.1", "-p", port, "-w", dir, "-t", "2", "-B", "4000000")
	start(t, nfcapd)
	wait(t, "nfcapd listens", func() bool {
		text, err := os.ReadFile("/proc/net/udp")
		n, _ := strconv.Atoi(port)
		return err == nil && strings.Contains(string(text), fmt.Sprintf("0100007F:%04X", n))
	})
	e := ipfix.New(ipfix.Config{Network: "udp", Addr: addr, Domain: 1, Queue: 16 << 20})
	batches := []*record.Batch{exporttest.Minute(), exporttest.Storm()}
	var flows, packets, bytes uint64
	for _, b := range batches {
		if err := e.Batch(b); err != nil {
			t.Fatal(err)
		}
		flows += ipfix.Rows(b)
		for i := range b.Flows {
			packets += b.Flows[i].PacketsIn + b.Flows[i].PacketsOut
			bytes += b.Flows[i].BytesIn + b.Flows[i].BytesOut
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if s := e.Status(); s.Sent != flows {
		t.Fatalf("got %+v", s)
	}
	read := func(args ...string) string {
		return run(t, program(t, "nfdump", append([]string{"-R", dir}, args...)...))
	}
	// It writes a file each two seconds.
	wait(t, "all is written", func() bool {
		files, err := filepath.Glob(dir + "/nfcapd.2*")
		return err == nil && len(files) > 0 && strings.Contains(read("-N"), fmt.Sprintf("total flows: %d,", flows))
	})
	out := read("-q", "-o", "fmt:%pr|%sa|%sp|%da|%dp|%ipkt|%ibyt|%opkt|%obyt")
	for _, want := range []string{
		`TCP\|192.0.2.1\|40443\|198.51.100.7\|443\|16\|1400\|20\|18000`,
		`UDP\|2001:db8::1\|40053\|2001:db8::2\|53\|6\|600\|0\|0`,
	} {
		if !regexp.MustCompile(want).MatchString(strings.ReplaceAll(out, " ", "")) {
			t.Errorf("got no %s in\n%s", want, out[:min(len(out), 2000)])
		}
	}
	for name, want := range map[string]uint64{"total bytes": bytes, "total packets": packets} {
		if !strings.Contains(read("-N"), fmt.Sprintf("%s: %d,", name, want)) {
			t.Errorf("want %s: %d; got\n%s", name, want, read("-N"))
		}
	}
}
