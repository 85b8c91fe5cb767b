package evidence

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// sysctl reads one setting. {if} in its name stands for the interface: then
// the value for all interfaces is read too, and if the kernel combines the two,
// the note says what comes of it.
func (c *collector) sysctl(name string) []Fact {
	if !validName(name) {
		return []Fact{{Name: name, Value: "not read: not a name of a setting"}}
	}
	if !strings.Contains(name, "{if}") {
		f, _ := c.setting(name, name)
		return []Fact{f}
	}
	var facts []Fact
	var values []int
	wide := "all"
	if strings.Contains(name, ".neigh.") {
		wide = "default"
	}
	for _, ifname := range []string{wide, c.IfName} {
		if ifname == "" || strings.Contains(ifname, "/") || strings.HasPrefix(ifname, ".") {
			continue
		}
		// A dot in an interface name (eth0.5) must not become a directory.
		f, v := c.setting(strings.ReplaceAll(name, "{if}", ifname), strings.ReplaceAll(name, "{if}", strings.ReplaceAll(ifname, ".", "/")))
		facts = append(facts, f)
		values = append(values, v)
	}
	if len(values) == 2 && values[0] >= 0 && values[1] >= 0 {
		facts[0].Note, facts[1].Note = "", combined(name, values[0], values[1])
	}
	return facts
}

// setting reads a sysctl by its dotted name; in path a slash stands for a dot
// that belongs to an interface name. The value is -1 if it is no number.
func (c *collector) setting(name, path string) (Fact, int) {
	file := strings.NewReplacer(".", "/", "/", ".").Replace(path)
	text, err := readFile("/proc/sys/" + file)
	if errors.Is(err, os.ErrNotExist) {
		text, err = atHome("/proc/sys/" + file)
	}
	if err != nil {
		return missing("", name, err), -1
	}
	f := Fact{Name: name, Value: strings.Join(strings.Fields(text), " ")}
	if f.Value == "" {
		f.Value = "(empty)"
	}
	n, err := strconv.Atoi(f.Value)
	if err != nil {
		n = -1
	}
	f.Note = settingNote(name, n)
	return f, n
}

// atHome reads a file as threads see it that are in this program's own namespace:
// settings of the whole host, such as net.core.netdev_max_backlog, are shown in the
// first one only.
func atHome(path string) (text string, err error) {
	done := make(chan struct{})
	go func() { // on another thread: the collector's is locked
		defer close(done)
		text, err = readFile(path)
	}()
	<-done
	return text, err
}

// combined is the note on a setting that exists for all interfaces and for
// each. How the kernel combines them is told in its ip-sysctl.rst.
func combined(name string, all, one int) string {
	switch last(name) {
	case "rp_filter":
		return "the larger counts, " + strconv.Itoa(max(all, one)) + ": " + settingNote(name, max(all, one))
	case "accept_local", "log_martians", "drop_unicast_in_l2_multicast", "route_localnet":
		n := 0
		if all != 0 || one != 0 {
			n = 1
		}
		return "either one suffices: " + settingNote(name, n)
	}
	return settingNote(name, one)
}

func last(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// settingNote says what a value of a setting means.
func settingNote(name string, value int) string {
	choice := func(texts ...string) string {
		if value >= 0 && value < len(texts) {
			return texts[value]
		}
		return ""
	}
	switch last(name) {
	case "rp_filter":
		return choice("off: asymmetric routes pass", "strict: drops what would not be answered by the same interface", "loose: drops only what has no route back at all")
	case "ip_forward", "forwarding":
		return choice("off: packets for other hosts are dropped", "on: this host routes")
	case "accept_local":
		return choice("off: own addresses as source are dropped", "on: own addresses as source pass")
	case "route_localnet":
		return choice("off: 127.0.0.0/8 from the network is dropped", "on: 127.0.0.0/8 from the network passes")
	case "log_martians":
		return choice("off: such packets are not logged", "on: see dmesg for addresses and MAC")
	case "drop_unicast_in_l2_multicast":
		return choice("off: such packets pass", "on: unicast in a broadcast frame is dropped")
	case "bc_forwarding":
		return choice("off: broadcasts to other networks are dropped", "on, if it is on for all, too: they are forwarded")
	case "disable_ipv6":
		return choice("IPv6 is on", "IPv6 is off: every IPv6 packet here is dropped")
	case "icmp_echo_ignore_broadcasts":
		return choice("broadcast pings are answered", "broadcast pings are ignored")
	case "tcp_syncookies":
		return choice("off: a full SYN queue drops new connections", "on when the SYN queue overflows", "always on")
	case "tcp_abort_on_overflow":
		return choice("off: a full accept queue drops and lets the client try again", "on: a full accept queue resets the client")
	case "tcp_timestamps":
		return choice("off", "on, with a random offset for each connection", "on, without a random offset")
	case "tcp_ecn":
		return choice("off", "used whenever the peer agrees", "only if the peer asks for it")
	case "tcp_fastopen":
		return choice("off", "for clients", "for servers", "for clients and servers")
	case "ip_no_pmtu_disc":
		return choice("path MTU discovery is on", "path MTU discovery is off", "on for sockets that ask", "hardened")
	case "proxy_arp_pvlan":
		return choice("off: hosts on one port do not reach each other through us", "on: we answer for hosts on the same port")
	case "suppress_frag_ndisc":
		return choice("off: fragmented neighbour discovery passes", "on: fragmented neighbour discovery is dropped")
	case "rmem_default":
		return sized(value, "what a socket gets that asks for nothing")
	case "rmem_max":
		return sized(value, "the most that SO_RCVBUF can ask for")
	case "unres_qlen_bytes":
		return sized(value, "may wait for one unresolved neighbour")
	case "somaxconn":
		return "no listen backlog can be larger"
	case "tcp_max_syn_backlog":
		return "half-open connections remembered by a listener"
	case "netdev_max_backlog":
		return "packets that may wait for one CPU"
	case "tcp_rmem":
		return "smallest, default and largest receive buffer, bytes"
	case "tcp_mem", "udp_mem":
		return "low, pressure and maximum, in pages of 4 KiB, for all sockets together"
	case "ipfrag_time":
		return "seconds that fragments wait for the rest"
	}
	return ""
}

func sized(bytes int, text string) string {
	if bytes < 0 {
		return ""
	}
	return fmt.Sprintf("%s: %s", size(uint64(bytes)), text)
}

// size writes a number of bytes with a binary unit.
func size(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
