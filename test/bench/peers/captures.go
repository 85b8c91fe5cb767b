package peers

import (
	"bufio"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Tools on libpcap that print packets. None flushes what it prints line by line:
// the file has all of it when they end.

// isGET finds packets whose payload begins with "GET ", so that no other is copied.
const isGET = "tcp dst port 80 and tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420"

func tcpdump() Tool {
	capture := []string{"-i", Device, "-n", "-t", "-B", "65536"}
	return Tool{
		Name: "tcpdump", Package: "tcpdump", Version: []string{"--version"},
		Does: map[Job]Recipe{
			URLs: {
				Args:  append(capture, "-q", "-A", "-s", "512", isGET),
				Why:   "the filter lets only requests through, 64 MB wait in the kernel, nothing is flushed by lines; the reader has to find paths in the text himself",
				Where: Receiver, Ready: says("listening on"), Read: func(o Output) (Told, error) { return readRequests(o.Stdout) },
			},
			Names: {
				Args:  append(capture, "udp dst port 53"),
				Why:   "only questions pass the filter, 64 MB wait in the kernel, nothing is flushed by lines",
				Where: Receiver, Ready: says("listening on"), Read: func(o Output) (Told, error) { return readQuestions(o.Stdout) },
			},
		},
		Cannot: captureOnly(map[Job]string{Flows: "prints packets, and adds none up"}),
	}
}

func ngrep() Tool {
	return Tool{
		Name: "ngrep", Package: "ngrep", Version: []string{"-V"},
		Does: map[Job]Recipe{
			URLs: {
				Args:  []string{"-d", Device, "-n", "0", "-q", "-W", "byline", "-s", "512", "^GET ", isGET},
				Why:   "what its filter lets through is what it prints; the reader has to find paths in the text himself",
				Where: Receiver, Ready: listens, Read: func(o Output) (Told, error) { return readRequests(o.Stdout) },
			},
		},
		Cannot: captureOnly(map[Job]string{
			Flows: "prints packets, and adds none up",
			Names: "prints a name's bytes, and does not know DNS",
		}),
	}
}

func httpry() Tool {
	return Tool{
		Name: "httpry", Package: "httpry", Version: []string{"-h"},
		Does: map[Job]Recipe{
			URLs: {
				Args:  []string{"-q", "-i", Device, "-m", "get", "-f", "host,request-uri", isGET},
				Why:   "only the fields that are asked for, and only requests",
				Where: Receiver, Ready: listens, Read: func(o Output) (Told, error) { return readFields(o.Stdout) },
			},
		},
		Cannot: captureOnly(map[Job]string{
			Flows: "knows HTTP only",
			Names: "knows HTTP only",
		}),
	}
}

func tshark() Tool {
	capture := []string{"-i", Device, "-n", "-B", "64"}
	only := func(protocols ...string) (args []string) {
		args = []string{"--disable-protocol", "ALL"}
		for _, p := range protocols {
			args = append(args, "--enable-protocol", p)
		}
		return args
	}
	fields := func(filter, wanted, field string, protocols ...string) []string {
		args := append(append([]string{}, capture...), only(protocols...)...)
		return append(args, "-f", filter, "-Y", wanted, "-T", "fields", "-e", field)
	}
	return Tool{
		Name: "tshark", Package: "tshark", Version: []string{"--version"},
		Does: map[Job]Recipe{
			Flows: {
				Args:  append(append(append([]string{}, capture...), only("eth", "ethertype", "ip", "udp")...), "-s", "64", "-q", "-z", "conv,udp", "-f", "udp"),
				Why:   "64 bytes of each packet, no dissectors but those of the headers, 64 MB wait in the kernel; it rounds bytes, so that only packets are compared",
				Where: Receiver, Ready: says("Capturing on"), Read: func(o Output) (Told, error) { return readConversations(o.Stdout) },
			},
			URLs: {
				Args:  fields(isGET, "http.request", "http.request.uri", "eth", "ethertype", "ip", "tcp", "http"),
				Why:   "only requests pass the filter, no dissectors but those on the way to them, 64 MB wait in the kernel",
				Where: Receiver, Ready: says("Capturing on"), Read: func(o Output) (Told, error) { return readFields(o.Stdout) },
			},
			Names: {
				Args:  fields("udp dst port 53", "dns", "dns.qry.name", "eth", "ethertype", "ip", "udp", "dns"),
				Why:   "only questions pass the filter, no dissectors but those on the way to them, 64 MB wait in the kernel",
				Where: Receiver, Ready: says("Capturing on"), Read: func(o Output) (Told, error) { return readFields(o.Stdout) },
			},
		},
		Cannot: captureOnly(nil),
	}
}

var request = regexp.MustCompile(`GET (\S+) HTTP/1\.`)

// readRequests finds request lines in what tcpdump and ngrep print of payload.
func readRequests(r io.Reader) (Told, error) {
	t := Told{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if m := request.FindStringSubmatch(lines.Text()); m != nil {
			t.add(m[1], Count{Events: 1})
		}
	}
	return t, lines.Err()
}

var question = regexp.MustCompile(`> \S+\.53: .*\bA\? (\S+)\. `)

// readQuestions finds what tcpdump says of questions.
func readQuestions(r io.Reader) (Told, error) {
	t := Told{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if m := question.FindStringSubmatch(lines.Text()); m != nil {
			t.add(m[1], Count{Events: 1})
		}
	}
	return t, lines.Err()
}

// readFields counts lines by their last field, as httpry and tshark separate them
// by tabs. httpry's lines about itself begin with #.
func readFields(r io.Reader) (Told, error) {
	t := Told{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if last := line[strings.LastIndexByte(line, '\t')+1:]; last != "" && line[0] != '#' {
			t.add(last, Count{Events: 1})
		}
	}
	return t, lines.Err()
}

// A line of tshark's conversations: A <-> B, frames and bytes of B to A, of A to B,
// of both.
var conversation = regexp.MustCompile(`^(\S+)\s+<->\s+(\S+)\s+(\d+)\s+[\d,.]+ \w+\s+(\d+)\s`)

// readConversations takes what either side has sent for a flow to the other.
func readConversations(r io.Reader) (Told, error) {
	t := Told{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		m := conversation.FindStringSubmatch(lines.Text())
		if m == nil {
			continue // a heading
		}
		toA, err := strconv.ParseUint(m[3], 10, 64)
		if err != nil {
			return nil, err
		}
		toB, err := strconv.ParseUint(m[4], 10, 64)
		if err != nil {
			return nil, err
		}
		if toA > 0 {
			t.add(m[1], Count{Events: toA})
		}
		if toB > 0 {
			t.add(m[2], Count{Events: toB})
		}
	}
	return t, lines.Err()
}
