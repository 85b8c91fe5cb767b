package decode

import (
	"strings"
	"testing"
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
