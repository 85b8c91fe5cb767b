package value

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// quote writes the quotes of what is a string in JSON only.
func (w *writer) quote() {
	if w.json {
		w.dst = append(w.dst, '"')
	}
}

// key writes the name of a member and what is before it.
func (w *writer) key(name string, first bool) {
	if !first {
		w.separate()
	}
	w.word(name)
	if w.json {
		w.dst = append(w.dst, ':')
	} else {
		w.dst = append(w.dst, '=')
	}
}

// word writes a name from the program, which is a string in JSON. The C
// language allows nothing strange in it, a hostile object does.
func (w *writer) word(name string) {
	if w.json {
		w.dst = appendJSONString(w.dst, name)
		return
	}
	w.dst = appendBare(w.dst, name)
}

// string writes a string from the data.
func (w *writer) string(s string) {
	switch {
	case w.json:
		w.dst = appendJSONString(w.dst, s)
	case w.bare:
		w.dst = appendBare(w.dst, s)
	default:
		w.dst = strconv.AppendQuote(w.dst, s)
	}
}

// rest writes what is behind a value.
func (w *writer) rest(data []byte, first bool) {
	w.key(restName, first)
	w.hexString(data)
}

// hexString writes bytes as 0x…, cut in text.
func (w *writer) hexString(data []byte) {
	cut := 0
	if !w.json && len(data) > maxHex {
		data, cut = data[:maxHex], len(data)-maxHex
	}
	w.quote()
	w.dst = append(w.dst, "0x"...)
	w.dst = hex.AppendEncode(w.dst, data)
	w.quote()
	if cut > 0 {
		w.more(cut)
	}
}

// wide writes a 128-bit integer in hex, the highest byte first.
func (w *writer) wide(data []byte) {
	number := [16]byte(data)
	if !hostIsBig() {
		slices.Reverse(number[:])
	}
	w.hexString(number[:])
}

func (w *writer) address(a netip.Addr) {
	w.quote()
	w.dst = a.AppendTo(w.dst)
	w.quote()
}

func (w *writer) mac(data []byte) {
	w.quote()
	for i := range data {
		if i > 0 {
			w.dst = append(w.dst, ':')
		}
		w.dst = hex.AppendEncode(w.dst, data[i:i+1])
	}
	w.quote()
}

// appendBare appends s without quotes: as it is if a terminal shows it as it
// is, else with what it does not show escaped as in Go.
func appendBare(dst []byte, s string) []byte {
	for i, r := range s {
		if !strconv.IsPrint(r) || r == utf8.RuneError && s[i] != "\uFFFD"[0] {
			start := len(dst)
			dst = strconv.AppendQuote(dst, s)
			return slices.Delete(dst[:len(dst)-1], start, start+1)
		}
	}
	return append(dst, s...)
}

// appendJSONString appends s as a JSON string. All that a terminal might obey
// is escaped (DEL, the C1 controls, bidirectional overrides), and what is not
// UTF-8 becomes U+FFFD, so that every reader takes it.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c >= 0x20 && c < 0x7f:
				dst = append(dst, c)
			default:
				dst = appendUnit(dst, rune(c))
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		switch {
		case unicode.IsPrint(r):
			dst = utf8.AppendRune(dst, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			dst = appendUnit(appendUnit(dst, high), low)
		default:
			dst = appendUnit(dst, r)
		}
	}
	return append(dst, '"')
}

// appendUnit appends a UTF-16 unit as an escape of JSON.
func appendUnit(dst []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}
