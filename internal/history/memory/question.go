package memory

import (
	"context"
	"fmt"
	"strconv"
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
	measure *measure
	sums    []measure
	timed   []*record.Field // durations
}

// measure is a number that is added up: a field, or how many records there are of a
// sort.
type measure struct {
	history.Column
	field *record.Field
	is    func(rec any) bool
}

// of is the measure of a record: uint64 or int64, nil if it is not known.
func (m *measure) of(rec any) any {
	n := history.Stands(rec)
	if m.field == nil {
		if !m.is(rec) {
			n = 0
		}
		return n
	}
	switch v := m.field.Get(rec).(type) {
	case uint64:
		return v * n
	case int64:
		return v * int64(n)
	}
	return nil
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
	for _, c := range history.Counts(q.Kind) {
		p.sums = append(p.sums, measure{Column: history.Column{Name: c.Name, Type: "uint"}, is: c.Is})
	}
	for i := range p.fields {
		switch f := &p.fields[i]; {
		case f.Role == record.TimeRole:
			p.time = f
		case history.Adds(q.Kind, f):
			p.sums = append(p.sums, measure{Column: column(f), field: f})
		case history.Timed(q.Kind, f):
			p.timed = append(p.timed, f)
		}
	}
	for _, c := range q.Where {
		f, err := p.find(c.Field)
		if err != nil {
			return nil, err
		}
		if err := fits(f, c.Values); err != nil {
			return nil, err
		}
		p.where = append(p.where, condition{f, c.Values, c.Not})
	}
	for _, name := range q.By {
		f, err := p.find(name)
		if err != nil {
			return nil, err
		}
		if history.Adds(q.Kind, f) {
			return nil, fmt.Errorf("%w: %s is a sum and tells no %s apart", history.ErrQuestion, name, q.Kind)
		}
		p.by = append(p.by, f)
	}
	for i := range p.sums {
		if m := &p.sums[i]; q.Measure == "" || m.Name == q.Measure {
			p.measure = m
			return p, nil
		}
	}
	return nil, fmt.Errorf("%w: %s have no measure %q", history.ErrQuestion, q.Kind, q.Measure)
}

// fits returns an error for values that a field cannot have.
func fits(f *record.Field, values []string) (err error) {
	if len(values) == 0 {
		return fmt.Errorf("%w: %s is compared with nothing", history.ErrQuestion, f.Name)
	}
	for _, v := range values {
		switch {
		case v == "":
			continue
		case f.Type == "uint":
			_, err = strconv.ParseUint(v, 10, 64)
		case f.Type == "int":
			_, err = strconv.ParseInt(v, 10, 64)
		case f.Type == "bool":
			_, err = strconv.ParseBool(v)
		}
		if err != nil {
			return fmt.Errorf("%w: %s is %s and cannot be %q", history.ErrQuestion, f.Name, f.Type, v)
		}
	}
	return nil
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
	wild := c.field.Type == "string" || c.field.Type == "strings" || c.field.Type == "addr"
	for _, text := range texts {
		for _, v := range c.values {
			if text == v || wild && text != "" && strings.Contains(v, "*") && like(text, strings.Split(v, "*")) {
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
