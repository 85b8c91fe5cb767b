// Package tls reads the part of TLS that is not encrypted: the hellos of SSL 3.0
// to TLS 1.3, with who is asked for and what is chosen, whether the handshake
// comes to its end, and the alert that tells why not. It reads bytes in order,
// however they are cut, and keeps no more of them than a hello that has not
// come whole.
//
// It watches two others, so it takes what they take, and of a hello that is cut
// what there is. It is pure; package http gives it the streams.
package tls

import (
	"crypto/tls"
	"encoding/binary"
)

// Side is who speaks: the client is who says hello first.
type Side uint8

// The sides.
const (
	Client Side = iota
	Server
	nobody
)

func (s Side) String() string { return [...]string{"client", "server", "nobody"}[s] }

// Failure is why a handshake fails, the name of an alert or one of the reasons
// below, and who sent or did it. The zero value is none.
type Failure struct {
	Why string
	By  Side
}

// String is "unknown_ca by client", or empty if there is none.
func (f Failure) String() string {
	if f.Why == "" {
		return ""
	}
	return f.Why + " by " + f.By.String()
}

// Reasons that are no alert's name.
const (
	encryptedAlert = "encrypted_alert" // which one, only the other side knows
	notTLS         = "not_tls"         // it speaks something else
	malformed      = "malformed"
)

// Encrypts is the first version whose servers encrypt what they choose but the
// version and the suite.
const Encrypts = tls.VersionTLS13

// Kinds of records and of messages.
const (
	changeCipher = 20
	alert        = 21
	handshake    = 22
	appData      = 23
	heartbeat    = 24

	helloRequest = 0
	clientHello  = 1
	serverHello  = 2
)

const (
	recordHeader  = 5
	messageHeader = 4
	// maxRecord is the longest one of TLS 1.2 and before, RFC 5246, section 6.2.3.
	maxRecord = 16<<10 + 2048
	// longestAlert is the length of a record of TLS 1.3 with an alert, the
	// kind of the record and a tag of 16 bytes. What each side sends first
	// otherwise, EncryptedExtensions and Finished, is longer.
	longestAlert = alertLen + 1 + 16
)

// Hello reports whose hello b begins with, and whether it is one; where b is
// too short to know, enough is false.
func Hello(b []byte) (from Side, is, enough bool) {
	for i, c := range b[:min(len(b), 3)] {
		if i == 0 && c != handshake || i == 1 && c != 3 || i == 2 && c > 4 {
			return nobody, false, true
		}
	}
	if len(b) < recordHeader+2 {
		return nobody, false, false
	}
	length, kind, next := binary.BigEndian.Uint16(b[3:]), b[5], b[6]
	switch {
	case length == 0, length > maxRecord, length > 1 && next != 0: // a hello is shorter than 64 KiB
	case kind == clientHello:
		return Client, true, true
	case kind == serverHello:
		return Server, true, true
	}
	return nobody, false, true
}

// Encrypted reports whether b begins with a record of application data: TLS
// whose hellos were said before.
func Encrypted(b []byte) bool { return likeRecord(b) && b[0] == appData }

// likeRecord reports whether b begins with a record's header.
func likeRecord(b []byte) bool {
	return len(b) >= recordHeader && changeCipher <= b[0] && b[0] <= heartbeat && b[1] == 3 && b[2] <= 4 &&
		binary.BigEndian.Uint16(b[3:]) <= maxRecord
}

// Handshake follows one handshake. The zero value has seen nothing.
type Handshake struct {
	Client ClientHello
	Server ServerHello
	// Asked and Answered say that the hellos came. One that asks the client to
	// say hello again is no answer.
	Asked, Answered bool
	// Resumed says that an earlier session goes on.
	Resumed bool
	// Over says that it came to its end, as far as can be seen: both sides have
	// changed to encryption; in TLS 1.3 the client has, behind the server's
	// hello.
	Over  bool
	Error Failure // why it did not
	// Warning is an alert that need not be the end, the last one.
	Warning Failure

	half [2]half
}

// half is one side.
type half struct {
	message []byte // a hello that has not come whole, or what of it is known to be none
	header  [recordHeader]byte
	alert   [alertLen]byte
	got     uint8  // bytes of the header
	kind    uint8  // of the record
	left    uint16 // bytes left of it
	first   uint16 // length of the first record of application data
	changed bool   // to encryption
	heard   bool   // its further messages need not be read
	lost    bool   // bytes are missing: the next record is looked for
	missed  bool   // a hello may have been
}

// Done reports whether there is nothing more to find out.
func (h *Handshake) Done() bool { return h.Over || h.Error.Why != "" }

// Held returns how many bytes it keeps for later.
func (h *Handshake) Held() int { return len(h.half[Client].message) + len(h.half[Server].message) }

// Idle reports whether the next byte of a side begins a record, and no message
// goes on in it.
func (h *Handshake) Idle(from Side) bool {
	s := &h.half[from]
	return s.got == 0 && s.left == 0 && len(s.message) == 0
}

// Data reads the next bytes of a side.
func (h *Handshake) Data(from Side, b []byte) {
	s := &h.half[from]
	if s.lost {
		if !likeRecord(b) {
			return
		}
		s.lost, s.got, s.left = false, 0, 0
	}
	for len(b) > 0 && !h.Done() {
		if s.left > 0 {
			n := min(int(s.left), len(b))
			s.left -= uint16(n)
			h.payload(from, b[:n])
			h.look()
			b = b[n:]
			continue
		}
		n := copy(s.header[s.got:], b)
		s.got += uint8(n)
		b = b[n:]
		if s.got == recordHeader {
			s.got = 0
			h.record(from)
			h.look()
		}
	}
	h.forget()
}

