package peers

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

func nethogs() Tool {
	return Tool{
		Name: "nethogs", Package: "nethogs", Version: []string{"-V"},
		Does: map[Job]Recipe{
			Processes: {
				Args:  []string{"-t", "-C", "-v", "2", "-d", "1", Device},
				Why:   "tracing mode prints sums of bytes each second, of UDP too; it runs where the processes are, since it looks for their sockets there",
				Where: Sender, Ready: listens, Header: 28, Read: func(o Output) (Told, error) { return readHogs(o.Stdout) },
			},
		},
		Cannot: map[Job]string{
			Drops: "sees packets where they pass an interface, not what becomes of them",
			Flows: "adds up by process, and shows no flows of those",
			URLs:  "knows addresses and ports only",
			Names: "knows addresses and ports only",
		},
	}
}

// readHogs takes the largest sum that was ever shown of a process: those that have
// ended vanish from later ones.
func readHogs(r io.Reader) (Told, error) {
	t := Told{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		// program/pid/uid, sent, received; packets without a process have pid 0
		f := strings.Split(lines.Text(), "\t")
		name := strings.Split(f[0], "/")
		if len(f) != 3 || len(name) < 3 {
			continue // "Refreshing:", and what it says of itself
		}
		sent, err1 := strconv.ParseFloat(f[1], 64)
		received, err2 := strconv.ParseFloat(f[2], 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("read nethogs' %q", lines.Text())
		}
		pid := name[len(name)-2]
		t[pid] = Count{Bytes: max(t[pid].Bytes, uint64(sent+received))}
	}
	return t, lines.Err()
}
