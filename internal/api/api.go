package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/netfate/netfate/internal/config"
	"github.com/netfate/netfate/internal/export"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/internal/verdict"
)

// Config is what an API answers with.
type Config struct {
	API   config.API
	Store history.Store
	// Books say what drops mean, one in each language; the first answers where no
	// language is asked for.
	Books []*verdict.Book
	// About is what does not change while the daemon runs.
	About About
	// Costs returns what the sensors and the process cost at the moment; nil if
	// nobody measures.
	Costs func() Costs
	// Path returns a file that enters a network namespace, "" if it is not known;
	// nil knows none.
	Path func(ctx context.Context, netns uint32) string
	// Objects returns the BPF programs and maps of the host; nil if none can be
	// asked for. Its error says what to do.
	Objects func(ctx context.Context) (Objects, error)
	// Metrics answers /metrics; nil if there are none.
	Metrics http.Handler
	// Recording is what is told of in place of a host that is watched; nil if one is.
	// Its end is the present then.
	Recording *Recording
	// Exports returns how the exporters fare; nil if there are none.
	Exports func() []export.Status
	// Page answers everything that is not the API's; nil for no page.
	Page http.Handler
	// Base has the ErrorLog of the servers, where faults of clients go; nil prints
	// them.
	Base *http.Server
	// Log takes one line of what an operator should know; nil drops it.
	Log func(line string)
}

// About is what a daemon is.
type About struct {
	Host    string
	Version string
	Started time.Time
	Kernel  Kernel
}

// Recording is a file that the rows come from.
type Recording struct {
	File  string    `json:"file"`
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// Server answers. Its methods may be called at the same time.
type Server struct {
	cfg     Config
	live    atomic.Pointer[settings]
	holds   atomic.Pointer[Confined]
	events  *hub
	working chan struct{} // one for each question that is worked on
	clients *clients
	lost    *losses
	looker  *looker
	routes  http.Handler
	doc     []byte // OpenAPI
	listens []listener
}

// New returns a server that does not listen yet. It reads the files that the
// configuration names.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = func(string) {}
	}
	lost := newLosses()
	s := &Server{
		cfg: cfg, working: make(chan struct{}, cfg.API.Questions), events: newHub(cfg.API.Clients, lost),
		clients: newClients(), lost: lost, looker: newLooker(),
	}
	if err := s.Reload(cfg.API); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	if err := s.describe(mux); err != nil {
		return nil, err
	}
	s.routes = mux
	return s, nil
}

// now is the present of what is told of.
func (s *Server) now() time.Time {
	if r := s.cfg.Recording; r != nil {
		return r.End
	}
	return time.Now()
}

// timeHeader has the present of a recording, in which times like 5m are meant.
const timeHeader = "Netfate-Time"

// Describe returns the OpenAPI document of the API, indented.
func Describe() ([]byte, error) {
	s := &Server{}
	if err := s.describe(http.NewServeMux()); err != nil {
		return nil, err
	}
	return s.doc, nil
}

// prefix is where the API is.
const prefix = "/api/v1"

// docVersion is that of the API, not of the program: it changes when an answer
// does.
const docVersion = "1.2.0"

// describe adds all operations to mux and makes the document of them.
func (s *Server) describe(mux *http.ServeMux) error {
	cfg := huma.DefaultConfig("netfate", docVersion)
	cfg.Info.Description = "What became of a host's network traffic: https://github.com/netfate/netfate, docs/api.md. " +
		"Kinds and fields are those of docs/reference/fields.md."
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", ""
	cfg.CreateHooks = nil // no $schema in each answer
	cfg.NoFormatFallback = false
	cfg.Formats = map[string]huma.Format{"application/json": harmless(), "json": harmless()}
	cfg.RejectUnknownQueryParameters = true
	a := humago.New(mux, cfg)
	s.register(a)
	// Twice as long as huma's own, since nothing is in it but what tools read.
	text, err := json.MarshalIndent(a.OpenAPI(), "", " ")
	if err != nil {
		return err
	}
	s.doc = append(text, '\n')
	mux.HandleFunc("GET /openapi.json", s.openAPI)
	mux.HandleFunc("GET /healthz", health)
	if s.cfg.Metrics != nil {
		mux.Handle("GET /metrics", s.cfg.Metrics)
	}
	mux.HandleFunc("/", s.page)
	return nil
}

// Lose counts what whoever feeds the store could not keep; it is in the status.
func (s *Server) Lose(place, reason string, n uint64, effect string) {
	s.lost.add(place, reason, n, effect)
}

// Confined says what confines the daemon from now on; it is in the status.
func (s *Server) Confined(c Confined) { s.holds.Store(&c) }

// Losses returns what was lost since the start, by place and reason.
func (s *Server) Losses() []Loss { return s.lost.list() }

func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/openapi+json")
	_, _ = w.Write(s.doc) // a client that is gone needs no answer
}

func health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

// page answers what is not the API's.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Page == nil || strings.HasPrefix(r.URL.Path, "/api/") {
		problem(w, http.StatusNotFound, "there is nothing at "+r.URL.Path+"; /openapi.json lists what there is")
		return
	}
	// A page has rules of its own for what it may load.
	w.Header().Del("Content-Security-Policy")
	s.cfg.Page.ServeHTTP(w, r)
}

// problem answers with an error (RFC 9457).
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(harmlessWriter{w}).Encode(huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail})
}

// harmless writes JSON in which no name can steer the terminal of who asks by curl.
func harmless() huma.Format {
	f := huma.DefaultJSONFormat
	inner := f.Marshal
	f.Marshal = func(w io.Writer, v any) error { return inner(harmlessWriter{w}, v) }
	return f
}

// harmlessWriter is for whole texts of JSON.
type harmlessWriter struct{ io.Writer }

// Write implements io.Writer.
func (w harmlessWriter) Write(text []byte) (int, error) {
	safe := record.AppendHarmlessJSON(make([]byte, 0, len(text)), text)
	if _, err := w.Writer.Write(safe); err != nil {
		return 0, err
	}
	return len(text), nil
}
