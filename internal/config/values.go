package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bytes is a size: 2GB, 512MB, 4096.
type Bytes int64

// units are the powers of a thousand, the largest first.
func units() []string { return []string{"TB", "GB", "MB", "kB"} }

// UnmarshalYAML implements yaml.Unmarshaler.
func (b *Bytes) UnmarshalYAML(n *yaml.Node) error {
	text, factor := strings.TrimSuffix(strings.TrimSpace(n.Value), "B"), int64(1)
	for i, unit := range units() {
		if rest, ok := strings.CutSuffix(text, unit[:1]); ok {
			text = rest
			for range len(units()) - i {
				factor *= 1000
			}
			break
		}
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if n.Kind != yaml.ScalarNode || err != nil || math.IsNaN(v) || v < 0 || v*float64(factor) > 1<<60 {
		return fmt.Errorf("line %d: %q is no size; write it as 2GB or 512MB", n.Line, n.Value)
	}
	*b = Bytes(v * float64(factor))
	return nil
}

// String returns the size with the largest unit that it is a multiple of.
func (b Bytes) String() string {
	factor := Bytes(1e12)
	for _, unit := range units() {
		if b >= factor && b%factor == 0 {
			return strconv.FormatInt(int64(b/factor), 10) + unit
		}
		factor /= 1000
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalYAML implements yaml.Marshaler.
func (b Bytes) MarshalYAML() (any, error) { return b.String(), nil }

// Mode is the permissions of a file, in octal.
type Mode uint32

// UnmarshalYAML implements yaml.Unmarshaler.
func (m *Mode) UnmarshalYAML(n *yaml.Node) error {
	v, err := strconv.ParseUint(strings.TrimPrefix(n.Value, "0o"), 8, 16)
	if n.Kind != yaml.ScalarNode || err != nil {
		return fmt.Errorf("line %d: %q is no mode; write it as 0660", n.Line, n.Value)
	}
	*m = Mode(v)
	return nil
}

// String returns the mode as chmod(1) takes it.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalYAML implements yaml.Marshaler: plain text, since 0660 is a number of
// another base for some readers.
func (m Mode) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: m.String(), Style: yaml.DoubleQuotedStyle}, nil
}

// Listen is one entry of API.Listen.
type Listen struct {
	Path string         // of a unix socket; empty for an address
	Addr netip.AddrPort // port 0 takes a free one
}

// ParseListen reads one.
func ParseListen(text string) (Listen, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		// sun_path has 108 bytes, with the end (unix(7)).
		if !filepath.IsAbs(path) || len(path) > 107 || strings.ContainsRune(path, 0) {
			return Listen{}, fmt.Errorf("%q is no absolute path of at most 107 bytes", path)
		}
		return Listen{Path: path}, nil
	}
	if port, ok := strings.CutPrefix(text, "localhost:"); ok {
		text = "127.0.0.1:" + port
	}
	addr, err := netip.ParseAddrPort(text)
	if err != nil {
		return Listen{}, fmt.Errorf("%q is neither unix:PATH nor ADDRESS:PORT, as 127.0.0.1:7323", text)
	}
	return Listen{Addr: addr}, nil
}

// Socket reports whether it is a unix socket.
func (l Listen) Socket() bool { return l.Path != "" }

// Loopback reports whether only this host can connect to the address.
func (l Listen) Loopback() bool { return l.Addr.Addr().Unmap().IsLoopback() }

// String is the inverse of ParseListen.
func (l Listen) String() string {
	if l.Socket() {
		return "unix:" + l.Path
	}
	return l.Addr.String()
}

// Collector is who flows are sent to.
type Collector struct {
	Network string // udp or tcp
	Addr    string // host:port
}

// ParseCollector reads one.
func ParseCollector(text string) (Collector, error) {
	network, addr, _ := strings.Cut(text, ":")
	host, port, err := net.SplitHostPort(addr)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || n == 0 || host == "" || network != "udp" && network != "tcp" {
		return Collector{}, fmt.Errorf("%q is neither udp:HOST:PORT nor tcp:HOST:PORT, as udp:192.0.2.1:4739", text)
	}
	return Collector{Network: network, Addr: addr}, nil
}
