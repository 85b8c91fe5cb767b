package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/nearest"
	"github.com/netfate/netfate/internal/verdict"
)

// Times are the parameters that say of when. The library for the description sees
// exported types only where one is embedded in another.
type Times struct {
	Since string `query:"since" default:"-15m" maxLength:"64" doc:"From when on: RFC 3339, or relative to now as -15m."`
	Until string `query:"until" default:"now" maxLength:"64" doc:"Until when, likewise; now is this moment."`
}

// Reader is the parameter of answers that have texts for people.
type Reader struct {
	Language string `query:"language" default:"en" enum:"en,zh-CN" doc:"Language of the texts. Names, verdicts and commands are the same in every one."`
}

// book returns the book that a reader wants.
func (s *Server) book(r Reader) *verdict.Book {
	for _, b := range s.cfg.Books {
		if b.Language().String() == r.Language {
			return b
		}
	}
	return s.cfg.Books[0]
}

// Selection is what all questions have.
type Selection struct {
	Times
	Where []string `query:"where,explode" maxItems:"32" doc:"Conditions that hold together: field=value or field!=value, * for any characters, several values by |; an empty value is null. May be given several times." example:"comm=nginx"`
}

// span reads the times; both are taken relative to one now.
func (t *Times) span(now time.Time) (since, until time.Time, err error) {
	if since, err = moment(t.Since, now); err != nil {
		return since, until, bad("since", t.Since, err)
	}
	if until, err = moment(t.Until, now); err != nil {
		return since, until, bad("until", t.Until, err)
	}
	if !since.Before(until) {
		return since, until, huma.Error400BadRequest("since is not before until")
	}
	return since, until, nil
}

// moment reads a time.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "now" {
		return now, nil
	}
	if strings.HasPrefix(text, "-") {
		d, err := time.ParseDuration(text)
		if err != nil {
			return now, fmt.Errorf("no duration as -15m or -2h")
		}
		return now.Add(d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		return now, fmt.Errorf("neither RFC 3339 nor relative as -15m")
	}
	return t.UTC(), nil
}

// bad is the error of one parameter.
func bad(name, value string, err error) error {
	return huma.Error400BadRequest(name+": "+err.Error(), &huma.ErrorDetail{Location: "query." + name, Message: err.Error(), Value: value})
}

// question makes one about a kind.
func (s *Selection) question(kind string, now time.Time) (q history.Question, err error) {
	q.Kind = kind
	if history.Fields(kind) == nil {
		return q, huma.Error404NotFound("there is no kind " + kind + "; there are " + strings.Join(history.Kinds(), ", "))
	}
	if q.Since, q.Until, err = s.span(now); err != nil {
		return q, err
	}
	for _, text := range s.Where {
		c, err := condition(text)
		if err == nil {
			err = isField(kind, c.Field)
		}
		if err != nil {
			return q, bad("where", text, err)
		}
		q.Where = append(q.Where, c)
	}
	return q, nil
}

// condition reads one: field=value, field!=value.
func condition(text string) (history.Condition, error) {
	field, values, ok := strings.Cut(text, "=")
	if !ok {
		return history.Condition{}, fmt.Errorf("no condition: write it as field=value or field!=value")
	}
	c := history.Condition{Field: field, Values: strings.Split(values, "|")}
	c.Field, c.Not = strings.CutSuffix(field, "!")
	return c, nil
}

// isField returns an error that names the nearest field if a kind has none of that
// name.
func isField(kind, name string) error {
	var names []string
	for _, f := range history.Fields(kind) {
		names = append(names, f.Name)
	}
	if slices.Contains(names, name) {
		return nil
	}
	if near := nearest.Of(name, names, 1); len(near) > 0 {
		return fmt.Errorf("%s have no field %q; did you mean %s?", kind, name, near[0])
	}
	return fmt.Errorf("%s have no field %q; %s/schema lists them", kind, name, prefix)
}

// areFields is isField for those to sum up by.
func areFields(kind string, by []string) error {
	for i, name := range by {
		if err := isField(kind, name); err != nil {
			return bad("by", name, err)
		}
		if slices.Contains(by[:i], name) {
			return bad("by", name, fmt.Errorf("%s is there twice", name))
		}
	}
	return nil
}
