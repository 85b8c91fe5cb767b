package counters

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
)

// errFormat is wrapped by everything that cannot be parsed.
var errFormat = errors.New("not as expected")

// schemas knows the names in files of counters, which are the same in each
// namespace: what is parsed again and again is numbers. Its zero value is
// usable.
type schemas struct {
	known map[string]*schema // by all names of a file as they stand there
	names []byte
	text  texts
}

// schema is the columns of a file.
type schema struct {
	names []string // of the counters
	skip  []bool   // by column: no counter
}

// maxSchemas bounds the schemas: types of ICMP messages appear when they
// happen, so a file has some.
const maxSchemas = 256

// gauges are the columns of snmp and netstat that are settings or levels.
var gauges = []string{
	"IpForwarding", "IpDefaultTTL", "TcpRtoAlgorithm", "TcpRtoMin", "TcpRtoMax", "TcpMaxConn", "TcpCurrEstab", "MPTcpExtMPCurrEstab",
}

// pairs parses a file of pairs of lines, as snmp and netstat have it:
//
//	Ip: Forwarding DefaultTTL …
//	Ip: 1 64 …
func (s *schemas) pairs(text []byte) (Counters, error) {
	s.names = s.names[:0]
	for rest := text; len(rest) > 0; {
		var head, values []byte
		head, rest = line(rest)
		values, rest = line(rest)
		i := bytes.IndexByte(head, ':')
		if i < 0 || !bytes.HasPrefix(values, head[:i+1]) {
			return Counters{}, fmt.Errorf("names %.40q, values %.40q: %w", head, values, errFormat)
		}
		s.names = append(append(s.names, head...), '\n')
	}
	sch := s.schema(pairNames)
	c := Counters{Names: sch.names, Values: make([]uint64, 0, len(sch.names))}
	column := 0
	for rest := text; len(rest) > 0; {
		var values []byte
		_, rest = line(rest)
		values, rest = line(rest)
		values = values[bytes.IndexByte(values, ':')+1:]
		for {
			var word []byte
			if word, values = field(values); len(word) == 0 {
				break
			}
			if column < len(sch.skip) && !sch.skip[column] {
				n, ok := decimal(word)
				if !ok {
					return Counters{}, fmt.Errorf("value %.40q: %w", word, errFormat)
				}
				c.Values = append(c.Values, n)
			}
			column++
		}
	}
	if column != len(sch.skip) {
		return Counters{}, fmt.Errorf("%d values of %d names: %w", column, len(sch.skip), errFormat)
	}
	return c, nil
}

// pairNames makes a schema of lines of names behind their group.
func pairNames(lines []byte, text *texts) *schema {
	sch := &schema{}
	var name []byte
	for len(lines) > 0 {
		var head []byte
		head, lines = line(lines)
		group, names, _ := bytes.Cut(head, []byte(":"))
		for {
			var word []byte
			if word, names = field(names); len(word) == 0 {
				break
			}
			name = append(append(name[:0], group...), word...)
			sch.add(text.of(name))
		}
	}
	return sch
}

// column parses a file with a name and a value a line, as snmp6 and xfrm_stat
// have it.
func (s *schemas) column(text []byte) (Counters, error) {
	s.names = s.names[:0]
	var values []uint64
	for rest := text; len(rest) > 0; {
		var whole []byte
		whole, rest = line(rest)
		name, value := field(whole)
		value, _ = field(value)
		n, ok := decimal(value)
		if len(name) == 0 || !ok {
			return Counters{}, fmt.Errorf("line %.80q: %w", whole, errFormat)
		}
		s.names = append(append(s.names, name...), '\n')
		values = append(values, n)
	}
	return Counters{Names: s.schema(columnNames).names, Values: values}, nil
}

func columnNames(lines []byte, text *texts) *schema {
	sch := &schema{}
	for len(lines) > 0 {
		var name []byte
		name, lines = line(lines)
		sch.names = append(sch.names, text.of(name))
	}
	return sch
}

// add takes in the next column.
func (c *schema) add(name string) {
	gauge := slices.Contains(gauges, name)
	c.skip = append(c.skip, gauge)
	if !gauge {
		c.names = append(c.names, name)
	}
}

// schema returns the schema of s.names, which build makes if it is new.
func (s *schemas) schema(build func([]byte, *texts) *schema) *schema {
	if known, ok := s.known[string(s.names)]; ok {
		return known
	}
	if s.known == nil || len(s.known) >= maxSchemas {
		s.known = map[string]*schema{}
	}
	made := build(s.names, &s.text)
	s.known[string(s.names)] = made
	return made
}

// parseSoftnet reads softnet_stat: a line a CPU, hexadecimal. 5.10 has 13
// columns, 6.10 15; what is not used here are lengths of single queues.
func parseSoftnet(text []byte) ([]Softnet, error) {
	var rows []Softnet
	for len(text) > 0 && len(rows) < maxCPUs {
		var whole []byte
		whole, text = line(text)
		var columns [13]uint32
		rest := whole
		for i := range columns {
			var word []byte
			word, rest = field(rest)
			n, ok := hexadecimal(word)
			if !ok {
				return nil, fmt.Errorf("column %d of %.160q: %w", i, whole, errFormat)
			}
			columns[i] = n
		}
		rows = append(rows, Softnet{
			Processed: columns[0], Dropped: columns[1], Squeezed: columns[2], RPS: columns[9], FlowLimit: columns[10],
			Backlog: columns[11], CPU: columns[12],
		})
	}
	return rows, nil
}

// sockstat reads how many sockets there are. Without IPv6 there is no second
// file, and no such socket.
func (r *reading) sockstat(s *Sockstat) error {
	text, err := r.file("sockstat")
	if err != nil {
		return err
	}
	if err := parseSockstat(text, s); err != nil {
		return err
	}
	text, err = r.file("sockstat6")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return parseSockstat(text, s)
}

// parseSockstat reads lines such as "UDP: inuse 3 mem 1".
func parseSockstat(text []byte, s *Sockstat) error {
	for len(text) > 0 {
		var whole []byte
		whole, text = line(text)
		name, rest := field(whole)
		var to *uint64
		switch string(name) {
		case "TCP:":
			to = &s.TCP
		case "UDP:":
			to = &s.UDP
		case "UDPLITE:":
			to = &s.UDPLite
		case "RAW:":
			to = &s.RAW
		case "TCP6:":
			to = &s.TCP6
		case "UDP6:":
			to = &s.UDP6
		case "UDPLITE6:":
			to = &s.UDPLite6
		case "RAW6:":
			to = &s.RAW6
		default:
			continue
		}
		key, rest := field(rest)
		value, _ := field(rest)
		n, ok := decimal(value)
		if string(key) != "inuse" || !ok {
			return fmt.Errorf("line %.80q: %w", whole, errFormat)
		}
		*to = n
	}
	return nil
}

// line cuts off the first line of a text.
func line(b []byte) (first, rest []byte) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// field cuts off the first word of a line; empty at its end.
func field(b []byte) (first, rest []byte) {
	i := 0
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	j := i
	for j < len(b) && b[j] != ' ' && b[j] != '\t' {
		j++
	}
	return b[i:j], b[j:]
}

// decimal reads a number that fills b.
func decimal(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// hexadecimal reads a number of 32 bits that fills b.
func hexadecimal(b []byte) (uint32, bool) {
	if len(b) == 0 || len(b) > 8 {
		return 0, false
	}
	var n uint32
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | uint32(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uint32(c-'a'+10)
		case c >= 'A' && c <= 'F':
			n = n<<4 | uint32(c-'A'+10)
		default:
			return 0, false
		}
	}
	return n, true
}
