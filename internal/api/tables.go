package api

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/netfate/netfate/internal/history"
)

// Column is a column of an answer.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type" doc:"time, string, uint, int, bool, addr, strings, float, or SQL's own name."`
	Unit string `json:"unit" doc:"packets, bytes, buffers, us; empty if it has none."`
}

// Table is an answer in rows.
type Table struct {
	Columns    []Column `json:"columns" nullable:"false"`
	Rows       [][]any  `json:"rows" nullable:"false" doc:"Values in the order of the columns; null is not known."`
	Next       string   `json:"next" doc:"Asks for the rows after these, as parameter after; empty if there are none."`
	Resolution float64  `json:"resolution_s" doc:"Seconds that one stored row is of, where old rows are rolled up; 0 is as recorded."`
	Lost       []Loss   `json:"lost" nullable:"false" doc:"What netfate lost in that time: it spoils these numbers."`
}

// Loss is what netfate lost, by place and reason.
type Loss struct {
	Place  string `json:"place" doc:"Where it was lost."`
	Reason string `json:"reason" doc:"Why."`
	Count  uint64 `json:"count" doc:"How many."`
	Effect string `json:"effect" doc:"What the loss spoils."`
}

type tableAnswer struct{ Body Table }

// maxLosses bounds how many are told with an answer; the worst are.
const maxLosses = 20

// spoils returns what was lost in the time of a question.
func (s *Server) spoils(ctx context.Context, q history.Question) ([]Loss, error) {
	t, err := s.cfg.Store.Groups(ctx, history.Question{
		Kind: history.Lost, Since: q.Since, Until: q.Until, By: []string{"place", "reason", "effect"}, Limit: maxLosses,
	})
	if err != nil {
		return nil, err
	}
	list := []Loss{}
	at := columnsOf(t)
	for _, row := range t.Rows {
		list = append(list, Loss{
			Place: text(at(row, "place")), Reason: text(at(row, "reason")), Effect: text(at(row, "effect")), Count: uint64(number(at(row, "count"))),
		})
	}
	return list, nil
}

// columnsOf returns a function that gets a row's value by its column's name.
func columnsOf(t history.Table) func(row []any, name string) any {
	index := map[string]int{}
	for i, c := range t.Columns {
		index[c.Name] = i
	}
	return func(row []any, name string) any {
		if i, ok := index[name]; ok && i < len(row) {
			return row[i]
		}
		return nil
	}
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func number(v any) float64 {
	switch v := v.(type) {
	case uint64:
		return float64(v)
	case int64:
		return float64(v)
	case float64:
		return v
	}
	return 0
}

// answer makes an answer of a store's table.
func answer(t history.Table, lost []Loss) *tableAnswer {
	a := &tableAnswer{Table{Columns: []Column{}, Rows: t.Rows, Next: t.Next, Resolution: seconds(t.Resolution), Lost: lost}}
	for _, c := range t.Columns {
		a.Body.Columns = append(a.Body.Columns, Column(c))
	}
	if a.Body.Rows == nil {
		a.Body.Rows = [][]any{}
	}
	for _, row := range a.Body.Rows {
		for i, v := range row {
			if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) { // JSON has none
				row[i] = nil
			}
		}
	}
	return a
}

// OfKind is the parameter in the path.
type OfKind struct {
	Kind string `path:"kind" maxLength:"32" doc:"drops, flows, conns, requests, queries, ledger or lost."`
}

type rowsInput struct {
	OfKind
	Selection
	Limit int    `query:"limit" default:"100" minimum:"1" maximum:"5000" doc:"How many rows."`
	After string `query:"after" maxLength:"256" doc:"next of the answer before."`
}

func (s *Server) rows(ctx context.Context, in *rowsInput) (*tableAnswer, error) {
	q, err := in.question(in.Kind, s.now())
	if err != nil {
		return nil, err
	}
	q.Limit, q.After = in.Limit, in.After
	return ask(ctx, s, func(ctx context.Context) (*tableAnswer, error) { return s.told(ctx, q, s.cfg.Store.Rows) })
}

// told asks, and for what was lost too.
func (s *Server) told(ctx context.Context, q history.Question, of func(context.Context, history.Question) (history.Table, error)) (*tableAnswer, error) {
	t, err := of(ctx, q)
	if err != nil {
		return nil, err
	}
	lost, err := s.spoils(ctx, q)
	if err != nil {
		return nil, err
	}
	return answer(t, lost), nil
}

// Grouping is what sums are asked for with.
type Grouping struct {
	OfKind
	Selection
	By      []string `query:"by" maxItems:"8" doc:"Fields to sum up by, with commas between them; none is for the sum of all."`
	Measure string   `query:"measure" maxLength:"64" doc:"Measure that groups are ordered by; the kind's first one if it is empty."`
	Limit   int      `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"How many groups; the rest is summed up as ~other."`
}

