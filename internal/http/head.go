package http

import (
	"bytes"
	"strconv"
	"strings"
)

// head is what is needed of the first line and the fields of a message.
type head struct {
	version string // "1.0", "1.1", "2"
	method  string // of requests
	target  string
	status  uint16 // of responses

	host        string
	length      int64 // Content-Length; -1 if there is none that can be read
	chunked     bool
	upgrade     string // lower case
	contentType string
	settings    string // HTTP2-Settings
	trace       trace
}

func (h *head) protocol() string {
	switch {
	case h.version == "2" && isGRPC(h.contentType):
		return "grpc"
	case h.version == "2":
		return "h2"
	}
	return "http/" + h.version
}

func isGRPC(contentType string) bool { return strings.HasPrefix(contentType, "application/grpc") }

// headEnd returns the length of the head that b begins with, with its blank
// line; 0 if it has not come whole. Nothing before from ends it. Lines end with
// LF, with or without CR.
func headEnd(b []byte, from int) int {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return 0
		}
		from += i + 1
		switch {
		case from < len(b) && b[from] == '\n':
			return from + 1
		case from+1 < len(b) && b[from] == '\r' && b[from+1] == '\n':
			return from + 2
		}
	}
}

// parseHead reads a head that has come whole, or what there is of one. It
// reports false if the first line is none of HTTP's.
func parseHead(b []byte, isRequest bool) (h head, ok bool) {
	h.length = -1
	line, rest := cutLine(b)
	if isRequest {
		ok = h.requestLine(line)
	} else {
		ok = h.statusLine(line)
	}
	if !ok {
		return h, false
	}
	for len(rest) > 0 {
		if line, rest = cutLine(rest); len(line) == 0 {
			break
		}
		// A line that begins with a blank goes on with the field before it.
		var folded []byte
		for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
			var more []byte
			more, rest = cutLine(rest)
			if folded == nil {
				folded = bytes.Clone(line)
			}
			folded = append(folded, more...)
		}
		if folded != nil {
			line = folded
		}
		if name, value, found := bytes.Cut(line, []byte{':'}); found {
			h.field(bytes.TrimSpace(name), bytes.TrimSpace(value))
		}
	}
	return h, true
}

// cutLine returns the first line without its end.
func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return bytes.TrimSuffix(b, []byte{'\r'}), nil
	}
	return bytes.TrimSuffix(b[:i], []byte{'\r'}), b[i+1:]
}

// requestLine is a method, a target, which may have blanks, and a version.
func (h *head) requestLine(line []byte) bool {
	line = bytes.TrimRight(line, " \t\r")
	first, last := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if first <= 0 || !h.readVersion(line[last+1:]) {
		return false
	}
	h.method = string(line[:first])
	h.target = string(bytes.TrimSpace(line[first:max(last, first)]))
	return true
}

// statusLine is a version and a code; the phrase is for people.
func (h *head) statusLine(line []byte) bool {
	version, rest, _ := bytes.Cut(line, []byte{' '})
	if !h.readVersion(bytes.TrimRight(version, "\t")) {
		return false
	}
	code, _, _ := bytes.Cut(bytes.TrimLeft(rest, " \t"), []byte{' '})
	n, err := strconv.ParseUint(string(bytes.TrimSpace(code)), 10, 10)
	h.status = uint16(n)
	return err == nil
}

// readVersion takes HTTP/1.1 and its like; without digits that make sense it is
// taken for 1.1, as everybody does.
func (h *head) readVersion(b []byte) bool {
	version, ok := bytes.CutPrefix(b, []byte("HTTP/"))
	if !ok {
		return false
	}
	switch string(version) {
	case "1.0", "0.9":
		h.version = string(version)
	case "2.0", "2":
		h.version = "2"
	default:
		h.version = "1.1"
	}
	return true
}

// field keeps what is needed; of fields that come twice, the first that can
// be read.
func (h *head) field(name, value []byte) {
	is := func(s string) bool { return len(name) == len(s) && strings.EqualFold(string(name), s) }
	switch {
	case is("host"):
		if h.host == "" {
			h.host = string(value)
		}
	case is("content-length"):
		if n, err := strconv.ParseInt(string(value), 10, 63); err == nil && n >= 0 && h.length < 0 {
			h.length = n
		}
	case is("transfer-encoding"):
		for word := range bytes.SplitSeq(value, []byte{','}) {
			if bytes.EqualFold(bytes.TrimSpace(word), []byte("chunked")) {
				h.chunked = true
			}
		}
	case is("upgrade"):
		h.upgrade = strings.ToLower(string(value))
	case is("content-type"):
		h.contentType = string(value)
	case is("http2-settings"):
		h.settings = string(value)
	case is("traceparent"):
		h.trace = parseTrace(string(value))
	}
}

// likeness is how far bytes look like the beginning of something.
type likeness uint8

const (
	unlike likeness = iota
	maybe           // so far
	alike
)

// likeRequest looks at the method and, if it is there, at the end of the line.
func likeRequest(b []byte) likeness {
	i := 0
	for ; i < len(b) && i < maxMethod && isMethod(b[i]); i++ {
		continue
	}
	switch {
	case i == len(b):
		return maybe
	case i == 0 || i == maxMethod || b[i] != ' ':
		return unlike
	}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return maybe
	}
	line := bytes.TrimRight(b[:end], " \t\r")
	if bytes.HasPrefix(line[bytes.LastIndexByte(line, ' ')+1:], []byte("HTTP/")) {
		return alike
	}
	return unlike
}

// isMethod takes what methods are made of in practice: M-SEARCH, RPC_IN_DATA.
func isMethod(c byte) bool { return 'A' <= c && c <= 'Z' || c == '-' || c == '_' }

// likeResponse looks for the name of the protocol.
func likeResponse(b []byte) likeness {
	const name = "HTTP/"
	n := min(len(b), len(name))
	switch {
	case string(b[:n]) != name[:n]:
		return unlike
	case n < len(name):
		return maybe
	}
	return alike
}

func likeHead(b []byte, isRequest bool) likeness {
	if isRequest {
		return likeRequest(b)
	}
	return likeResponse(b)
}