// forget lets go of what need not be read any further.
func (h *Handshake) forget() {
	if h.Done() {
		h.half[Client].message, h.half[Server].message = nil, nil
	}
}

// Message reads the next bytes of a side's messages where no records are around
// them, as in QUIC. How such a handshake ends, what is around it shows: [Handshake.Finish]
// and [Handshake.Refuse] say it.
func (h *Handshake) Message(from Side, b []byte) {
	if h.Done() || h.half[from].heard {
		return
	}
	h.join(from, b)
	if h.Answered {
		h.Resumed = h.Server.resumes(&h.Client)
	}
	h.forget()
}

// Finish says that it came to its end.
func (h *Handshake) Finish() {
	h.Over = h.Over || !h.Done()
	h.forget()
}

// Refuse says that it failed: by an alert's number, or for another reason if that
// is not empty.
func (h *Handshake) Refuse(by Side, alert uint8, reason string) {
	if reason == "" {
		reason = alertName(alert)
	}
	h.fail(by, reason)
	h.forget()
}

// Gap skips missing bytes of a side. Within a record that need not be read they
// do no harm.
func (h *Handshake) Gap(from Side, n int) {
	s := &h.half[from]
	if s.kind == handshake && !s.heard && len(s.message) > messageHeader {
		h.message(from, s.message[0], s.message[messageHeader:], true)
		s.heard = s.heard || !h.Server.retry
	}
	s.message, s.missed = nil, true
	if n == 0 || n > int(s.left) {
		s.lost = true
		return
	}
	s.heard = s.heard || s.kind == handshake
	s.left -= uint16(n)
}

// record begins a record.
func (h *Handshake) record(from Side) {
	s := &h.half[from]
	if !likeRecord(s.header[:]) {
		h.fail(from, notTLS)
		return
	}
	s.kind, s.left = s.header[0], binary.BigEndian.Uint16(s.header[3:])
	switch s.kind {
	case changeCipher:
		s.changed = true
	case appData:
		s.changed = true
		if s.first == 0 {
			s.first = s.left
		}
	case alert:
		switch {
		case s.left > alertLen && (s.missed || h.half[1-from].missed):
			s.changed = true // how far they were, nobody knows
		case s.left > alertLen:
			h.fail(from, encryptedAlert)
		case s.left < alertLen:
			h.fail(from, malformed)
		}
	}
}

// payload reads bytes of a record.
func (h *Handshake) payload(from Side, b []byte) {
	s := &h.half[from]
	switch {
	case s.kind == alert && int(s.left)+len(b) > alertLen: // encrypted
	case s.kind == alert:
		copy(s.alert[alertLen-int(s.left)-len(b):], b)
		if s.left == 0 {
			h.alert(from, s.alert[0], s.alert[1])
		}
	case s.kind == handshake && !s.heard:
		h.join(from, b)
	}
}

// alert does an alert that is not encrypted.
func (h *Handshake) alert(from Side, level, kind uint8) {
	if level == fatal {
		h.fail(from, alertName(kind))
		return
	}
	h.Warning = Failure{alertName(kind), from}
}

// join puts the pieces of messages together, up to the hello.
func (h *Handshake) join(from Side, b []byte) {
	s := &h.half[from]
	s.message = append(s.message, b...)
	for !s.heard && !h.Done() && len(s.message) >= messageHeader {
		n := messageHeader + int(binary.BigEndian.Uint32(s.message)&0xff_ffff)
		if n > maxHello {
			h.fail(from, malformed)
			return
		}
		if len(s.message) < n {
			return
		}
		h.message(from, s.message[0], s.message[messageHeader:n], false)
		s.message = s.message[n:]
	}
	if s.heard || len(s.message) == 0 {
		s.message = nil
	}
}

// message does a message that has come whole, or the beginning of one.
func (h *Handshake) message(from Side, kind uint8, body []byte, cut bool) {
	s := &h.half[from]
	switch {
	case from == Client && kind == clientHello:
		ok := h.Client.parse(body)
		s.heard, h.Asked = true, true
		if !ok && !cut {
			h.fail(from, malformed)
		}
	case from == Server && kind == serverHello:
		if !h.Server.parse(body) && !cut {
			h.fail(from, malformed)
			return
		}
		s.heard = !h.Server.retry
		h.Answered = s.heard
	case from == Server && kind == helloRequest:
	case s.missed:
		s.heard = true
	default:
		h.fail(from, malformed)
	}
}

// fail ends it, for the first reason.
func (h *Handshake) fail(by Side, why string) {
	if !h.Done() {
		h.Error = Failure{why, by}
	}
}

// look finds out whether it is over. It does not matter which side's bytes came
// first.
func (h *Handshake) look() {
	c, s := &h.half[Client], &h.half[Server]
	if !h.Answered || h.Done() {
		return
	}
	h.Resumed = h.Server.resumes(&h.Client)
	if h.Server.Version < Encrypts {
		h.Over = c.changed && s.changed
		return
	}
	for side, half := range [...]*half{Client: c, Server: s} {
		if 0 < half.first && half.first <= longestAlert && !h.Client.EarlyData {
			h.fail(Side(side), encryptedAlert)
			return
		}
	}
	h.Over = c.first > 0
}