func (in *Grouping) question(now time.Time) (history.Question, error) {
	q, err := in.Selection.question(in.Kind, now)
	if err != nil {
		return q, err
	}
	q.By, q.Measure, q.Limit = in.By, in.Measure, in.Limit
	if err := areFields(in.Kind, in.By); err != nil {
		return q, err
	}
	// Which measures there are, counts among them, the store knows.
	return q, nil
}

func (s *Server) groups(ctx context.Context, in *Grouping) (*tableAnswer, error) {
	q, err := in.question(s.now())
	if err != nil {
		return nil, err
	}
	return ask(ctx, s, func(ctx context.Context) (*tableAnswer, error) { return s.told(ctx, q, s.cfg.Store.Groups) })
}

type seriesInput struct {
	Grouping
	Step string `query:"step" maxLength:"32" doc:"Time between two points, in seconds or as 30s, 5m; empty gives some 300 points."`
}

// Series is a measure over time.
type Series struct {
	Unit  string  `json:"unit"`
	Step  float64 `json:"step_s" doc:"Seconds between two points."`
	Times []int64 `json:"times" nullable:"false" doc:"Unix seconds at which the steps begin."`
	Lines []Line  `json:"lines" nullable:"false" doc:"The largest sum first; the last may be ~other."`
	Lost  []Loss  `json:"lost" nullable:"false" doc:"What netfate lost in that time: it spoils these numbers."`
}

// Line is one group of a series.
type Line struct {
	Key    []string   `json:"key" nullable:"false" doc:"Values of the fields of by."`
	Values []*float64 `json:"values" nullable:"false" doc:"A sum for each step; null where nothing is known."`
}

type seriesAnswer struct{ Body Series }

func (s *Server) series(ctx context.Context, in *seriesInput) (*seriesAnswer, error) {
	q, err := in.question(s.now())
	if err != nil {
		return nil, err
	}
	if q.Limit > 100 {
		q.Limit = 100 // more lines cannot be told apart
	}
	if q.Step, err = step(in.Step); err != nil {
		return nil, err
	}
	return ask(ctx, s, func(ctx context.Context) (*seriesAnswer, error) {
		got, err := s.cfg.Store.Series(ctx, q)
		if err != nil {
			return nil, err
		}
		out := Series{Unit: got.Unit, Step: seconds(got.Step), Times: []int64{}, Lines: []Line{}}
		for _, t := range got.Times {
			out.Times = append(out.Times, t.Unix())
		}
		for _, l := range got.Lines {
			out.Lines = append(out.Lines, line(l))
		}
		out.Lost, err = s.spoils(ctx, q)
		return &seriesAnswer{out}, err
	})
}

func line(l history.Line) Line {
	out := Line{Key: append([]string{}, l.Key...), Values: make([]*float64, len(l.Values))}
	for i := range l.Values {
		if v := &l.Values[i]; !math.IsNaN(*v) && !math.IsInf(*v, 0) {
			out.Values[i] = v
		}
	}
	return out
}

// step reads the time between two points.
func step(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil || d < time.Second || d > 366*24*time.Hour {
		return 0, huma.Error400BadRequest("step: neither seconds nor a duration as 30s, of a second at least")
	}
	return d, nil
}

type queryInput struct {
	Body struct {
		SQL   string `json:"sql" minLength:"1" maxLength:"60000" doc:"A statement that only reads; the tables are the kinds."`
		Limit int    `json:"limit,omitempty" default:"1000" minimum:"1" maximum:"100000" doc:"How many rows."`
	}
}

// QueryAnswer is the answer to a statement of SQL.
type QueryAnswer struct {
	Columns []Column `json:"columns" nullable:"false"`
	Rows    [][]any  `json:"rows" nullable:"false"`
	Cut     bool     `json:"cut" doc:"True if there are more rows than the limit."`
	Took    float64  `json:"took_ms" doc:"Milliseconds that the statement took."`
}

type queryAnswer struct{ Body QueryAnswer }

func (s *Server) query(ctx context.Context, in *queryInput) (*queryAnswer, error) {
	limits := history.Limits{Time: s.live.Load().api.QuestionTime, Rows: in.Body.Limit}
	return ask(ctx, s, func(ctx context.Context) (*queryAnswer, error) {
		began := time.Now()
		t, err := s.cfg.Store.SQL(ctx, in.Body.SQL, limits)
		if err != nil {
			return nil, err
		}
		a := answer(t, nil).Body
		return &queryAnswer{QueryAnswer{Columns: a.Columns, Rows: a.Rows, Cut: t.Cut, Took: time.Since(began).Seconds() * 1000}}, nil
	})
}

// show returns a value as text; what is not known is empty.
func show(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
