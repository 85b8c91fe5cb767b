package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/netfate/netfate/internal/agent"
	"github.com/netfate/netfate/internal/api"
	"github.com/netfate/netfate/internal/config"
	"github.com/netfate/netfate/internal/enrich/identity"
	"github.com/netfate/netfate/internal/enrich/netns"
	"github.com/netfate/netfate/internal/filter"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/verdict"
	"github.com/netfate/netfate/internal/webui"
)

// usualConfig is the file that is read unless told otherwise; it need not be there.
const usualConfig = "/etc/netfate/netfate.yaml"

func newServe() *cobra.Command {
	var path, read, instead string
	var check, defaults bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "The daemon: watch all, keep it, answer over HTTP",
		Long: `Serve watches everything that this kernel lets it watch, keeps what it saw, and
answers over HTTP: on a unix socket and on loopback, unless the configuration says
otherwise. A sensor that does not work here is left out and told.

With -r it watches nothing, needs no privileges, and tells of a recording instead, as if
its end were now. Then there is no unix socket, and the port is a free one where another
netfate has the usual one.

SIGHUP reads the configuration again and takes over what it can, the token and the
certificate included. SIGTERM ends: what is attached is taken off, rows are written.`,
		Example: `  sudo netfate serve
  netfate serve --print-config            every key, its meaning and its default
  netfate serve --check --config FILE     is a file right?
  netfate serve -r night.nfr              a recording, in the web page
  sudo netfate serve --history clickhouse://netfate@db.example:8123/netfate
  curl --unix-socket /run/netfate/netfate.sock http://netfate/api/v1/status`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if defaults {
				return config.Write(os.Stdout, config.Default())
			}
			if read != "" && (check || instead != "") {
				return usagef("-r shows a recording: leave out --check and --history")
			}
			if read != "" && !cmd.Flags().Changed("config") {
				return serveRecording(cmd.Context(), config.Default(), read) // what the daemon's file names may be for root alone
			}
			load := func() (config.Config, error) {
				cfg, err := loadConfig(path, cmd.Flags().Changed("config"))
				if err == nil && instead != "" {
					cfg.History.Path = instead
					err = cfg.Check()
				}
				return cfg, err
			}
			cfg, err := load()
			if err != nil {
				return usageError{err}
			}
			if check {
				_, err := filter.Programs(cmd.Context(), cfg.Sensors.Filter)
				return refusal(cfg.Sensors.Filter, err)
			}
			if read != "" {
				return serveRecording(cmd.Context(), cfg, read)
			}
			return serve(cmd.Context(), cfg, load)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&path, "config", usualConfig, "configuration `file`; the usual one need not be there")
	f.StringVarP(&read, "read", "r", "", "show this recording `file` and watch nothing; needs no privileges")
	f.StringVar(&instead, "history", "", "instead of history.path: a `file`, none, or clickhouse://USER@HOST:PORT/DATABASE")
	f.BoolVar(&check, "check", false, "only say whether the configuration is right")
	f.BoolVar(&defaults, "print-config", false, "print every key with its meaning and its default")
	return cmd
}

func loadConfig(path string, must bool) (config.Config, error) {
	cfg, err := config.Load(path)
	if errors.Is(err, fs.ErrNotExist) && !must {
		return config.Default(), nil
	}
	return cfg, err
}

// say writes a line for whoever runs the program.
func say(format string, args ...any) {
	fmt.Fprintln(os.Stderr, "netfate: "+tongue().Sprintf(format, args...))
}

// serve runs the daemon until ctx is done.
func serve(ctx context.Context, cfg config.Config, load func() (config.Config, error)) (err error) {
	watch, err := watching(ctx, &cfg)
	if err != nil {
		return err
	}
	store, err := openStore(&cfg.History)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	costs := newCostMeter(store)
	watch.Costs = costs.take
	var server *api.Server
	exports, err := newExports(&cfg.Export, costs, func() []record.Lost { return losses(server) })
	if err != nil {
		return err
	}
	about, err := thisHost(ctx)
	if err != nil {
		return err
	}
	if server, err = newServer(&cfg, about, store, costs, exports); err != nil {
		return err
	}
	if err := server.Listen(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	all.Go(func() { cancel(server.Serve(ctx)) })
	all.Go(func() { reload(ctx, cfg, load, server) })
	pulse := newPulse(cfg.Interval)
	err = agent.Run(ctx, watch, append([]agent.Output{
		{Name: "the history", Sink: &keeper{store: store, lose: server.Lose}},
		{Name: "the API", Sink: server.Events()},
		{Name: "the watchdog", Sink: pulse},
	}, exports.outputs...), func(lacks []string) {
		for _, l := range lacks {
			say("note: %s", tongue().Translate(l))
		}
		dropCapabilities()
		server.Confined(confined(costs.child() > 0))
		for _, a := range server.Addrs() {
			say("listening on %v", a)
		}
		all.Go(func() { pulse.run(ctx) })
		notify(daemon.SdNotifyReady)
	})
	notify(daemon.SdNotifyStopping)
	cancel(nil)
	all.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(err, cause)
	}
	return err
}

