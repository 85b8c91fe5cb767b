package http

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

// likeSettings reports whether b can be the settings that a server begins with.
func likeSettings(b []byte) bool {
	const begin = "\x00\x00?\x04\x00\x00\x00\x00\x00" // length, SETTINGS, no flags, stream 0
	for i := range min(len(b), len(begin)) {
		if i != 2 && b[i] != begin[i] || i == 2 && b[i]%6 != 0 {
			return false
		}
	}
	return true
}

// likeFrames reports whether b is made of HTTP/2 frames: at least one whole one
// and then the end of b or another one.
func likeFrames(b []byte) bool {
	for whole := 0; ; whole++ {
		if len(b) == 0 || whole == 2 {
			return whole > 0
		}
		if len(b) < frameHeader {
			return false
		}
		length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		if !likeFrame(http2.FrameType(b[3]), b[4], binary.BigEndian.Uint32(b[5:]), length) {
			return false
		}
		if len(b) < frameHeader+length {
			return whole > 0
		}
		b = b[frameHeader+length:]
	}
}

// likeFrame checks a frame's header by what RFC 9113, section 6, says of its
// type.
func likeFrame(kind http2.FrameType, flags uint8, id uint32, length int) bool {
	if id>>31 != 0 || length > 16<<10 {
		return false
	}
	switch kind {
	case http2.FrameData:
		return id != 0 && flags&^0x9 == 0 && (length > 0 || flags&1 != 0)
	case http2.FrameHeaders:
		return id != 0 && flags&^0x2d == 0 && length > 0
	case http2.FramePriority:
		return id != 0 && length == 5
	case http2.FrameRSTStream:
		return id != 0 && length == 4
	case http2.FrameSettings:
		return id == 0 && length%6 == 0 && flags&^1 == 0
	case http2.FramePing:
		return id == 0 && length == 8 && flags&^1 == 0
	case http2.FrameGoAway:
		return id == 0 && length >= 8
	case http2.FrameWindowUpdate:
		return length == 4 && flags == 0
	case http2.FrameContinuation:
		return id != 0 && flags&^4 == 0
	}
	return false
}
