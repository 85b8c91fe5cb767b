package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// ErrMalformed says that a message, or what of it was captured, cannot be read to
// its end.
var ErrMalformed = errors.New("malformed DNS message")

// Section is the part of a message that a record stands in.
type Section uint8

// The sections, in their order.
const (
	Answer Section = iota
	Authority
	Additional
	sections
)

// Message is what is told of one DNS message. Names are in lower case, without
// the last dot, escaped as in zone files (RFC 1035, section 5.1); the root is ".".
type Message struct {
	ID        uint16
	Response  bool
	Opcode    uint8
	RCode     uint16 // with the bits that EDNS adds
	Truncated bool
	Counts    [1 + sections]uint16 // of questions and of each section's records, as the header claims
	Questions []Question
	Records   []Record
}

// Question is what is asked for.
type Question struct {
	Name  string
	Type  uint16
	Class uint16 // in mDNS the first bit asks for an answer by unicast
}

// Record is one resource record: its address or target, if it has one.
type Record struct {
	Section Section
	Name    string
	Type    uint16
	Class   uint16 // in mDNS the first bit takes back older records
	TTL     uint32 // seconds
	Addr    netip.Addr
	Target  string // of CNAME, NS, PTR, DNAME, MX and SRV
}

// Decode reads a message into m, of which it uses the memory again. If the
// message is malformed, m holds what stands before the damage.
func (m *Message) Decode(b []byte) error {
	*m = Message{Questions: m.Questions[:0], Records: m.Records[:0]}
	const header = 12
	if len(b) < header {
		return fmt.Errorf("%w: its header is cut", ErrMalformed)
	}
	flags := binary.BigEndian.Uint16(b[2:])
	m.ID, m.Response, m.Truncated = binary.BigEndian.Uint16(b), flags&0x8000 != 0, flags&0x0200 != 0
	m.Opcode, m.RCode = uint8(flags>>11)&0xf, flags&0xf
	for i := range m.Counts {
		m.Counts[i] = binary.BigEndian.Uint16(b[4+2*i:])
	}
	at := header
	for range m.Counts[0] {
		name, next, err := nameAt(b, at)
		if err != nil || len(b) < next+4 {
			return fmt.Errorf("%w: question %d", ErrMalformed, len(m.Questions)+1)
		}
		m.Questions = append(m.Questions, Question{name, binary.BigEndian.Uint16(b[next:]), binary.BigEndian.Uint16(b[next+2:])})
		at = next + 4
	}
	for s := range sections {
		for range m.Counts[1+s] {
			r, next, err := recordAt(b, at)
			if err != nil {
				return fmt.Errorf("%w: record %d", ErrMalformed, len(m.Records)+1)
			}
			if r.Type == dns.TypeOPT { // RFC 6891, section 6.1.3
				m.RCode |= uint16(r.TTL>>24) << 4
			}
			r.Section = s
			m.Records = append(m.Records, r)
			at = next
		}
	}
	return nil
}

// recordAt reads the record at that place and returns where the next is.
func recordAt(b []byte, at int) (r Record, next int, err error) {
	r.Name, at, err = nameAt(b, at)
	if err != nil {
		return r, 0, err
	}
	const fixed = 10
	if len(b) < at+fixed {
		return r, 0, ErrMalformed
	}
	r.Type, r.Class = binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint16(b[at+2:])
	r.TTL = binary.BigEndian.Uint32(b[at+4:])
	data := at + fixed
	next = data + int(binary.BigEndian.Uint16(b[at+8:]))
	if len(b) < next {
		return r, 0, ErrMalformed
	}
	size := next - data
	switch r.Type {
	case dns.TypeA:
		if size == 4 {
			r.Addr = netip.AddrFrom4([4]byte(b[data:]))
		}
	case dns.TypeAAAA:
		if size == 16 {
			r.Addr = netip.AddrFrom16([16]byte(b[data:]))
		}
	case dns.TypeCNAME, dns.TypeNS, dns.TypePTR, dns.TypeDNAME:
		r.Target, err = targetAt(b[:next], data)
	case dns.TypeMX: // behind a preference
		r.Target, err = targetAt(b[:next], data+2)
	case dns.TypeSRV: // behind priority, weight and port
		r.Target, err = targetAt(b[:next], data+6)
	}
	return r, next, err
}

// targetAt reads a name in a record's data, which may be empty in updates.
func targetAt(b []byte, at int) (string, error) {
	if at >= len(b) {
		return "", nil
	}
	name, _, err := nameAt(b, at)
	return name, err
}

// nameAt reads the name at that place and returns what is behind it.
func nameAt(b []byte, at int) (name string, next int, err error) {
	name, next, err = dns.UnpackDomainName(b, at)
	if name != "." {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
	}
	return name, next, err
}

// answer says what a record holds: an address, a name, or its type.
func (r *Record) answer() string {
	switch {
	case r.Addr.IsValid():
		return r.Addr.String()
	case r.Target != "":
		return r.Target
	}
	return typeName(r.Type)
}

// typeName is the mnemonic of a type, or TYPEn (RFC 3597).
func typeName(t uint16) string { return dns.Type(t).String() }

// rcodeName is the mnemonic of a response code, or RCODEn.
func rcodeName(code uint16) string {
	if code == dns.RcodeBadVers {
		return "BADVERS" // in a header; BADSIG has the same number in TSIG
	}
	if name, ok := dns.RcodeToString[int(code)]; ok {
		return name
	}
	return fmt.Sprintf("RCODE%d", code)
}

// maxAnswers bounds what a row says of an answer; a message has room for 5,000.
const maxAnswers = 100

// answers returns what was answered and the smallest time to live, 0 if there
// are no answers.
func (m *Message) answers() (list []string, ttl uint32) {
	more := 0
	for i := range m.Records {
		r := &m.Records[i]
		if r.Section != Answer {
			continue
		}
		if len(list) == 0 || r.TTL < ttl {
			ttl = r.TTL
		}
		if len(list) == maxAnswers {
			more++
			continue
		}
		list = append(list, r.answer())
	}
	if more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return slices.Clip(list), ttl
}
