// Package value turns the bytes of a BTF type into text, JSON and the cells of
// a table, and text into bytes: what BPF programs keep in maps and globals and
// send in events, for people and for other programs.
//
// It is pure: it neither reads maps nor finds types, knows nothing of records,
// and never fails on bytes. Data may be shorter or longer than its type, and
// types may come from a hostile object: what is missing is null in JSON and ?
// in text, what is over is hex in a member called ~rest, and the work is
// bounded by the length of the data.
//
// What a type does not say is taken from names:
//
//   - __be16, __be32 and __be64 are in network order, all else in the host's.
//   - A __be32 in a member named like an address (saddr, src_ip, daddr_v4, gw)
//     is an IPv4 address, and so is struct in_addr.
//   - 16 bytes (__u8[16], __be32[4] or an __int128) in such a member, and
//     struct in6_addr, are an IPv6 address, shown as IPv4 if mapped.
//   - __u8[6] in a member named mac, smac, dev_addr, h_dest and the like is a
//     MAC address.
//   - Arrays of char are strings up to their NUL, and so are arrays of __u8 in
//     members named comm, name, path or file, or ending in that.
//   - Other arrays of __u8, however short, are hex in text and numbers in JSON.
//
// An anonymous struct or union has its members in those of its parent. NaN and
// infinities are strings in JSON, and so are 128-bit integers, in hex. In JSON
// bytes that are not UTF-8 become U+FFFD; in text they are \xNN. Values of an
// enum without a name are numbers: flags are not guessed.
//
// Map and event code, the loader and the views import it.
package value

import "github.com/cilium/ebpf/btf"

// AppendJSON appends data, of type t, to dst as JSON and returns the extended
// slice: structs are objects in declared order, char arrays strings up to their
// NUL, enums their names, unions objects with every member, pointers "0x…"
// strings, 64-bit integers plain numbers, arrays arrays, never cut. Of an array
// whose data ends early, one null stands for all that is missing. A value that
// is no object and has bytes behind it becomes {"value":…,"~rest":"0x…"}. A nil
// t, or one that says nothing of the bytes, gives all of data as a hex string.
//
// The JSON is valid whatever data and t are, and everything that is not
// printable is escaped. Nothing is allocated if dst has room.
func AppendJSON(dst []byte, t btf.Type, data []byte) []byte {
	w := writer{dst: dst, json: true, left: budget(data)}
	w.top(t, data)
	return w.dst
}

// AppendText appends data, of type t, to dst as one short line for people and
// returns the extended slice: {pid=12 comm="bash" saddr=10.0.0.1}. Long arrays
// and hex end in …+N, the number of elements or bytes left out. Strings are
// quoted and escaped as in Go, so that nothing in them reaches a terminal.
// Nothing is allocated if dst has room.
func AppendText(dst []byte, t btf.Type, data []byte) []byte {
	w := writer{dst: dst, left: budget(data)}
	w.top(t, data)
	return w.dst
}
