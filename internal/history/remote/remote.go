// Package remote asks a running netfate for what its history has, over the API at
// its unix socket: one process holds the file, so that others ask that one. It
// knows the API's words and no database. The commands import it.
package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
)

// DefaultSocket is where a daemon listens.
const DefaultSocket = "/run/netfate/netfate.sock"

// maxAnswer bounds the bytes of an answer, and maxProblem those of a refusal.
const (
	maxAnswer  = 256 << 20
	maxProblem = 64 << 10
)

// question is the body of POST /api/v1/query.
type question struct {
	SQL   string `json:"sql"`
	Limit int    `json:"limit,omitempty"`
}

// answer is that of its response.
type answer struct {
	Columns []struct {
		Name string `json:"name"`
		Type string `json:"type"`
		Unit string `json:"unit"`
	} `json:"columns"`
	Rows [][]json.RawMessage `json:"rows"`
	Cut  bool                `json:"cut"`
}

// problem is why there is none, as in RFC 9457.
type problem struct {
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

// SQL has the netfate that listens at socket answer a statement, as history.Store.SQL
// does. It gives up after l.Time, if that is not 0.
func SQL(ctx context.Context, socket, statement string, l history.Limits) (t history.Table, err error) {
	if l.Time > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.Time)
		defer cancel()
	}
	body, err := json.Marshal(question{statement, l.Rows})
	if err != nil {
		return t, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/api/v1/query", bytes.NewReader(body))
	if err != nil {
		return t, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	resp, err := client.Do(req)
	if errors.Is(err, context.DeadlineExceeded) {
		return t, fmt.Errorf("%w: no answer within %v", history.ErrLimit, l.Time)
	}
	if err != nil {
		return t, fmt.Errorf("ask netfate at %s: %w", socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return t, refused(resp)
	}
	t, err = read(resp.Body)
	if err != nil {
		return t, fmt.Errorf("read the answer of netfate at %s: %w", socket, err)
	}
	return t, nil
}

// refused is a response that is no answer, as an error.
func refused(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err != nil {
		return fmt.Errorf("read why it was refused (%s): %w", resp.Status, err)
	}
	var p problem
	text := resp.Status
	if json.Unmarshal(raw, &p) == nil && p.Title+p.Detail != "" {
		text = strings.TrimSuffix(strings.TrimPrefix(p.Detail, history.ErrQuestion.Error()+": "), ".")
		if text == "" {
			text = p.Title
		}
	}
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %s", history.ErrQuestion, text)
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusInsufficientStorage:
		return fmt.Errorf("%w: %s", history.ErrLimit, text)
	}
	return fmt.Errorf("netfate refuses: %s", text)
}

func read(body io.Reader) (t history.Table, err error) {
	var a answer
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(&a); err != nil {
		return t, err
	}
	t.Cut = a.Cut
	for _, c := range a.Columns {
		t.Columns = append(t.Columns, history.Column{Name: c.Name, Type: c.Type, Unit: c.Unit})
	}
	for _, raw := range a.Rows {
		if len(raw) != len(t.Columns) {
			return t, fmt.Errorf("a row has %d values and there are %d columns", len(raw), len(t.Columns))
		}
		row := make([]any, len(raw))
		for i := range raw {
			if row[i], err = value(raw[i], t.Columns[i].Type); err != nil {
				return t, fmt.Errorf("%s: %w", t.Columns[i].Name, err)
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

// value reads a value of a type of history.Column. What is not of it, an integer too
// large for 64 bits for instance, is as JSON has it.
func value(raw json.RawMessage, typ string) (any, error) {
	if string(raw) == "null" {
		return nil, nil
	}
	switch typ {
	case "uint":
		if v, err := as[uint64](raw); err == nil {
			return v, nil
		}
	case "int":
		if v, err := as[int64](raw); err == nil {
			return v, nil
		}
	case "time":
		if v, err := as[time.Time](raw); err == nil {
			return v, nil
		}
	case "strings":
		if v, err := as[[]string](raw); err == nil {
			return v, nil
		}
	}
	return as[any](raw)
}

func as[T any](raw json.RawMessage) (v T, err error) {
	err = json.Unmarshal(raw, &v)
	return v, err
}
