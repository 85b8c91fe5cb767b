package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/netfate/netfate/internal/history"
)

// maxStatement is how long a statement may be, in bytes, and maxRows how many rows
// one answers where no limit is given.
const (
	maxStatement = 64 << 10
	maxRows      = 10_000
)

// SQL answers one statement that only reads, in ClickHouse's SQL. The server is told
// that it may do nothing else: no files, no network, no settings.
func (s *store) SQL(ctx context.Context, statement string, l history.Limits) (t history.Table, err error) {
	if len(statement) > maxStatement {
		return t, fmt.Errorf("%w: the statement is longer than %d bytes", history.ErrQuestion, maxStatement)
	}
	if !reads(statement) {
		return t, fmt.Errorf("%w: only statements that read are answered: %s", history.ErrQuestion, strings.Join(readers(), ", "))
	}
	if l.Time <= 0 {
		l.Time = questionTime
	}
	if l.Rows <= 0 {
		l.Rows = maxRows
	}
	ctx, cancel := context.WithTimeout(ctx, min(l.Time, questionTime*20))
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return t, fmt.Errorf("%w: %d others are running", history.ErrLimit, maxQuestions)
	}
	s.refresh(ctx)
	_, zone, err := s.hello(ctx)
	if err != nil {
		return t, err
	}
	a, err := s.client.query(ctx, statement, bounds{time: min(l.Time, questionTime*20), memory: s.cfg.Memory, rows: l.Rows + 1})
	if err != nil {
		return t, mistaken(err)
	}
	units := s.units()
	for _, c := range a.Meta {
		t.Columns = append(t.Columns, history.Column{Name: c.Name, Type: typeName(c.Type), Unit: units[c.Name]})
	}
	for _, row := range a.Data {
		if len(t.Rows) == l.Rows {
			t.Cut = true
			break
		}
		for i := range row {
			row[i] = value(row[i], a.Meta[i].Type, zone)
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

// readers are the words that statements begin with that read.
func readers() []string {
	return []string{"SELECT", "WITH", "DESCRIBE", "DESC", "SHOW", "EXISTS", "EXPLAIN"}
}

func reads(statement string) bool {
	statement = strings.ToUpper(strings.TrimSpace(statement))
	for _, first := range readers() {
		if rest, ok := strings.CutPrefix(statement, first); ok && (rest == "" || !isName(rest[:1])) {
			return true
		}
	}
	return false
}

// mistaken says ErrQuestion of errors that are the statement's.
func mistaken(err error) error {
	r := (*refusal)(nil)
	if errors.Is(err, errFormat) || errors.As(err, &r) && !r.ofServer() && !errors.Is(err, history.ErrLimit) {
		return fmt.Errorf("%w: %w", history.ErrQuestion, err)
	}
	return err
}

// units are the units of fields that have the same one in all kinds.
func (s *store) units() map[string]string {
	units := map[string]string{}
	for _, k := range s.kinds {
		for i := range k.columns {
			c := &k.columns[i]
			if u, ok := units[c.name]; ok && u != c.unit {
				units[c.name] = ""
			} else {
				units[c.name] = c.unit
			}
		}
	}
	return units
}
