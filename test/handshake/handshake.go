// Package handshake has Go's own TLS client and server speak, and notes what
// they say: for tests of what reads it.
package handshake

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

// Said is what one side wrote at once.
type Said struct {
	Server bool // it was the server
	Data   []byte
}

// wire notes what both sides of a connection write, in order.
type wire struct {
	mu   sync.Mutex
	said []Said
}

// tap is one end of it.
type tap struct {
	net.Conn
	wire   *wire
	server bool
}

func (c *tap) Write(b []byte) (int, error) {
	c.wire.mu.Lock()
	c.wire.said = append(c.wire.said, Said{c.server, bytes.Clone(b)})
	c.wire.mu.Unlock()
	return c.Conn.Write(b)
}

// Talk has Go's own client and server speak TLS, with an echoed word if they
// come to terms, and returns what was on the wire.
func Talk(t testing.TB, client, server *tls.Config) []Said {
	t.Helper()
	var w wire
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan error)
	go func() {
		c, err := listener.Accept()
		if err == nil {
			s := tls.Server(&tap{c, &w, true}, server)
			_, _ = io.Copy(s, s) // whatever goes wrong is what the test is about
			_ = s.Close()
		}
		done <- err
	}()
	a, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(&tap{a, &w, false}, client)
	if _, err := c.Write([]byte("hello")); err == nil {
		_, _ = io.ReadFull(c, make([]byte, 5))
	}
	_ = c.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return w.said
}

// Identity is a certificate for a name, signed by itself, and a pool that
// trusts it.
func Identity(t testing.TB, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
