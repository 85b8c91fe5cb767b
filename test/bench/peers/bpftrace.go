package peers

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// bpftrace counts in the kernel, by programs that are written for the job. Its raw
// tracepoints would copy no arguments, but Debian's knows none.
func bpftrace() Tool {
	ready := hasEvents
	return Tool{
		Name: "bpftrace", Package: "bpftrace", Version: []string{"--version"},
		Does: map[Job]Recipe{
			Drops: {
				Args:  []string{"-e", "tracepoint:skb:kfree_skb { @[args->reason] = count(); }"},
				Why:   "one per-CPU counter a reason, as little as a program can do; it prints numbers, which are looked up in BTF",
				Ready: ready, Read: func(o Output) (Told, error) {
					names, err := reasons()
					if err != nil {
						return nil, err
					}
					return readReasonNumbers(o.Stdout, names)
				},
			},
			Flows: {
				Args:  []string{"-e", flowProgram},
				Why:   "reads headers by hand, and knows IPv4 without options and UDP only, of all interfaces",
				Ready: ready, Read: func(o Output) (Told, error) { return readFlowMaps(o.Stdout) },
			},
			Processes: {
				Args:  []string{"-e", processProgram},
				Why:   "what calls to sockets say that they have sent and received, which is payload, by the process that calls",
				Ready: ready, Read: func(o Output) (Told, error) { return readPIDMap(o.Stdout) },
			},
		},
		Cannot: map[Job]string{
			URLs:  "cannot search payload for requests: its language has no loops for that; it would need probes in each server",
			Names: "cannot read names in packets: its language has no loops for that; it would need probes in each resolver's library",
		},
	}
}

// What is looked at with MSG_PEEK, which is 2, is received later.
const processProgram = `tracepoint:sock:sock_send_length /args->ret > 0/ { @[pid] = sum(args->ret); }
tracepoint:sock:sock_recv_length /args->ret > 0 && !(args->flags & 2)/ { @[pid] = sum(args->ret); }`

const flowProgram = `tracepoint:net:netif_receive_skb {
	$skb = (struct sk_buff *)args->skbaddr;
	$ip = (struct iphdr *)($skb->head + $skb->network_header);
	if ($ip->protocol == 17) {
		$udp = (struct udphdr *)($skb->head + $skb->network_header + 20);
		@packets[ntop($ip->saddr), $udp->source, ntop($ip->daddr), $udp->dest] = count();
		@bytes[ntop($ip->saddr), $udp->source, ntop($ip->daddr), $udp->dest] = sum($skb->len);
	}
}`

// reasons returns the names of the kernel's drop reasons by their numbers.
func reasons() (map[uint64]string, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's types: %w", err)
	}
	var enum *btf.Enum
	if err := spec.TypeByName("skb_drop_reason", &enum); err != nil {
		return nil, fmt.Errorf("find the kernel's drop reasons: %w", err)
	}
	names := map[uint64]string{}
	for _, v := range enum.Values {
		names[v.Value] = reasonOf(v.Name)
	}
	return names, nil
}

// reasonOf cuts what all names of reasons begin with.
func reasonOf(name string) string {
	for _, prefix := range []string{"SKB_DROP_REASON_", "SKB_"} {
		name = strings.TrimPrefix(name, prefix)
	}
	return name
}

// entry is one line of a map that bpftrace prints at its end: @name[a, b]: 12.
var entry = regexp.MustCompile(`^@(\w*)\[(.*)\]: (\d+)$`)

// readEntries calls f with the name, the keys and the value of each.
func readEntries(r io.Reader, f func(name string, keys []string, value uint64) error) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		m := entry.FindStringSubmatch(lines.Text())
		if m == nil {
			continue // "Attaching 1 probe...", and empty lines
		}
		value, err := strconv.ParseUint(m[3], 10, 64)
		if err == nil {
			err = f(m[1], strings.Split(m[2], ", "), value)
		}
		if err != nil {
			return fmt.Errorf("read bpftrace's %q: %w", lines.Text(), err)
		}
	}
	return lines.Err()
}

func readReasonNumbers(r io.Reader, names map[uint64]string) (Told, error) {
	t := Told{}
	return t, readEntries(r, func(_ string, keys []string, value uint64) error {
		number, err := strconv.ParseUint(keys[0], 10, 64)
		t.add(names[number], Count{Events: value})
		return err
	})
}

func readFlowMaps(r io.Reader) (Told, error) {
	t := Told{}
	return t, readEntries(r, func(name string, keys []string, value uint64) error {
		if len(keys) != 4 {
			return fmt.Errorf("%d keys, want 4", len(keys))
		}
		port, err := strconv.ParseUint(keys[3], 10, 16)
		if err != nil {
			return err
		}
		addr, err := netip.ParseAddr(keys[2])
		if err != nil {
			return err
		}
		// The port is as on the wire.
		key := netip.AddrPortFrom(addr, uint16(port>>8|port<<8)).String()
		if name == "packets" {
			t.add(key, Count{Events: value})
		} else {
			t.add(key, Count{Bytes: value})
		}
		return nil
	})
}

func readPIDMap(r io.Reader) (Told, error) {
	t := Told{}
	return t, readEntries(r, func(_ string, keys []string, value uint64) error {
		t.add(keys[0], Count{Bytes: value})
		return nil
	})
}
