package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/config"
)

// settings are what Reload changes.
type settings struct {
	api   config.API
	token *[sha256.Size]byte // of the token; nil if there is none
	cert  *tls.Certificate   // nil if there is none
	hosts []string           // that browsers may call this host by
}

const (
	// minToken is how short a token may be: 128 bits as hexadecimal have 32.
	minToken = 16
	maxToken = 4096
)

// Reload takes over what may change while the server runs, and reads its files
// again. If they cannot be read, nothing changes.
func (s *Server) Reload(api config.API) error {
	next := &settings{api: api, hosts: append([]string{"localhost"}, lower(api.Hosts)...)}
	if api.TokenFile != "" {
		token, err := readToken(api.TokenFile)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(token)
		next.token = &sum
	}
	if api.TLS.Cert != "" {
		cert, err := tls.LoadX509KeyPair(api.TLS.Cert, api.TLS.Key)
		if err != nil {
			return fmt.Errorf("read api.tls.cert and api.tls.key: %w", err)
		}
		next.cert = &cert
		if cert.Leaf != nil {
			next.hosts = append(next.hosts, lower(cert.Leaf.DNSNames)...)
		}
	}
	s.live.Store(next)
	s.clients.limit(api.Rate, api.Burst)
	return nil
}

func lower(names []string) (out []string) {
	for _, n := range names {
		out = append(out, strings.ToLower(n))
	}
	return out
}

func readToken(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read api.token_file: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("read api.token_file: everybody may use %s; chmod o= takes that away", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read api.token_file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if len(token) < minToken || len(token) > maxToken {
		return nil, fmt.Errorf("read api.token_file: a token of %d bytes; it must have %d to %d, for example from openssl rand -hex 32", len(token), minToken, maxToken)
	}
	return []byte(token), nil
}

// trust says how far a listener's clients are trusted.
type trust int

const (
	bySocket   trust = iota // whoever may write to the socket
	byLoopback              // users of this host
	byNetwork               // nobody without token or certificate
)

// guarded wraps the routes for one listener: what comes through it is as safe as
// that listener needs.
func (s *Server) guarded(t trust) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusForbidden, otherOrigin)
	}))
	inner := crossOrigin.Handler(tagged(s.routes))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		if s.cfg.Recording != nil {
			w.Header().Set(timeHeader, s.now().UTC().Format(time.RFC3339))
		}
		if r.ContentLength > maxBody {
			problem(w, http.StatusRequestEntityTooLarge, "a body has 64 KiB at the most")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		// A name that resolves to this host's address makes a page of somebody else's
		// look like ours to a browser, which then lets it read answers (DNS rebinding).
		if t != bySocket && !s.called(r.Host) {
			problem(w, http.StatusMisdirectedRequest, "this host is not called so here; api.hosts lists the names that it is called by")
			return
		}
		if !s.clients.allow(client(t, r.RemoteAddr)) {
			s.lost.add("api", "requests over the limit", 1, "these requests were not answered; api.rate bounds them")
			w.Header().Set("Retry-After", "1")
			problem(w, http.StatusTooManyRequests, "more requests than one client may make; api.rate and api.burst bound them")
			return
		}
		if r.URL.Path != "/healthz" && !s.allowed(t, r) {
			// A browser asks for it, and sends it with events too.
			w.Header().Add("WWW-Authenticate", `Bearer realm="netfate"`)
			w.Header().Add("WWW-Authenticate", `Basic realm="netfate", charset="UTF-8"`)
			problem(w, http.StatusUnauthorized, "show the token of api.token_file: Authorization: Bearer TOKEN, or as a password")
			return
		}
		if foreign(r) {
			problem(w, http.StatusForbidden, otherOrigin)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// otherOrigin is what a page of somebody else's is told.
const otherOrigin = "this comes from a page of another origin"

// foreign reports whether a page of another origin has a browser ask. It cannot read
// the answer, but could have this host work on it; links, which people follow, are let
// through.
func foreign(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return (site == "cross-site" || site == "same-site") && r.Header.Get("Sec-Fetch-Dest") != "document"
}

// secure sets what browsers shall not do with an answer.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache") // ask each time, with the tag
}

// called reports whether a request's Host is a name of ours. An address cannot be
// rebound.
func (s *Server) called(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return slices.Contains(s.live.Load().hosts, strings.TrimSuffix(strings.ToLower(name), "."))
}

// allowed reports whether a client may ask.
func (s *Server) allowed(t trust, r *http.Request) bool {
	now := s.live.Load()
	switch {
	case t == bySocket, t == byLoopback && !now.api.LoopbackToken:
		return true
	case t == byNetwork && r.TLS != nil && len(r.TLS.VerifiedChains) > 0:
		return true
	case now.token == nil:
		return false
	}
	shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, shown, ok = r.BasicAuth()
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(shown)))
	return subtle.ConstantTimeCompare(sum[:], now.token[:]) == 1 && ok
}

// client is who counts for what comes from an address: the host, of IPv6 the network
// that one host usually has.
func client(t trust, remote string) string {
	if t == bySocket {
		return "socket"
	}
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	a := at.Addr().Unmap().WithZone("")
	if p, err := a.Prefix(64); err == nil && a.Is6() && !a.IsLoopback() {
		return p.String()
	}
	return a.String()
}
