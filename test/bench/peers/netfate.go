package peers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// ourselves is netfate, watching all namespaces of the host as it always does.
func ourselves(path string) Tool {
	ready := says("watching")
	read := func(f func(io.Reader) (Told, error)) func(Output) (Told, error) {
		return func(o Output) (Told, error) { return f(o.Stdout) }
	}
	return Tool{
		Name: "netfate", Command: path, Package: "netfate", Version: []string{"version"},
		Does: map[Job]Recipe{
			Drops: {
				Args:  []string{"drops", "--all", "--no-names", "-o", "json"},
				Why:   "all drops of the host by reason, place, flow and owner, each second; without the names of peers, for which it would watch DNS",
				Ready: ready, Read: read(readDrops),
			},
			Flows: {
				Args:  []string{"flows", "--no-names", "-o", "json"},
				Why:   "all flows of the host with their owners, each second, both ways and on every interface; without the names of peers",
				Ready: ready, Read: read(readFlows),
			},
			Processes: {
				Args:  []string{"flows", "--no-names", "-o", "json"},
				Why:   "the same command: every flow has its owner",
				Ready: ready, Header: 42, Read: read(readOwners),
			},
			URLs: {
				Args:  []string{"http", "--count", "-o", "json"},
				Why:   "counts in the kernel by method, host and path; without `--count` it pairs requests with responses and costs more",
				Ready: ready, Read: read(readPaths),
			},
			Names: {
				Args:  []string{"dns", "-o", "json"},
				Why:   "pairs each question with its answer, and knows who asked",
				Ready: ready, Read: read(readNames),
			},
		},
	}
}

// row is what is looked at in netfate's rows.
type row struct {
	Reason     string `json:"reason"`
	Packets    uint64 `json:"packets"`
	Direction  string `json:"direction"`
	Proto      string `json:"proto"`
	Addr       string `json:"dst_addr"`
	Port       uint16 `json:"dst_port"`
	PID        int    `json:"pid"`
	PacketsIn  uint64 `json:"packets_in"`
	BytesIn    uint64 `json:"bytes_in"`
	PacketsOut uint64 `json:"packets_out"`
	BytesOut   uint64 `json:"bytes_out"`
	Path       string `json:"path"`
	Requests   uint64 `json:"requests"`
	Name       string `json:"qname"`
	Queries    uint64 `json:"queries"`
}

// ethernet is the header that netfate counts and others do not.
const ethernet = 14

func readDrops(r io.Reader) (Told, error) {
	return readRows(r, func(t Told, w row) { t.add(w.Reason, Count{Events: w.Packets}) })
}

// readFlows takes flows where they are received: where they are sent they are told
// once more.
func readFlows(r io.Reader) (Told, error) {
	return readRows(r, func(t Told, w row) {
		if w.Proto == "udp" && w.Direction == "in" {
			t.add(w.Addr+":"+strconv.Itoa(int(w.Port)), Count{Events: w.PacketsIn, Bytes: w.BytesIn - ethernet*w.PacketsIn})
		}
	})
}

func readOwners(r io.Reader) (Told, error) {
	return readRows(r, func(t Told, w row) { t.add(strconv.Itoa(w.PID), Count{Bytes: w.BytesIn + w.BytesOut}) })
}

func readPaths(r io.Reader) (Told, error) {
	return readRows(r, func(t Told, w row) { t.add(w.Path, Count{Events: w.Requests}) })
}

func readNames(r io.Reader) (Told, error) {
	return readRows(r, func(t Told, w row) { t.add(w.Name, Count{Events: w.Queries}) })
}

// readRows reads one object a line.
func readRows(r io.Reader, f func(Told, row)) (Told, error) {
	t := Told{}
	for d := json.NewDecoder(r); ; {
		var w row
		err := d.Decode(&w)
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read netfate's rows: %w", err)
		}
		f(t, w)
	}
}
