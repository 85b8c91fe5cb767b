package decode

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/gopacket/gopacket/layers"
)

func TestFrame(t *testing.T) {
	const macs = "ddddddssssss"
	f := func(what string, h Head, most int, link, frame string, length uint32) {
		t.Helper()
		gotLink, gotFrame, gotLength := h.Frame(most)
		if gotLink != link || string(gotFrame) != frame || gotLength != length {
			t.Errorf("%s: got %s %q of %d, want %s %q of %d", what, gotLink, gotFrame, gotLength, link, frame, length)
		}
	}
	ip := macs + "\x08\x00E..."
	f("Ethernet", Head{Bytes: []byte(ip), L3: 14, EthProto: etherIPv4, Whole: 1514}, 99, "ethernet", ip, 1514)
	f("cut", Head{Bytes: []byte(ip), L3: 14, EthProto: etherIPv4, Whole: 1514}, 10, "ethernet", ip[:10], 1514)
	f("a tag beside it", Head{Bytes: []byte(ip), L3: 14, EthProto: etherIPv4, Tag: 0x0700_0081, Whole: 1514}, 99,
		"ethernet", macs+"\x81\x00\x00\x07\x08\x00E...", 1518)
	f("the tag is cut", Head{Bytes: []byte(ip), L3: 14, EthProto: etherIPv4, Tag: 0x0700_0081, Whole: 1514}, 14, "ethernet", macs+"\x81\x00", 1518)
	f("no link header", Head{Bytes: []byte("E..."), EthProto: etherIPv4, Whole: 60}, 99, "ip", "E...", 60)
	f("another link header", Head{Bytes: []byte("greE..."), L3: 3, EthProto: etherIPv6, Whole: 63}, 99, "ip", "E...", 60)
	f("ARP without", Head{Bytes: []byte("who"), EthProto: etherARP, Whole: 28}, 99, "0x806", "who", 28)
	f("nothing was read", Head{L3: 14, EthProto: etherIPv4, Whole: 60}, 99, "ip", "", 60)
	f("shorter than it is", Head{Bytes: []byte(strings.Repeat("x", 20)), L3: 14, Whole: 3}, 99, "ethernet", strings.Repeat("x", 20), 20)
	f("link header only in part", Head{Bytes: []byte("dd"), L3: 14, EthProto: etherIPv4, Whole: 60}, 99, "ip", "", 58)
}

func TestHeadTuple(t *testing.T) {
	f := func(what string, frame []byte, l3 int, ethProto uint16, want string) {
		t.Helper()
		h := Head{Bytes: frame, L3: l3, EthProto: ethProto}
		got, ok := h.Tuple()
		if !ok {
			got = Tuple{}
		}
		src, dst := got.Ports()
		if text := fmt.Sprint(got.SrcAddr(), " ", src, " ", got.DstAddr(), " ", dst); text != want {
			t.Errorf("%s: got %s, want %s", what, text, want)
		}
	}
	udp := packetOf(t, ethernet(layers.EthernetTypeIPv4), outer4(layers.IPProtocolUDP), &layers.UDP{SrcPort: 4789, DstPort: 53})
	f("UDP", udp, 14, etherIPv4, "10.0.0.1 4789 10.0.0.2 53")
	f("cut behind IP", udp[:34], 14, etherIPv4, "10.0.0.1 0 10.0.0.2 0")
	f("cut within IP", udp[:30], 14, etherIPv4, "invalid IP 0 invalid IP 0")
	f("nothing of it", udp[:14], 14, etherIPv4, "invalid IP 0 invalid IP 0")
	f("ARP", udp, 14, etherARP, "invalid IP 0 invalid IP 0")
}

func TestFrameEvent(t *testing.T) {
	want := FrameEvent{Owner: OwnerRef{1, 2, 3}, Time: 4, NetNS: 5, IfIndex: 6, Whole: 7, Tag: 8, Captured: 9, L3: 10, EthProto: 11, Segments: 12, Out: 13}
	b := append(slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&want)), unsafe.Sizeof(want))), "ninebytes and some that are nothing"...)
	var got FrameEvent
	frame, err := Frame(b, &got)
	if err != nil || got != want || string(frame) != "ninebytes" {
		t.Errorf("got %+v %q, %v; want %+v", got, frame, err, want)
	}
	for n := range int(unsafe.Sizeof(want)) + 9 {
		if frame, err := Frame(b[:n], &got); !errors.Is(err, ErrShort) || frame != nil {
			t.Errorf("%d bytes: got %q, %v; want ErrShort", n, frame, err)
		}
	}
}
