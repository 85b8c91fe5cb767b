package value

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// parseBytes returns the bytes of a value without members.
func parseBytes(s *shape, typed string) ([]byte, error) {
	switch s.kind {
	case text:
		str, err := unquote(typed)
		if err != nil {
			return nil, err
		}
		return fitString(s, str)
	case octets, opaque, address, mac:
		return parseOctets(s, typed)
	case wide:
		return parseWide(typed)
	}
	if s.kind == ipv4 || s.kind == unsigned && s.network && s.size == 4 {
		if a, err := netip.ParseAddr(typed); err == nil && a.Is4() {
			return a.AsSlice(), nil
		}
	}
	raw, err := parseNumber(s, typed, 8*s.size)
	if err != nil {
		return nil, err
	}
	return store(raw, s.size, s.network), nil
}

// store is the opposite of [load].
func store(raw uint64, size int, network bool) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(raw >> (8 * i))
	}
	if network || hostIsBig() {
		slices.Reverse(b)
	}
	return b
}

// bitShape is the shape of a bit-field of type s.
func bitShape(s *shape) *shape {
	switch s.kind {
	case unsigned, signed, boolean, enum:
		return s
	}
	return &shape{kind: unsigned}
}

// parseNumber returns the lower bits of a number.
func parseNumber(s *shape, typed string, bits int) (uint64, error) {
	switch s.kind {
	case boolean:
		switch typed {
		case "true", "1":
			return 1, nil
		case "false", "0":
			return 0, nil
		}
	case float:
		f, err := strconv.ParseFloat(typed, bits)
		switch {
		case err != nil:
		case bits == 32:
			return uint64(math.Float32bits(float32(f))), nil
		default:
			return math.Float64bits(f), nil
		}
	case enum:
		for i := range s.enum.Values {
			if v := &s.enum.Values[i]; v.Name == typed {
				return v.Value & mask(bits), nil
			}
		}
		if raw, ok := parseInt(s.enum.Signed, typed, bits); ok {
			return raw, nil
		}
	default:
		if raw, ok := parseInt(s.kind == signed, typed, bits); ok {
			return raw, nil
		}
	}
	return 0, fmt.Errorf("%s: want %s", strconv.Quote(shorten(typed)), wantedText(s, bits))
}

// parseInt returns the lower bits of an integer in any base, false if it is
// none or out of range.
func parseInt(isSigned bool, typed string, bits int) (uint64, bool) {
	if isSigned {
		n, err := strconv.ParseInt(typed, 0, bits)
		return uint64(n) & mask(bits), err == nil
	}
	n, err := strconv.ParseUint(typed, 0, bits)
	return n, err == nil
}

func mask(bits int) uint64 { return uint64(math.MaxUint64) >> (64 - bits) }

