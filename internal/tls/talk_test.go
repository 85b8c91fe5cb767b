package tls_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/tls"
)

// said is what one side wrote at once.
type said struct {
	from tls.Side
	data []byte
}

// wire notes what both sides of a connection write, in order.
type wire struct {
	mu   sync.Mutex
	said []said
}

// tap is one end of it.
type tap struct {
	net.Conn
	wire *wire
	from tls.Side
}

func (c *tap) Write(b []byte) (int, error) {
	c.wire.mu.Lock()
	c.wire.said = append(c.wire.said, said{c.from, bytes.Clone(b)})
	c.wire.mu.Unlock()
	return c.Conn.Write(b)
}

// talk has Go's own client and server speak TLS, with an echoed word if they
// come to terms, and returns what was on the wire.
func talk(t testing.TB, client, server *stdtls.Config) []said {
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
			s := stdtls.Server(&tap{c, &w, tls.Server}, server)
			_, _ = io.Copy(s, s) // whatever goes wrong is what the test is about
			_ = s.Close()
		}
		done <- err
	}()
	a, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := stdtls.Client(&tap{a, &w, tls.Client}, client)
	if _, err := c.Write([]byte("hello")); err == nil {
		_, _ = io.ReadFull(c, make([]byte, 5))
	}
	_ = c.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return w.said
}

// read follows a talk in pieces of so many bytes; 0 is as they were said.
func read(talk []said, size int) *tls.Handshake {
	h := &tls.Handshake{}
	for _, s := range talk {
		for b := s.data; len(b) > 0; {
			n := len(b)
			if size > 0 {
				n = min(n, size)
			}
			h.Data(s.from, b[:n])
			b = b[n:]
		}
	}
	return h
}

// identity is a certificate for a name, signed by itself, and a pool that
// trusts it.
func identity(t testing.TB, name string) (stdtls.Certificate, *x509.CertPool) {
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
	return stdtls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
