package peers

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
)

// perf copies every event of a tracepoint to a file, and reads the file when the
// watch is over.
func perf() Tool {
	record := func(events ...string) []string {
		args := []string{"record", "--quiet", "--all-cpus", "--mmap-pages", "16M", "--no-buildid", "--no-buildid-cache", "--output", Dir + "/perf.data"}
		for _, e := range events {
			args = append(args, "--event", e)
		}
		return args
	}
	return Tool{
		Name: "perf", Package: "linux-perf", Version: []string{"--version"},
		Does: map[Job]Recipe{
			Drops: {
				Args:  record("skb:kfree_skb"),
				Why:   "`perf stat` counts for less, but one has to know the reasons before; this records each event into 16 MB a CPU, and `perf script` reads them later, which is not counted here",
				Ready: hasEvents, Read: func(o Output) (Told, error) { return script(o, readReasons) },
			},
			Processes: {
				Args:  record("sock:sock_send_length", "sock:sock_recv_length"),
				Why:   "the events say what calls to sockets have sent and received; `perf script` adds them up later, which is not counted here",
				Ready: hasEvents, Read: func(o Output) (Told, error) { return script(o, readLengths) },
			},
		},
		Cannot: map[Job]string{
			Flows: "the events of packets that tracepoints have tell no addresses",
			URLs:  "tracepoints copy no payload",
			Names: "tracepoints copy no payload",
		},
	}
}

// script has perf print what it has recorded.
func script(o Output, read func(io.Reader) (Told, error)) (Told, error) {
	cmd := exec.Command(o.Path, "script", "--input", o.Dir+"/perf.data", "--fields", "pid,event,trace")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start perf script: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start perf script: %w", err)
	}
	t, err := read(out)
	if err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("perf script: %w: %s", err, said.String())
	}
	return t, nil
}

var reasonField = regexp.MustCompile(`skb:kfree_skb:.* reason: (\w+)`)

// readReasons counts the events by the reason that each tells.
func readReasons(r io.Reader) (Told, error) {
	t := Told{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if m := reasonField.FindStringSubmatch(lines.Text()); m != nil {
			t.add(reasonOf(m[1]), Count{Events: 1})
		}
	}
	return t, lines.Err()
}

var lengthField = regexp.MustCompile(`^\s*(\d+)\s+sock:sock_(?:send|recv)_length:.* length = (\d+),`)

// readLengths adds up the bytes of calls by process.
func readLengths(r io.Reader) (Told, error) {
	t := Told{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		m := lengthField.FindStringSubmatch(lines.Text())
		if m == nil {
			continue // an error, or another event
		}
		n, err := strconv.ParseUint(m[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read perf's %q: %w", lines.Text(), err)
		}
		t.add(m[1], Count{Bytes: n})
	}
	return t, lines.Err()
}