// watching says what is watched, in the agent's words.
func watching(ctx context.Context, cfg *config.Config) (agent.Config, error) {
	s := &cfg.Sensors
	pair, err := filter.Programs(ctx, s.Filter)
	if err != nil {
		return agent.Config{}, refusal(s.Filter, err)
	}
	book, err := verdict.New()
	if err != nil {
		return agent.Config{}, err
	}
	sources, err := namers(&cfg.Identity)
	if err != nil {
		return agent.Config{}, err
	}
	return agent.Config{
		Drops: s.Drops, Flows: s.Flows, Conns: s.Conns, Queries: s.Queries, Requests: s.Requests, Plaintext: s.TLS, Ledger: s.Ledger,
		Names: s.Names && (s.Drops || s.Flows || s.Conns), Secrets: s.Secrets, Budget: s.Budget, Filter: pair, Interval: cfg.Interval,
		Book: book, Partial: true, Measure: s.Measure,
		Containers: identity.New(func(text string) { say("%s", text) }, sources...),
	}, nil
}

// namers are who is asked what containers and pods are called.
func namers(cfg *config.Identity) ([]identity.Source, error) {
	sources, err := identity.Runtimes(cfg.Runtimes)
	if err != nil {
		return nil, usagef("identity.runtimes: %w", err)
	}
	if p := cfg.Pods; p.URL != "" {
		sources = append(sources, &identity.Pods{URL: p.URL, TokenFile: p.TokenFile, CAFile: p.CAFile, SkipVerify: p.SkipVerify})
	}
	return sources, nil
}

// losses returns what a server has been told is lost.
func losses(s *api.Server) (all []record.Lost) {
	for _, l := range s.Losses() {
		all = append(all, record.Lost{Place: l.Place, Reason: l.Reason, Count: l.Count, Effect: l.Effect})
	}
	return all
}

// thisHost says what this daemon is, and what its kernel can.
func thisHost(ctx context.Context) (api.About, error) {
	host, err := os.Hostname()
	if err != nil {
		return api.About{}, fmt.Errorf("read the host's name: %w", err)
	}
	about := api.About{Host: host, Version: version(), Started: time.Now().UTC(), Kernel: api.Kernel{Release: kernel.ReadFacts().Release, Features: []api.Feature{}}}
	for _, c := range kernel.Probe(ctx) {
		about.Kernel.Features = append(about.Kernel.Features, api.Feature{Name: c.Name, OK: c.OK, Costs: c.Costs})
	}
	return about, nil
}

func newServer(cfg *config.Config, about api.About, store history.Store, costs *costMeter, exports *exports) (*api.Server, error) {
	books, err := allBooks()
	if err != nil {
		return nil, err
	}
	var metrics http.Handler
	if cfg.Export.Prometheus.Metrics {
		metrics = exports.metrics.Handler()
	}
	return api.New(api.Config{
		API: cfg.API, Page: webui.Handler(), Store: store, Books: books, About: about, Costs: costs.costs,
		Path:    func(ctx context.Context, inode uint32) string { return pathOf(ctx, netns.New(netns.Config{}), inode) },
		Objects: func(ctx context.Context) (api.Objects, error) { return objects(ctx, cfg.Sensors.Measure) },
		Metrics: metrics, Exports: exports.status,
		// Strangers' faults are theirs: a scan of ports must not fill the log.
		Base: &http.Server{ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Second},
		Log:  func(line string) { say("%s", line) },
	})
}

// reload takes over what it can at each SIGHUP.
func reload(ctx context.Context, cfg config.Config, load func() (config.Config, error), server *api.Server) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		notify(daemon.SdNotifyReloading)
		next, err := load()
		if err == nil {
			err = server.Reload(next.API)
		}
		if err != nil {
			say("nothing is taken over: %v", err)
		} else {
			taken, restart := config.Changed(&cfg, &next)
			say("configuration read again; taken over: %s", listed(taken))
			if len(restart) > 0 {
				say("these need a restart: %s", listed(restart))
			}
			cfg.API = next.API
		}
		notify(daemon.SdNotifyReady)
	}
}
