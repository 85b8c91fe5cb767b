package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/netfate/netfate/internal/config"
	"github.com/netfate/netfate/internal/record"
)

type listener struct {
	net.Listener
	trust trust
}

// Bounds of a request; what a client says slower or longer is cut off.
const (
	headTime = 5 * time.Second
	bodyTime = 15 * time.Second
	idleTime = 2 * time.Minute
	maxHead  = 16 << 10
	endTime  = 3 * time.Second // that answers have to finish in the end
)

// Listen opens all addresses, or none.
func (s *Server) Listen(ctx context.Context) error {
	for _, text := range s.cfg.API.Listen {
		if err := s.listen(ctx, text); err != nil {
			for _, l := range s.listens {
				err = errors.Join(err, l.Close())
			}
			s.listens = nil
			return err
		}
	}
	return nil
}

func (s *Server) listen(ctx context.Context, text string) error {
	at, err := config.ParseListen(text)
	if err != nil {
		return fmt.Errorf("api.listen: %w", err)
	}
	if at.Socket() {
		l, err := s.socket(ctx, at.Path)
		if err != nil {
			return err
		}
		s.listens = append(s.listens, s.bounded(l, bySocket))
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", at.Addr.String())
	if err != nil {
		return fmt.Errorf("api.listen: %w", err)
	}
	if at.Loopback() {
		s.listens = append(s.listens, s.bounded(l, byLoopback))
		return nil
	}
	bound := s.bounded(l, byNetwork)
	if bound.Listener, err = s.secured(bound); err != nil {
		return errors.Join(err, l.Close())
	}
	s.listens = append(s.listens, bound)
	return nil
}

// bounded is a listener with as many connections as it may have.
func (s *Server) bounded(l net.Listener, t trust) listener {
	return listener{newBounded(l, t, s.cfg.API.Clients, s.lost), t}
}

// secured puts TLS around a listener; it does not without a certificate.
func (s *Server) secured(l net.Listener) (net.Listener, error) {
	now := s.live.Load()
	if now.cert == nil || now.token == nil && now.api.TLS.ClientCA == "" {
		return nil, fmt.Errorf("api.listen: %v can be reached from other hosts, and there is no certificate, or neither token nor client_ca", l.Addr())
	}
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.live.Load().cert, nil },
	}
	if now.api.TLS.ClientCA != "" {
		text, err := os.ReadFile(now.api.TLS.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("read api.tls.client_ca: %w", err)
		}
		cfg.ClientCAs = x509.NewCertPool()
		if !cfg.ClientCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read api.tls.client_ca: no certificate in %s", now.api.TLS.ClientCA)
		}
		cfg.ClientAuth = tls.VerifyClientCertIfGiven
		if now.token == nil {
			cfg.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	return tls.NewListener(l, cfg), nil
}

// socket listens on a unix socket. One that a daemon left which was killed is
// taken away, one that answers is not.
func (s *Server) socket(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("api.listen: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		// To connect to what is no socket is refused as well.
		if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("api.listen: %s is in the way, and no socket", path)
		}
		var d net.Dialer
		c, dialErr := d.DialContext(ctx, "unix", path)
		switch {
		case dialErr == nil:
			return nil, errors.Join(fmt.Errorf("api.listen: another netfate serve answers at %s", path), c.Close())
		case !errors.Is(dialErr, syscall.ECONNREFUSED):
			return nil, fmt.Errorf("api.listen: %s is in the way: %w", path, dialErr)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("api.listen: %w", err)
		}
		l, err = lc.Listen(ctx, "unix", path)
	}
	if err != nil {
		return nil, fmt.Errorf("api.listen: %w", err)
	}
	if err := s.permit(path); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// permit gives a socket its group and its permissions, in this order.
func (s *Server) permit(path string) error {
	if name := s.cfg.API.SocketGroup; name != "" {
		g, err := user.LookupGroup(name)
		if err != nil {
			return fmt.Errorf("api.socket_group: %w", err)
		}
		gid, err := strconv.Atoi(g.Gid)
		if err != nil {
			return fmt.Errorf("api.socket_group: %w", err)
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return fmt.Errorf("api.socket_group: %w", err)
		}
	}
	if err := os.Chmod(path, os.FileMode(s.cfg.API.SocketMode)); err != nil {
		return fmt.Errorf("api.socket_mode: %w", err)
	}
	return nil
}

// Addrs returns where the server listens.
func (s *Server) Addrs() (addrs []net.Addr) {
	for _, l := range s.listens {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// Serve answers on what Listen opened until ctx is done, and closes that.
func (s *Server) Serve(ctx context.Context) error {
	var all sync.WaitGroup
	errs := make([]error, len(s.listens))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, l := range s.listens {
		server := &http.Server{
			Handler: s.guarded(l.trust), ReadHeaderTimeout: headTime, ReadTimeout: bodyTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHead,
			WriteTimeout: s.live.Load().api.QuestionTime + bodyTime, // events have their own
		}
		if s.cfg.Base != nil {
			server.ErrorLog = s.cfg.Base.ErrorLog
		}
		all.Go(func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				errs[i] = fmt.Errorf("serve %v: %w", l.Addr(), err)
				cancel() // half a server would be found out too late
			}
		})
		all.Go(func() {
			<-ctx.Done()
			_ = s.events.Close() // or its clients would be waited for
			late, stop := context.WithTimeout(context.WithoutCancel(ctx), endTime)
			defer stop()
			if server.Shutdown(late) != nil {
				_ = server.Close() // what is still open has had its time
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Events is the sink that clients follow; it never makes the pump wait.
func (s *Server) Events() interface {
	Batch(b *record.Batch) error
	Close() error
} {
	return s.events
}
