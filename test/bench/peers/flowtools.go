package peers

import (
	"bufio"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

func softflowd() Tool {
	return Tool{
		Name: "softflowd", Package: "softflowd", Version: []string{"-h"},
		Does: map[Job]Recipe{
			Flows: {
				Args: []string{
					"-d", "-i", Device, "-n", Collector, "-v", "5", "-m", "65536", "-B", "67108864",
					"-p", Dir + "/pid", "-c", Dir + "/ctl", "udp and not port 9995",
				},
				Finish: []string{"softflowctl", "-c", Dir + "/ctl", "shutdown"},
				Why:    "NetFlow 5 is its smallest export; 64 MB wait in the kernel, and its table is large enough; flows come when it ends. The last packets are missing: they wait in the kernel until a block is full (irino/softflowd#71)",
				Where:  Receiver, Ready: listens, Read: func(o Output) (Told, error) { return readNetFlow(o.Export) },
			},
		},
		Cannot: captureOnly(map[Job]string{URLs: "knows addresses and ports only", Names: "knows addresses and ports only"}),
	}
}

// Of NetFlow 5: lengths of the header and of a record, both from Cisco's "NetFlow
// Export Datagram Format".
const (
	netFlowHeader = 24
	netFlowRecord = 48
)

// readNetFlow reads datagrams of NetFlow 5, one behind the other.
func readNetFlow(r io.Reader) (Told, error) {
	t := Told{}
	var header [netFlowHeader]byte
	for {
		_, err := io.ReadFull(r, header[:])
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read NetFlow: %w", err)
		}
		if version := binary.BigEndian.Uint16(header[:]); version != 5 {
			return nil, fmt.Errorf("read NetFlow: version %d, want 5", version)
		}
		for range binary.BigEndian.Uint16(header[2:]) {
			var f [netFlowRecord]byte
			if _, err := io.ReadFull(r, f[:]); err != nil {
				return nil, fmt.Errorf("read a flow of NetFlow: %w", err)
			}
			to := netip.AddrPortFrom(netip.AddrFrom4([4]byte(f[4:8])), binary.BigEndian.Uint16(f[34:]))
			t.add(to.String(), Count{
				Events: uint64(binary.BigEndian.Uint32(f[16:])), Bytes: uint64(binary.BigEndian.Uint32(f[20:])),
			})
		}
	}
}

// pmacctConf keeps all flows of a run in its cache, and has it write them when it ends.
const pmacctConf = `daemonize: false
pcap_interface: ` + Device + `
pcap_filter: udp
snaplen: 128
plugins: print
aggregate: src_host, src_port, dst_host, dst_port, proto
print_output: csv
print_output_file: ` + Dir + `/flows.csv
print_refresh_time: 3600
print_cache_entries: 65537
plugin_pipe_size: 67108864
plugin_buffer_size: 65536
`

func pmacct() Tool {
	return Tool{
		Name: "pmacct", Command: "pmacctd", Package: "pmacct", Version: []string{"-V"},
		Does: map[Job]Recipe{
			Flows: {
				Args:  []string{"-f", Dir + "/pmacctd.conf"},
				Files: map[string]string{"pmacctd.conf": pmacctConf},
				Why:   "its print plugin is fed through a pipe of 64 MB in large pieces, and keeps all flows until it ends",
				Where: Receiver, Ready: listens, Read: func(o Output) (Told, error) { return readFile(o.Dir+"/flows.csv", readPmacct) },
			},
		},
		Cannot: captureOnly(map[Job]string{URLs: "knows addresses and ports only", Names: "knows addresses and ports only"}),
	}
}

// readPmacct reads the print plugin's CSV, by the names of its columns.
func readPmacct(r io.Reader) (Told, error) {
	rows := csv.NewReader(bufio.NewReader(r))
	head, err := rows.Read()
	if err != nil {
		return nil, fmt.Errorf("read pmacct's columns: %w", err)
	}
	at := map[string]int{}
	for i, name := range head {
		at[strings.TrimSpace(name)] = i
	}
	for _, name := range []string{"DST_IP", "DST_PORT", "PACKETS", "BYTES"} {
		if _, ok := at[name]; !ok {
			return nil, fmt.Errorf("read pmacct's columns: no %s in %q", name, head)
		}
	}
	t := Told{}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read pmacct's flows: %w", err)
		}
		packets, err1 := strconv.ParseUint(row[at["PACKETS"]], 10, 64)
		bytes, err2 := strconv.ParseUint(row[at["BYTES"]], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("read pmacct's flow %q: %w", row, err)
		}
		t.add(row[at["DST_IP"]]+":"+row[at["DST_PORT"]], Count{Events: packets, Bytes: bytes})
	}
}

// readFile reads what a tool has written into a file of its own.
func readFile(path string, read func(io.Reader) (Told, error)) (Told, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open what a tool has written: %w", err)
	}
	t, err := read(f)
	return t, errors.Join(err, f.Close())
}
