package filter

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// Packets that the expressions of the tests tell apart, with Ethernet headers. Checksums are left 0: no filter looks.

func frame(etherType uint16, payload []byte) []byte {
	b := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
	return append(binary.BigEndian.AppendUint16(b, etherType), payload...)
}

func vlan(id uint16, inner []byte) []byte {
	tag := binary.BigEndian.AppendUint16([]byte{0x81, 0x00}, id)
	return slices.Concat(inner[:12], tag, inner[12:])
}

// ipv4 has 4 bytes of options for each word beyond 5.
func ipv4(proto byte, words int, fragment uint16, payload []byte) []byte {
	b := make([]byte, words*4)
	b[0] = 0x40 | byte(words)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(payload)))
	binary.BigEndian.PutUint16(b[6:], fragment)
	b[8], b[9] = 64, proto
	copy(b[12:], []byte{10, 1, 2, 3, 10, 1, 2, 4})
	return frame(0x0800, append(b, payload...))
}

func ipv6(next byte, payload []byte) []byte {
	b := make([]byte, 40)
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	b[6], b[7] = next, 64
	copy(b[8:], []byte{0x20, 0x01, 0x0d, 0xb8, 15: 1})
	copy(b[24:], []byte{0x20, 0x01, 0x0d, 0xb8, 15: 2})
	return frame(0x86dd, append(b, payload...))
}

func tcp(src, dst uint16, flags byte, payload string) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	binary.BigEndian.PutUint32(b[4:], 0x12345678)
	b[12], b[13] = 0x50, flags
	return append(b, payload...)
}

func udp(src, dst uint16, payload []byte) []byte {
	b := make([]byte, 8)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

func packets() [][]byte {
	big := make([]byte, 400)
	for i := range big {
		big[i] = byte(i)
	}
	syn := ipv4(6, 5, 0x4000, tcp(40000, 80, 0x02, ""))
	dns := udp(40000, 53, []byte{0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0})
	arp := []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 10, 1, 2, 9}
	broadcast := frame(0x0806, arp)
	copy(broadcast, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	multicast := ipv4(2, 6, 0, []byte{0x16, 0, 0, 0, 224, 0, 0, 251})
	copy(multicast, []byte{1, 0, 0x5e})
	copy(multicast[30:], []byte{224, 0, 0, 22})
	mpls := frame(0x8847, append([]byte{0x18, 0x6a, 0x00, 0x40, 0x00, 0x40, 0x01, 0x40}, syn[14:]...))
	pppoe := frame(0x8864, append([]byte{0x11, 0, 0, 7, 0, 42, 0, 0x21}, syn[14:]...))
	geneve := ipv4(17, 5, 0, udp(40000, 6081, append([]byte{0, 0, 0x65, 0x58, 0, 0, 0x0b, 0}, syn...)))
	return [][]byte{
		syn,
		ipv4(6, 5, 0, tcp(80, 40000, 0x18, "HTTP/1.1 200 OK\r\n\r\n")),
		ipv4(6, 8, 0, tcp(40000, 80, 0x18, "GET / HTTP/1.1\r\n\r\n")),
		ipv4(6, 5, 0, tcp(1024, 22, 0x04, "")),
		ipv4(6, 15, 0, tcp(443, 6005, 0x11, "x")),
		ipv4(17, 5, 0, dns),
		ipv4(17, 5, 0, udp(123, 123, make([]byte, 48))),
		ipv4(17, 5, 0x2000, udp(1, 33440, big)),
		ipv4(17, 5, 0x0010, big),
		ipv4(1, 5, 0, []byte{8, 0, 0, 0, 0, 1, 0, 1}),
		ipv4(1, 5, 0, append([]byte{3, 4, 0, 0, 0, 0, 5, 0}, syn[14:]...)),
		ipv4(47, 5, 0, []byte{0, 0, 8, 0}),
		ipv4(51, 5, 0, []byte{6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
		ipv4(132, 5, 0, udp(80, 80, nil)),
		ipv4(89, 5, 0, big[:64]),
		multicast,
		ipv6(6, tcp(40000, 80, 0x02, "")),
		ipv6(17, dns),
		ipv6(58, []byte{135, 0, 0, 0, 0, 0, 0, 0}),
		ipv6(0, append([]byte{6, 0, 5, 2, 0, 0, 1, 0}, tcp(40000, 80, 0x02, "")...)),
		ipv6(44, append([]byte{17, 0, 0, 0, 0, 0, 0, 1}, dns...)),
		ipv6(59, nil),
		frame(0x0806, arp),
		broadcast,
		vlan(200, syn),
		vlan(100, vlan(200, syn)),
		vlan(300, ipv6(17, dns)),
		mpls,
		pppoe,
		geneve,
		frame(0x88cc, big[:60]),
		frame(0x0026, []byte{0x42, 0x42, 0x03, 0, 0, 0, 0, 0}),
		frame(0x0800, big),
	}
}

// mutate returns a packet like one of the seeds: bytes changed, cut or prolonged.
func mutate(r *rand.Rand, seeds [][]byte) []byte {
	p := slices.Clone(seeds[r.IntN(len(seeds))])
	for range r.IntN(4) {
		p[r.IntN(min(len(p), 60))] = byte(r.Uint32())
	}
	switch r.IntN(4) {
	case 0:
		p = p[:r.IntN(len(p)+1)]
	case 1:
		p = append(p, make([]byte, r.IntN(300))...)
	}
	return p
}
