package tls

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// The bounds of what is kept of a hello.
const (
	maxName      = 255      // bytes of a name: RFC 1035 allows no host a longer one
	maxProtocols = 16       // that are offered
	maxHello     = 64 << 10 // bytes of a hello, as in crypto/tls
	maxSession   = 32       // bytes of a session's id, which has no more
)

// Extensions, by IANA's registry of TLS ExtensionType Values.
const (
	serverName        = 0
	alpn              = 16
	preSharedKey      = 41
	earlyData         = 42
	supportedVersions = 43
	encryptedHello    = 0xfe0d
)

// ClientHello is what a client begins with, as far as rows tell it.
type ClientHello struct {
	// ServerName is the host that is asked for, as it was written; empty if the
	// client does not say.
	ServerName string
	// ALPN is what the client wants to speak inside, the best first.
	ALPN []string
	// ECH says that another hello is inside, encrypted, whose name counts for a
	// server that can read it: ServerName is then that of whoever stands in
	// front. Browsers send something that looks the same to servers that cannot.
	ECH bool
	// EarlyData says that data follow at once, before any answer.
	EarlyData bool
	// Cut says that a bound was met: names or protocols are missing.
	Cut     bool
	session session
}

// ServerHello is what a server answers, as far as rows tell it.
type ServerHello struct {
	Version uint16 // that was chosen
	Cipher  uint16 // suite that was chosen
	ALPN    string // that was chosen; from TLS 1.3 on it is encrypted
	retry   bool   // the client shall say hello again, otherwise
	psk     bool   // a key of an earlier connection is used
	session session
}

// session is a session's id.
type session struct {
	id [maxSession]byte
	n  uint8
}

func (s *session) set(b []byte) { s.n = uint8(copy(s.id[:], b)) }

// parse reads the body of the message, or what there is of it. It reports false
// where the message ends early, or makes no sense from there on.
func (h *ClientHello) parse(b []byte) bool {
	*h = ClientHello{}
	s := cryptobyte.String(b)
	var id, suites, methods cryptobyte.String
	const versionAndRandom = 2 + 32
	if !s.Skip(versionAndRandom) || !s.ReadUint8LengthPrefixed(&id) ||
		!s.ReadUint16LengthPrefixed(&suites) || !s.ReadUint8LengthPrefixed(&methods) {
		return false
	}
	h.session.set(id)
	return eachExtension(s, h.extension)
}

func (h *ClientHello) extension(kind uint16, data cryptobyte.String) bool {
	switch kind {
	case serverName:
		return h.readName(data)
	case alpn:
		return h.readProtocols(data)
	case encryptedHello:
		const outer = 0
		h.ECH = len(data) > 0 && data[0] == outer
	case earlyData:
		h.EarlyData = true
	}
	return true
}

// readName takes the first name of a host; RFC 6066, section 3, knows no other
// kind.
func (h *ClientHello) readName(data cryptobyte.String) bool {
	var list, name cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) {
		return false
	}
	for !list.Empty() {
		const hostName = 0
		var kind uint8
		if !list.ReadUint8(&kind) || !list.ReadUint16LengthPrefixed(&name) {
			return false
		}
		if kind == hostName && h.ServerName == "" {
			h.Cut = h.Cut || len(name) > maxName
			h.ServerName = string(name[:min(len(name), maxName)])
		}
	}
	return true
}

func (h *ClientHello) readProtocols(data cryptobyte.String) bool {
	var list, name cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) {
		return false
	}
	for !list.Empty() {
		switch {
		case !list.ReadUint8LengthPrefixed(&name):
			return false
		case isGREASE(name):
		case len(h.ALPN) == maxProtocols:
			h.Cut = true
		default:
			h.ALPN = append(h.ALPN, string(name))
		}
	}
	return true
}

// isGREASE reports whether a protocol is one of those that RFC 8701 has clients
// offer so that servers learn to bear unknown ones.
func isGREASE(name []byte) bool { return len(name) == 2 && name[0] == name[1] && name[0]&0xf == 0xa }

// parse reads the body of the message, as ClientHello's does.
func (h *ServerHello) parse(b []byte) bool {
	*h = ServerHello{}
	s := cryptobyte.String(b)
	var random []byte
	var id cryptobyte.String
	const compression = 1
	if !s.ReadUint16(&h.Version) || !s.ReadBytes(&random, 32) || !s.ReadUint8LengthPrefixed(&id) ||
		!s.ReadUint16(&h.Cipher) || !s.Skip(compression) {
		return false
	}
	h.session.set(id)
	again := sha256.Sum256([]byte("HelloRetryRequest")) // RFC 8446, section 4.1.3
	h.retry = bytes.Equal(random, again[:])
	return eachExtension(s, h.extension)
}

func (h *ServerHello) extension(kind uint16, data cryptobyte.String) bool {
	switch kind {
	case supportedVersions:
		return data.ReadUint16(&h.Version)
	case preSharedKey:
		h.psk = true
	case alpn:
		var list, name cryptobyte.String
		if !data.ReadUint16LengthPrefixed(&list) || !list.ReadUint8LengthPrefixed(&name) {
			return false
		}
		h.ALPN = string(name)
	}
	return true
}

// resumes reports whether the server goes on with a session of the client's. Up
// to TLS 1.2 it repeats that session's id, a client with a ticket having made
// one up (RFC 5077, section 3.4).
func (h *ServerHello) resumes(c *ClientHello) bool {
	if h.Version >= Encrypts {
		return h.psk
	}
	return h.session.n > 0 && h.session == c.session
}

// eachExtension calls do for each extension as far as they go; hellos of
// SSL 3.0 and TLS 1.0 may have none.
func eachExtension(s cryptobyte.String, do func(kind uint16, data cryptobyte.String) bool) bool {
	if s.Empty() {
		return true
	}
	var length uint16
	if !s.ReadUint16(&length) {
		return false
	}
	whole := int(length) <= len(s)
	s = s[:min(int(length), len(s))]
	for !s.Empty() {
		var kind uint16
		var data cryptobyte.String
		if !s.ReadUint16(&kind) || !s.ReadUint16LengthPrefixed(&data) || !do(kind, data) {
			return false
		}
	}
	return whole
}

// VersionName returns a version as its number, 1.3; SSLv3 as that.
func VersionName(version uint16) string { return strings.TrimPrefix(tls.VersionName(version), "TLS ") }

// CipherName returns a suite's name in IANA's registry, or for those that
// crypto/tls has none of, its number.
func CipherName(suite uint16) string { return tls.CipherSuiteName(suite) }