// shorten keeps errors in bounds.
func shorten(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// wantedText says what a value without members looks like; bits is its width.
func wantedText(s *shape, bits int) string {
	switch s.kind {
	case boolean:
		return "true or false"
	case float:
		return fmt.Sprintf("a number that a float of %d bits can hold", bits)
	case enum:
		names := make([]string, len(s.enum.Values))
		for i := range names {
			names[i] = s.enum.Values[i].Name
		}
		if len(names) == 0 {
			return wantedInt(s.enum.Signed, bits)
		}
		return "one of " + listNames("", names) + ", or " + wantedInt(s.enum.Signed, bits)
	case ipv4:
		return "an IPv4 address"
	case address:
		return "an IPv6 or IPv4 address"
	case mac:
		return "a MAC address such as 02:00:00:00:00:01"
	case wide:
		return "an integer of 128 bits"
	case text:
		if s.open {
			return "text"
		}
		return fmt.Sprintf("text of at most %d bytes", s.size)
	case octets, opaque:
		if s.open {
			return "bytes in hex as 0x…"
		}
		return fmt.Sprintf("%d bytes in hex as 0x…", s.size)
	}
	return wantedInt(s.kind == signed, bits)
}

func wantedInt(isSigned bool, bits int) string {
	if isSigned {
		low := int64(math.MinInt64) >> (64 - bits)
		return fmt.Sprintf("an integer from %d to %d", low, -(low + 1))
	}
	return fmt.Sprintf("an integer from 0 to %d", mask(bits))
}

// unquote returns what was typed for a string: if it begins with a quote, what
// Go or JSON understands by it, else what it is.
func unquote(typed string) (string, error) {
	if !strings.HasPrefix(typed, `"`) {
		return typed, nil
	}
	if s, err := strconv.Unquote(typed); err == nil {
		return s, nil
	}
	// Go has no surrogate pairs and no \/.
	var s string
	if err := json.Unmarshal([]byte(typed), &s); err != nil {
		return "", fmt.Errorf("%s: the quotes do not make a string", shorten(typed))
	}
	return s, nil
}

// fitString returns the bytes of str if an array has room for them. An array
// that is full has no NUL.
func fitString(s *shape, str string) ([]byte, error) {
	switch {
	case !s.open && len(str) > s.size:
		return nil, fmt.Errorf("%s has %d bytes: want at most %d", strconv.Quote(shorten(str)), len(str), s.size)
	case strings.IndexByte(str, 0) >= 0:
		return nil, errors.New("a string ends at its first NUL: leave it out")
	}
	return []byte(str), nil
}

// parseOctets returns bytes given as hex or by what they mean.
func parseOctets(s *shape, typed string) ([]byte, error) {
	b, ok := parseMeaning(s, typed)
	if !ok {
		digits, found := strings.CutPrefix(typed, "0x")
		var err error
		b, err = hex.DecodeString(digits)
		ok = found && err == nil && (s.open || len(b) == s.size)
	}
	if !ok {
		return nil, fmt.Errorf("%s: want %s", strconv.Quote(shorten(typed)), wantedText(s, 0))
	}
	return b, nil
}

// parseMeaning takes an address for bytes that could be one, and a quoted
// string.
func parseMeaning(s *shape, typed string) ([]byte, bool) {
	if s.kind == octets && strings.HasPrefix(typed, `"`) {
		str, err := unquote(typed)
		return []byte(str), err == nil && (s.open || len(str) <= s.size)
	}
	if s.open || s.kind == opaque {
		return nil, false
	}
	switch s.size {
	case 16:
		if a, err := netip.ParseAddr(typed); err == nil && a.Zone() == "" {
			b := a.As16()
			return b[:], true
		}
	case 6:
		return parseMAC(typed)
	}
	return nil, false
}

func parseMAC(typed string) ([]byte, bool) {
	if len(typed) != len("00:00:00:00:00:00") {
		return nil, false
	}
	for i := 2; i < len(typed); i += 3 {
		if typed[i] != typed[2] || typed[2] != ':' && typed[2] != '-' {
			return nil, false
		}
	}
	b, err := hex.DecodeString(strings.ReplaceAll(typed, typed[2:3], ""))
	return b, err == nil && len(b) == 6
}

// parseWide returns a 128-bit integer; which sign its type has does not matter.
func parseWide(typed string) ([]byte, error) {
	const bits = 128
	one := big.NewInt(1)
	n, ok := new(big.Int), len(typed) <= 2*bits
	if ok {
		n, ok = n.SetString(typed, 0)
	}
	if !ok || n.Cmp(new(big.Int).Lsh(one, bits)) >= 0 || n.Cmp(new(big.Int).Neg(new(big.Int).Lsh(one, bits-1))) < 0 {
		return nil, fmt.Errorf("%s: want %s", strconv.Quote(shorten(typed)), wantedText(&shape{kind: wide}, bits))
	}
	if n.Sign() < 0 {
		n.Add(n, new(big.Int).Lsh(one, bits))
	}
	b := n.FillBytes(make([]byte, bits/8))
	if !hostIsBig() {
		slices.Reverse(b)
	}
	return b, nil
}

// isList reports whether what was typed for bytes is a JSON array.
func isList(typed string) bool { return strings.HasPrefix(typed, "[") }
