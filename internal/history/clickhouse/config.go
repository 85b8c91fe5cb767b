package clickhouse

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Config says where the server is and what this host holds for it. Zero values are
// defaults.
type Config struct {
	// URL is clickhouse://USER@HOST:PORT/DATABASE, the port that of HTTP, or clickhouses://
	// over TLS. The user is "default" if it has none, the port 8123 or 8443, the
	// database netfate; the database is made if it is not there.
	URL      string
	Password string
	TLS      *tls.Config
	// Host is what this host is called, for records that do not say whose they are.
	Host string
	// ReadOnly is for those who only ask. Put is an error then, and nothing is made.
	ReadOnly bool
	// Spool is a directory of this store's own in which batches wait while the server is
	// away; empty is for memory.
	Spool string
	// MaxSpool is how many bytes of batches may wait, compressed, 0 for 1 GiB; with no directory
	// for 64 MiB. The oldest are dropped and counted.
	MaxSpool int64
	// MaxAge is how old rows may become before the days that they are of are deleted; 0
	// deletes none, and is for all hosts of a fleet but one.
	MaxAge time.Duration
	// Memory is what the server may take for a question, in bytes; 0 is for 1 GiB.
	Memory int64
	// MaxQueue is how many records may wait to be added up, 0 for 262,144; further
	// ones are dropped and counted.
	MaxQueue int64
	// MaxPending is how many rows of minutes that go on are held, 0 for 65,536; at
	// that many they are sent early.
	MaxPending int
	// Spread is how long after its end a minute is sent at the latest, 0 for 45 s. Each
	// host has a moment of its own.
	Spread time.Duration
	// Fresh is how old what a reader on this host sees of it may be, 0 for 10 s.
	Fresh time.Duration
	// Retry is the time between two attempts to reach a server that is away, 0 for 10 s.
	Retry time.Duration
	// Patience is how long an insert may take, 0 for 30 s.
	Patience time.Duration
	// Say is told in one line what a user has to know: that the server is away, that
	// it is back. It may be nil, and is called by the goroutine of Open and that of the
	// store.
	Say func(string)
}

func (c Config) withDefaults() Config {
	usualSpool := int64(1 << 30)
	if c.Spool == "" {
		usualSpool = 64 << 20
	}
	c.MaxSpool = cmp.Or(c.MaxSpool, usualSpool)
	c.Memory = cmp.Or(c.Memory, 1<<30)
	c.MaxQueue = cmp.Or(c.MaxQueue, 1<<18)
	c.MaxPending = cmp.Or(c.MaxPending, 1<<16)
	c.Spread = cmp.Or(c.Spread, 45*time.Second)
	c.Fresh = cmp.Or(c.Fresh, 10*time.Second)
	c.Retry = cmp.Or(c.Retry, 10*time.Second)
	c.Patience = cmp.Or(c.Patience, 30*time.Second)
	if c.Say == nil {
		c.Say = func(string) {}
	}
	return c
}

// The schemes of URLs: in the clear and over TLS.
const (
	Scheme       = "clickhouse"
	SecureScheme = "clickhouses"
)

// IsURL reports whether the place of a history is that of a ClickHouse, and no file.
func IsURL(path string) bool {
	return strings.HasPrefix(path, Scheme+"://") || strings.HasPrefix(path, SecureScheme+"://")
}

// Address is what a URL says.
type Address struct {
	Secure         bool
	Host           string // with the port
	User, Database string
}

// ParseURL reads Config.URL. A password in it is an error: it would be seen in lists of
// processes and in logs.
func ParseURL(text string) (a Address, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return a, errors.New("it is no URL") // whose text may hold a password
	}
	if _, has := u.User.Password(); has {
		return a, errors.New("it has a password: put that into a file of its own")
	}
	if u.Scheme != Scheme && u.Scheme != SecureScheme || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return a, fmt.Errorf("%q is no %s://USER@HOST:PORT/DATABASE", text, Scheme)
	}
	a = Address{Secure: u.Scheme == SecureScheme, User: cmp.Or(u.User.Username(), "default"), Database: cmp.Or(strings.TrimPrefix(u.Path, "/"), "netfate")}
	usual := "8123"
	if a.Secure {
		usual = "8443"
	}
	a.Host = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), usual))
	if !isName(a.Database) {
		return a, fmt.Errorf("a database called %q: letters, digits and _ are what it may have", a.Database)
	}
	return a, nil
}

// String is the address as a URL.
func (a Address) String() string {
	scheme := Scheme
	if a.Secure {
		scheme = SecureScheme
	}
	return fmt.Sprintf("%s://%s@%s/%s", scheme, url.PathEscape(a.User), a.Host, a.Database)
}

// isLoopback reports whether what is sent there does not leave this host.
func (a Address) isLoopback() bool {
	host, _, err := net.SplitHostPort(a.Host)
	ip, bad := netip.ParseAddr(host)
	return err == nil && (host == "localhost" || bad == nil && ip.Unmap().IsLoopback())
}

// isName reports whether a text needs no quotes as an identifier.
func isName(text string) bool {
	for i, c := range []byte(text) {
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return text != ""
}
