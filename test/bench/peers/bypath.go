package peers

import (
	"bufio"
	"io"
	"regexp"
)

// Tools that no package of Debian's has: the environment says where they are.

func pwru() Tool {
	return Tool{
		Name: "pwru", Env: "NETFATE_PWRU", Kprobes: true, Version: []string{"--version"},
		Does: map[Job]Recipe{
			Drops: {
				Args:  []string{"--filter-func", "^kfree_skb_reason$|^sk_skb_reason_drop$", "--backend", "kprobe", "udp"},
				Why:   "only the functions that drop are probed, and only UDP; it prints each event",
				Ready: says("Listening for events"), Read: func(o Output) (Told, error) { return readLast(o.Stdout, pwruReason) },
			},
		},
		Cannot: map[Job]string{
			Flows:     "follows packets through functions, and adds none up",
			Processes: "tells the process that a CPU is at, which is seldom the owner of a packet; adds none up",
			URLs:      "reads no payload",
			Names:     "reads no payload",
		},
	}
}

// As in "0xffff… 3 swapper/3:0 … kfree_skb_reason(SKB_DROP_REASON_NO_SOCKET)".
var pwruReason = regexp.MustCompile(`\((SKB_\w+)\)`)

func retis() Tool {
	return Tool{
		Name: "retis", Env: "NETFATE_RETIS", Version: []string{"--version"},
		Does: map[Job]Recipe{
			Drops: {
				Args:  []string{"collect", "-c", "skb-drop", "-p", "tp:skb:kfree_skb", "-f", "udp"},
				Why:   "one tracepoint and the collector of reasons only, filtered in the kernel; it prints each event",
				Ready: says("collecting"), Read: func(o Output) (Told, error) { return readLast(o.Stdout, retisReason) },
			},
		},
		Cannot: map[Job]string{
			Flows:     "tells events of packets, and adds none up",
			Processes: "tells events of packets, and adds none up",
			URLs:      "reads no payload",
			Names:     "reads no payload",
		},
	}
}

// As in "drop (NO_SOCKET)", with the word reason before 1.5.
var retisReason = regexp.MustCompile(`drop \((?:reason )?(\w+)\)`)

// readLast counts lines by the reason that is in them.
func readLast(r io.Reader, reason *regexp.Regexp) (Told, error) {
	t := Told{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if m := reason.FindStringSubmatch(lines.Text()); m != nil {
			t.add(reasonOf(m[1]), Count{Events: 1})
		}
	}
	return t, lines.Err()
}
