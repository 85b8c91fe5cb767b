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
	for _, c := range []struct {
		version int
		records func(*record.Flow) uint64 // that a flow becomes
		want    []string
	}{
		{10, func(*record.Flow) uint64 { return 1 }, []string{
			`TCP\|192.0.2.1\|40443\|198.51.100.7\|443\|16\|1400\|20\|18000`,
			`UDP\|2001:db8::1\|40053\|2001:db8::2\|53\|6\|600\|0\|0`,
		}},
		{9, func(f *record.Flow) uint64 {
			if f.PacketsIn > 0 && f.PacketsOut > 0 {
				return 2
			}
			return 1
		}, []string{
			`TCP\|192.0.2.1\|40443\|198.51.100.7\|443\|16\|1400\|0\|0`,
			`TCP\|198.51.100.7\|443\|192.0.2.1\|40443\|20\|18000\|0\|0`,
			`UDP\|2001:db8::1\|40053\|2001:db8::2\|53\|6\|600\|0\|0`,
		}},
	} {
		t.Run(fmt.Sprintf("version %d", c.version), func(t *testing.T) { collect(t, c.version, c.records, c.want) })
	}
}

func collect(t *testing.T, version int, records func(*record.Flow) uint64, lines []string) {
	addr, port := freeUDP(t)
	dir := t.TempDir()
	nfcapd := program(t, "nfcapd", "-b", "127.0.0.1", "-p", port, "-w", dir, "-t", "2", "-B", "4000000")
	start(t, nfcapd)
	wait(t, "nfcapd listens", func() bool {
		text, err := os.ReadFile("/proc/net/udp")
		n, _ := strconv.Atoi(port)
		return err == nil && strings.Contains(string(text), fmt.Sprintf("0100007F:%04X", n))
	})
	e := ipfix.New(ipfix.Config{Network: "udp", Addr: addr, Version: version, Domain: 1, Queue: 16 << 20})
	batches := []*record.Batch{exporttest.Minute(), exporttest.Storm()}
	var rows, flows, packets, bytes uint64
	for _, b := range batches {
		if err := e.Batch(b); err != nil {
			t.Fatal(err)
		}
		rows += ipfix.Rows(b)
		flows += uint64(len(b.Drops))
		for i := range b.Flows {
			flows += records(&b.Flows[i])
			packets += b.Flows[i].PacketsIn + b.Flows[i].PacketsOut
			bytes += b.Flows[i].BytesIn + b.Flows[i].BytesOut
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if s := e.Status(); s.Sent != rows {
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
	for _, want := range lines {
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
