// Package tlslib finds where in a program or a library bytes go into TLS and
// come out of it: the functions of OpenSSL, BoringSSL, GnuTLS and Go's
// crypto/tls, with the places that they return from where these have to be
// known.
//
// It reads one ELF file, which anybody may have made, and knows neither
// processes nor probes. The sensor of TLS imports it.
package tlslib

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"slices"
)

// What is what a place in a file means to its connection.
type What uint8

// What there is. The C functions have one place each, where they begin.
const (
	Write     What = iota // int f(connection, buffer, size, …), of bytes to send
	Read                  // the same, of bytes received
	WriteEx               // int f(connection, buffer, size, size_t *done)
	ReadEx                // the same, of bytes received
	Client                // f(connection): a client's handshake begins
	Server                // f(connection): a server's handshake begins
	Handshake             // f(connection): a handshake begins, or goes on
	Connect               // f(connection): a client's handshake begins, or goes on
	Accept                // f(connection): the same of a server
	Free                  // f(connection): it is over
	GoWrite               // (*Conn).Write of Go begins
	GoRead                // (*Conn).Read of Go begins
	GoReturn              // one of the two returns
	GoClient              // (*Conn).clientHandshake of Go begins
	GoServer              // (*Conn).serverHandshake of Go begins
	GoClose               // (*Conn).Close of Go begins
)

// Returns reports whether w is of a function of C whose return tells how many
// bytes it came to.
func (w What) Returns() bool { return w <= ReadEx }

// Site is one place in a file.
type Site struct {
	Function string // SSL_write
	What     What
	Offset   uint64 // in the file
}

// ErrNone says that a file has no function of TLS of its own.
var ErrNone = errors.New("no functions of TLS")

// wanted returns what the functions of C are, by their names. SSL_peek takes
// nothing, and SSL_sendfile has no bytes to see.
func wanted() map[string]What {
	return map[string]What{
		"SSL_write":             Write,
		"SSL_read":              Read,
		"SSL_write_ex":          WriteEx,
		"SSL_read_ex":           ReadEx,
		"SSL_set_connect_state": Client,
		"SSL_set_accept_state":  Server,
		"SSL_connect":           Connect,
		"SSL_accept":            Accept,
		"SSL_free":              Free,

		"gnutls_record_send":     Write,
		"gnutls_record_send2":    Write,
		"gnutls_record_recv":     Read,
		"gnutls_record_recv_seq": Read,
		"gnutls_handshake":       Handshake,
		"gnutls_deinit":          Free,
	}
}

// Find returns the places of a file, by offset. The error is [ErrNone] if there
// are none to be found, or says why they cannot be.
func Find(r io.ReaderAt) ([]Site, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != machine {
		return nil, fmt.Errorf("%w that this machine runs as its own: it is for %v", ErrNone, f.Machine)
	}
	if version, ok := goVersion(f, r); ok {
		sites, err := findGo(f, version)
		if err == nil || !errors.Is(err, ErrNone) {
			return sites, err
		}
		// A program of Go may have C linked into it.
	}
	return findC(f)
}

// findC finds the functions of C that the file defines.
func findC(f *elf.File) ([]Site, error) {
	names := wanted()
	found, err := symbols(f, slices.Collect(keys(names)))
	if err != nil {
		return nil, err
	}
	// OpenSSL's SSL_connect calls SSL_set_connect_state, which is told once a
	// connection; BoringSSL has that in line, and no SSL_read_ex.
	open := slices.ContainsFunc(found, func(s symbol) bool { return names[s.name] == ReadEx })
	var sites []Site
	for _, s := range found {
		if what := names[s.name]; open && (what == Connect || what == Accept) {
			continue
		}
		offset, ok := offsetOf(f, s.address)
		if !ok {
			return nil, fmt.Errorf("%s is at %#x, where the file has no code", s.name, s.address)
		}
		site := Site{Function: s.name, What: names[s.name], Offset: offset}
		if !slices.ContainsFunc(sites, func(o Site) bool { return o.What == site.What && o.Offset == offset }) {
			sites = append(sites, site)
		}
	}
	if !slices.ContainsFunc(sites, func(s Site) bool { return s.What.Returns() }) {
		return nil, ErrNone
	}
	return sorted(sites), nil
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func sorted(sites []Site) []Site {
	slices.SortFunc(sites, func(a, b Site) int {
		if a.Offset != b.Offset {
			return int(int64(a.Offset) - int64(b.Offset))
		}
		return int(a.What) - int(b.What)
	})
	return sites
}

// offsetOf returns where in the file the code at an address is.
func offsetOf(f *elf.File, address uint64) (offset uint64, ok bool) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && address >= p.Vaddr && address-p.Vaddr < p.Filesz {
			return address - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}
