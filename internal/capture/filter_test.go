package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	"github.com/netfate/netfate/internal/filter"
)

// TestFilter selects in a capture of three kinds of links, of which one cannot be
// read: a and d of Ethernet, b and late raw, c and e of 802.11.
func TestFilter(t *testing.T) {
	for expr, want := range map[string]string{
		"udp port 2000":                "0s a at eth0,1.234567ms b at tun0,1s d at eth0,900ms late at tun0",
		"udp src port 2000":            "",
		"ether host 00:00:00:00:00:00": "0s a at eth0,1s d at eth0", // raw IP has none
		"len > 42":                     "0s a at eth0,1s d at eth0",
	} {
		f, err := NewFilter(t.Context(), expr)
		if err != nil {
			t.Fatal(err)
		}
		d := &texts{}
		s, err := Open(bytes.NewReader(pcapngOf(t, packets()...)), d)
		if err != nil {
			t.Fatal(err)
		}
		s.Select(f)
		var got []string
		for {
			b, err := s.Next()
			if err != nil {
				break
			}
			for _, q := range b.Queries {
				got = append(got, q.QName)
			}
		}
		if diff := cmp.Diff(want, strings.Join(got, ",")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", expr, diff)
		}
	}
}

// TestFilterLinks has the same packet behind each header.
func TestFilterLinks(t *testing.T) {
	f, err := NewFilter(t.Context(), "src host 10.0.0.1 and udp dst port 2000")
	if err != nil {
		t.Fatal(err)
	}
	ip := datagram("hello")
	for link, b := range map[layers.LinkType][]byte{
		layers.LinkTypeEthernet: inEthernet("hello"), layers.LinkTypeRaw: ip, layers.LinkTypeIPv4: ip, rawOpenBSD: ip, 12: ip,
		layers.LinkTypeLinuxSLL:  append(append(make([]byte, 14), 8, 0), ip...),
		layers.LinkTypeLinuxSLL2: append(append([]byte{8, 0}, make([]byte, 18)...), ip...),
		layers.LinkTypeNull:      append([]byte{2, 0, 0, 0}, ip...),
		layers.LinkTypeLoop:      append([]byte{0, 0, 0, 2}, ip...),
	} {
		for _, of := range []*frame{{link: link, bytes: b, length: len(b)}, {link: link, bytes: b[:len(b)-12], length: len(b)}} {
			whole := len(of.bytes) == of.length
			if ok, err := f.matches(of); ok != whole || err != nil {
				t.Errorf("link %d, %d of %d bytes: got %v and %v", link, len(of.bytes), of.length, ok, err)
			}
		}
	}
}

func TestFilterRefused(t *testing.T) {
	_, err := NewFilter(t.Context(), "port")
	var syntax *filter.SyntaxError
	if !errors.As(err, &syntax) {
		t.Errorf("got %v, want a syntax error", err)
	}
}

// TestFilterAll selects nothing of many packets: batches end all the same.
func TestFilterAll(t *testing.T) {
	f, err := NewFilter(t.Context(), "tcp")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(bytes.NewReader(pcapOf(binary.LittleEndian, false, one{0, "a"}, one{time.Millisecond, "b"}, one{2 * time.Second, "c"})), &texts{})
	if err != nil {
		t.Fatal(err)
	}
	s.most = 2
	s.Select(f)
	for _, want := range []time.Duration{time.Millisecond, 3 * time.Second} {
		if b, err := s.Next(); err != nil || b.End.Sub(begin) != want || len(b.Queries) > 0 {
			t.Errorf("got %+v and %v, want nothing up to %v", b, err, want)
		}
	}
}
