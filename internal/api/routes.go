package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/netfate/netfate/internal/history"
)

// maxBody bounds what a client may send: a statement of SQL, at the most.
const maxBody = 64 << 10

// register adds every operation.
func (s *Server) register(a huma.API) {
	get(a, "status", "/status", "What is watched, what it costs and what was lost", s.status)
	get(a, "schema", "/schema", "Kinds of records and their fields", s.schema)
	get(a, "rows", "/rows/{kind}", "Records, the newest first", s.rows)
	get(a, "groups", "/groups/{kind}", "Sums by fields, the largest first", s.groups)
	get(a, "series", "/series/{kind}", "A measure over time, by fields", s.series)
	get(a, "fate", "/fate", "The ledger of a range: where packets went", s.fate)
	get(a, "graph", "/graph", "Who talks to whom", s.graph)
	get(a, "latency", "/latency", "A heat map of latencies", s.latency)
	get(a, "explain", "/explain/{reason}", "What a drop reason means, with facts of this host", s.explain)
	get(a, "programs", "/programs", "The BPF programs and maps of the host, and whose they are", s.programs)
	huma.Register(a, huma.Operation{
		OperationID: "query", Method: http.MethodPost, Path: prefix + "/query", Summary: "Ask the history in SQL",
		MaxBodyBytes: maxBody, Errors: refusals(http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType),
	}, s.query)
	huma.Register(a, huma.Operation{
		OperationID: "events", Method: http.MethodGet, Path: prefix + "/events", Summary: "What happens, as it happens",
		Description: "Server-sent events: one of each kind that has rows, each interval, its data an object of rows (as netfate -o json " +
			"prints them) and lost; then one named tick with the time. Clients that do not keep up are dropped and counted.",
		Errors: refusals(),
		Responses: map[string]*huma.Response{"200": {
			Description: "A stream that does not end",
			Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, s.stream)
}

// get registers an operation that reads.
func get[I, O any](a huma.API, id, path, summary string, answer func(context.Context, *I) (*O, error)) {
	huma.Register(a, huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: prefix + path, Summary: summary, Errors: refusals(http.StatusNotFound),
	}, answer)
}

// refusals are the errors that every operation may answer with, and more.
func refusals(more ...int) []int {
	return append([]int{
		http.StatusBadRequest, http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusMisdirectedRequest,
	}, more...)
}

// ask works on a question when there is room for it, for as long as one may take.
func ask[T any](ctx context.Context, s *Server, work func(context.Context) (T, error)) (answer T, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.live.Load().api.QuestionTime)
	defer cancel()
	select {
	case s.working <- struct{}{}:
		defer func() { <-s.working }()
	case <-ctx.Done():
		s.lost.add("api", "questions waited too long", 1, "these questions were not answered")
		return answer, huma.Error503ServiceUnavailable("other questions are being worked on; ask again later")
	}
	answer, err = work(ctx)
	return answer, s.refusal(err)
}

// refusal turns a store's error into an answer.
func (s *Server) refusal(err error) error {
	var ready huma.StatusError
	switch {
	case err == nil || errors.As(err, &ready):
		return err
	case errors.Is(err, history.ErrQuestion):
		return huma.Error400BadRequest(err.Error())
	case errors.Is(err, history.ErrLimit), errors.Is(err, context.DeadlineExceeded):
		s.lost.add("api", "questions took too much", 1, "these questions were not answered")
		return huma.Error503ServiceUnavailable(err.Error() + "; ask about less time or fewer fields")
	case errors.Is(err, context.Canceled):
		return huma.Error503ServiceUnavailable("the client is gone")
	}
	s.cfg.Log("answer a question: " + err.Error())
	return huma.Error500InternalServerError(err.Error())
}

// seconds returns a duration as clients get it.
func seconds(d time.Duration) float64 { return d.Seconds() }
