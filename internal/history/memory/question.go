package memory

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

// usualLimit is history.Question.Limit where it is 0.
const usualLimit = 100

// question is history.Question with its names looked up.
type question struct {
	history.Question
	fields  []record.Field
	time    *record.Field
	where   []condition
	by      []*record.Field
	measure *record.Field // nil if the kind has none
	sums    []*record.Field
}

type condition struct {
	field  *record.Field
	values []string
	not    bool
}

func parse(q history.Question) (*question, error) {
	p := &question{Question: q, fields: history.Fields(q.Kind)}
	if p.fields == nil {
		return nil, fmt.Errorf("%w: there is no kind %q; there are %s", history.ErrQuestion, q.Kind, strings.Join(history.Kinds(), ", "))
	}
	if p.Limit == 0 {
		p.Limit = usualLimit
	}
	if p.Limit < 0 {
		return nil, fmt.Errorf("%w: a limit of %d", history.ErrQuestion, q.Limit)
	}
	for i := range p.fields {
		switch f := &p.fields[i]; f.Role {
		case record.TimeRole:
			p.time = f
		case record.Measure:
			p.sums = append(p.sums, f)
		}
	}
	for _, c := range q.Where {
		f, err := p.find(c.Field)
		if err != nil {
			return nil, err
		}
		p.where = append(p.where, condition{f, c.Values, c.Not})
	}
	for _, name := range q.By {
		f, err := p.find(name)
		if err != nil {
			return nil, err
		}
		p.by = append(p.by, f)
	}
	if len(p.sums) > 0 {
		p.measure = p.sums[0]
	}
	if q.Measure != "" {
		f, err := p.find(q.Measure)
		if err != nil {
			return nil, err
		}
		if f.Role != record.Measure {
			return nil, fmt.Errorf("%w: %s of %s is no measure", history.ErrQuestion, q.Measure, q.Kind)
		}
		p.measure = f
	}
	return p, nil
}

func (p *question) find(name string) (*record.Field, error) {
	for i := range p.fields {
		if p.fields[i].Name == name {
			return &p.fields[i], nil
		}
	}
	return nil, fmt.Errorf("%w: %s have no field %q", history.ErrQuestion, p.Kind, name)
}

// holds reports whether a record is asked for.
func (p *question) holds(rec any) bool {
	at, _ := p.time.Get(rec).(time.Time)
	if !p.Since.IsZero() && at.Before(p.Since) || !p.Until.IsZero() && !at.Before(p.Until) {
		return false
	}
	for i := range p.where {
		c := &p.where[i]
		if c.equal(rec) == c.not {
			return false
		}
	}
	return true
}

// equal reports whether the field has one of the values. A list has those of its
// elements.
func (c *condition) equal(rec any) bool {
	texts := []string{c.field.Text(rec)}
	if elements, ok := c.field.Get(rec).([]string); ok {
		texts = elements
	}
	wild := c.field.Type == "string" || c.field.Type == "strings"
	for _, text := range texts {
		for _, v := range c.values {
			if text == v || wild && strings.Contains(v, "*") && like(text, strings.Split(v, "*")) {
				return true
			}
		}
	}
	return false
}

// like reports whether text is the pieces in their order, with anything between
// them.
func like(text string, pieces []string) bool {
	first, last := pieces[0], pieces[len(pieces)-1]
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, piece := range pieces[1 : len(pieces)-1] {
		i := strings.Index(text, piece)
		if i < 0 {
			return false
		}
		text = text[i+len(piece):]
	}
	return true
}

// lookEvery is after how many rows it is looked whether anybody still waits.
const lookEvery = 4096

// newest calls visit for each record that is asked for, the newest first, with
// its number, until visit returns false.
func (p *question) newest(ctx context.Context, parts []part, visit func(number uint64, rec any) bool) error {
	looked := 0
	for i := len(parts) - 1; i >= 0; i-- {
		part := &parts[i]
		_, at := history.Of(part.batch, p.Kind)
		for k := part.rows - 1; k >= 0; k-- {
			if looked++; looked%lookEvery == 0 && ctx.Err() != nil {
				return fmt.Errorf("%w: %w", history.ErrLimit, ctx.Err())
			}
			if rec := at(k); p.holds(rec) && !visit(part.first+uint64(k), rec) {
				return nil
			}
		}
	}
	return nil
}
