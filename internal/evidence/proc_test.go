package evidence

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddPairs(t *testing.T) {
	got := map[string]string{}
	addPairs(got, "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcpExt: A B\nTcpExt: 7\nodd line\n")
	if diff := cmp.Diff(map[string]string{"IpForwarding": "1", "IpDefaultTTL": "64"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSumColumns(t *testing.T) {
	got := sumColumns("entries drop\n00000001 0000000a\n00000001 00000001 ffff\nzz 01\n")
	if diff := cmp.Diff(map[string]uint64{"entries": 2, "drop": 12}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSettingNotes(t *testing.T) {
	check := func(name string, all, one int, want string) {
		t.Helper()
		if got := combined(name, all, one); got != want {
			t.Errorf("%s %d %d: got %q, want %q", name, all, one, got, want)
		}
	}
	check("net.ipv4.conf.{if}.rp_filter", 0, 0, "the larger counts, 0: off: asymmetric routes pass")
	check("net.ipv4.conf.{if}.rp_filter", 2, 1, "the larger counts, 2: loose: drops only what has no route back at all")
	check("net.ipv4.conf.{if}.accept_local", 1, 0, "either one suffices: on: own addresses as source pass")
	check("net.ipv4.conf.{if}.forwarding", 1, 0, "off: packets for other hosts are dropped")
	check("net.ipv6.conf.{if}.disable_ipv6", 0, 1, "IPv6 is off: every IPv6 packet here is dropped")
	check("net.something.{if}.else", 1, 2, "")
}

// A VLAN interface has a dot in its name, and no name leads out of the tree.
func TestSettingOfInterface(t *testing.T) {
	c := &collector{Subject: Subject{IfName: "lo/../../../../etc"}}
	if got := c.sysctl("net.ipv4.conf.{if}.rp_filter"); len(got) != 1 || got[0].Name != "net.ipv4.conf.all.rp_filter" {
		t.Errorf("got %+v, want the setting for all interfaces alone", got)
	}
}

func FuzzParseDiag(f *testing.F) {
	f.Add(make([]byte, diagMessageLength))
	f.Add(append(make([]byte, diagMessageLength), 8, 0, 7, 0, 1, 2, 3, 4))
	f.Fuzz(func(_ *testing.T, b []byte) { parseDiag(b) })
}
