package clickhouse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
)

const (
	// maxAnswer bounds the bytes of an answer, and maxRefusal those of an error.
	maxAnswer  = 256 << 20
	maxRefusal = 64 << 10
	// dialTime is how long a connection may take to come about.
	dialTime = 5 * time.Second
)

// client speaks with a server. Its methods may be called at the same time.
type client struct {
	at       Address
	password string
	http     *http.Client
}

func newClient(cfg *Config, at Address) *client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig, t.Proxy, t.DialContext = cfg.TLS, nil, (&net.Dialer{Timeout: dialTime}).DialContext
	t.TLSHandshakeTimeout, t.MaxIdleConnsPerHost, t.DisableCompression = dialTime, 4, true
	return &client{at: at, password: cfg.Password, http: &http.Client{
		Transport: t,
		// Whoever sends us elsewhere would get the password.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// refusal is an error that the server tells.
type refusal struct {
	code int // of ErrorCodes.cpp, 0 if it tells none
	text string
}

// Error implements error.
func (r *refusal) Error() string { return r.text }

// The codes of errors (src/Common/ErrorCodes.cpp).
const (
	codeCannotParseText   = 6
	codeCannotParseNumber = 27
	codeEndOfData         = 32
	codeCannotReadAll     = 33
	codeTypeMismatch      = 53
	codeUnknownColumn     = 16
	codeUnknownTable      = 60
	codeSyntax            = 62
	codeUnknownDatabase   = 81
	codeIncorrectData     = 117
	codeTooManyRows       = 158
	codeTimeout           = 159
	codeTooSlow           = 160
	codeTooLargeSet       = 191
	codeTooManyQueries    = 202
	codeNetwork           = 210
	codeSocketTimeout     = 209
	codeAlreadyRunning    = 216
	codeMemory            = 241
	codeReadOnlyTable     = 242
	codeNoSpace           = 243
	codeTooManyParts      = 252
	codeTooManyBytes      = 307
	codeInflate           = 354
	codeCancelled         = 394
	codeTooManyRowsBytes  = 396
)

// tooMuch reports whether a refusal is one of limits.
func (r *refusal) tooMuch() bool {
	switch r.code {
	case codeTooManyRows, codeTimeout, codeTooSlow, codeTooLargeSet, codeTooManyQueries, codeMemory, codeTooManyBytes, codeCancelled, codeTooManyRowsBytes:
		return true
	}
	return false
}

// ofServer reports whether a refusal tells of the server, and not of a statement.
func (r *refusal) ofServer() bool {
	switch r.code {
	case 0, codeNetwork, codeSocketTimeout, codeReadOnlyTable, codeNoSpace:
		return true
	}
	return false
}

// forGood reports whether a batch would be refused again, whenever it is inserted.
func (r *refusal) forGood() bool {
	switch r.code {
	case codeCannotParseText, codeCannotParseNumber, codeEndOfData, codeCannotReadAll, codeTypeMismatch, codeSyntax, codeIncorrectData, codeInflate:
		return true
	}
	return false
}

// outdated reports whether the tables are not as they were: somebody has dropped them.
func (r *refusal) outdated() bool {
	return r.code == codeUnknownTable || r.code == codeUnknownColumn || r.code == codeUnknownDatabase
}

// request is what is asked of a server.
type request struct {
	statement string
	settings  map[string]string
	id        string // of the query, empty for any
	body      []byte // rows, compressed; then the statement is in the URL
	nowhere   bool   // the statement is of no database
}

// do sends a request and returns the answer, which its caller closes. The password is
// in none of its errors.
func (c *client) do(ctx context.Context, r *request) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: c.at.Host, Path: "/"}
	if c.at.Secure {
		u.Scheme = "https"
	}
	params := url.Values{}
	if !r.nowhere {
		params.Set("database", c.at.Database)
	}
	if r.id != "" {
		params.Set("query_id", r.id)
	}
	for name, value := range r.settings {
		params.Set(name, value)
	}
	body := r.body
	if body == nil {
		body = []byte(r.statement)
	} else {
		params.Set("query", r.statement)
	}
	u.RawQuery = params.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if r.body != nil {
		req.Header.Set("Content-Encoding", "gzip")
	}
	req.SetBasicAuth(c.at.User, c.password)
	resp, err := c.http.Do(req)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err // without the URL, which has the statement
		}
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, refused(resp)
	}
	return resp.Body, nil
}

// refused is a response that is no answer, as an error.
func refused(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil {
		return fmt.Errorf("read why it was refused (%s): %w", resp.Status, err)
	}
	text, _, _ := strings.Cut(strings.ToValidUTF8(string(raw), "\ufffd"), "\n")
	r := &refusal{text: strings.TrimSpace(text)}
	code := resp.Header.Get("X-ClickHouse-Exception-Code")
	if rest, ok := strings.CutPrefix(r.text, "Code: "); ok && code == "" {
		code = rest[:strings.IndexFunc(rest+".", func(c rune) bool { return c < '0' || c > '9' })]
	}
	r.code, _ = strconv.Atoi(code) // 0 is that there is none
	// "Code: 60, e.displayText() = DB::Exception: Table x.y doesn't exist., e.what() = DB::Exception"
	if _, said, ok := strings.Cut(r.text, "DB::Exception: "); ok {
		said, _, _ = strings.Cut(said, ", e.what()")
		r.text = said
	}
	if len(r.text) > 500 {
		r.text = strings.ToValidUTF8(r.text[:500], "") + "…"
	}
	if r.text == "" {
		r.text = resp.Status
	}
	return r
}

// exec has a statement done that answers nothing.
func (c *client) exec(ctx context.Context, r *request) error {
	body, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(body, maxRefusal))
	return err
}

// bounds are what a question may take.
type bounds struct {
	time   time.Duration
	memory int64
	rows   int
}

// settings are those of a question: it reads only, and what it takes is bounded by the server too.
func (b *bounds) settings() map[string]string {
	s := map[string]string{
		"readonly": "1", "default_format": "JSONCompact", "output_format_json_quote_64bit_integers": "0", "wait_end_of_query": "1",
		"max_execution_time": strconv.FormatInt(int64((b.time+time.Second-1)/time.Second), 10),
		"max_memory_usage":   strconv.FormatInt(b.memory, 10),
		"max_result_bytes":   strconv.Itoa(maxAnswer / 4), "result_overflow_mode": "throw",
	}
	if b.rows > 0 {
		s["max_result_rows"], s["result_overflow_mode"] = strconv.Itoa(b.rows), "break"
		s["max_block_size"] = strconv.Itoa(min(b.rows, 1<<16))
	}
	return s
}

// query asks a statement.
func (c *client) query(ctx context.Context, statement string, b bounds) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, b.time)
	defer cancel()
	body, err := c.do(ctx, &request{statement: statement, settings: b.settings()})
	if err == nil {
		defer body.Close()
		var a *answer
		if a, err = readAnswer(body); err == nil {
			return a, nil
		}
	}
	r := (*refusal)(nil)
	switch {
	case errors.As(err, &r) && r.tooMuch():
		return nil, fmt.Errorf("%w: %w", history.ErrLimit, err)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("%w: time is up", history.ErrLimit)
	}
	return nil, err
}
