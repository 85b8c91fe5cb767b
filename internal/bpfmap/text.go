package bpfmap

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// parseBytes reads a key or value of unknown type: 0x and two digits for each byte
// in the order of memory, as they are shown, bytes in hex with spaces between, or
// a number in the host's order if it is no longer than one.
func parseBytes(text string, size int) ([]byte, error) {
	digits := strings.TrimPrefix(strings.ReplaceAll(text, " ", ""), "0x")
	if (strings.HasPrefix(text, "0x") || strings.Contains(text, " ")) && len(digits) == 2*size {
		if b, err := hex.DecodeString(digits); err == nil {
			return b, nil
		}
	}
	if size <= 8 {
		if n, ok := parseNumber(text, size); ok {
			var b [8]byte
			binary.NativeEndian.PutUint64(b[:], n)
			if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 { // little-endian
				return b[:size], nil
			}
			return b[8-size:], nil
		}
	}
	want := fmt.Sprintf("want 0x and %d hex digits", 2*size)
	if size <= 8 {
		want += fmt.Sprintf(", or a number of %d bits", 8*size)
	}
	return nil, fmt.Errorf("%q: %s", text, want)
}

func parseNumber(text string, size int) (uint64, bool) {
	if n, err := strconv.ParseUint(text, 10, 8*size); err == nil {
		return n, true
	}
	n, err := strconv.ParseInt(text, 10, 8*size)
	return uint64(n), err == nil
}

// parsePrefix reads 10.0.0.0/8 or 2001:db8::/32 as the key of an LPM trie: the
// length in 32 bits, then the address (struct bpf_lpm_trie_key).
func parsePrefix(text string, size int) ([]byte, bool) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, false
	}
	address := p.Masked().Addr().AsSlice()
	if size != 4+len(address) {
		return nil, false
	}
	return append(binary.NativeEndian.AppendUint32(nil, uint32(p.Bits())), address...), true
}
