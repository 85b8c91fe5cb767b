package table

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
)

// WriteAnswer writes what a history answered. Numbers are exact in all formats; a
// value that is null is - in tables and nothing in CSV.
func WriteAnswer(out io.Writer, t history.Table, o Options) error {
	switch o.Format {
	case JSON:
		return answerJSON(out, t)
	case CSV:
		return answerCSV(out, t)
	case Table, "":
		return answerTable(out, t, o)
	}
	return badFormat(o.Format)
}

func answerTable(out io.Writer, t history.Table, o Options) error {
	s := signs{ascii: !o.Unicode}
	g := grid{signs: s, colour: o.Colour}
	for _, c := range t.Columns {
		number := c.Type == "uint" || c.Type == "int" || c.Type == "float"
		g.columns = append(g.columns, column{title: strings.ToUpper(s.clean(c.Name)), right: number})
	}
	for _, values := range t.Rows {
		cells := make([]cell, len(values))
		for i, v := range values {
			cells[i].text = "-"
			if v != nil {
				cells[i].text = s.clean(answerText(v))
			}
		}
		g.rows = append(g.rows, row{cells: cells})
	}
	title, blocks := g.lines(0)
	lines := []string{title}
	for _, block := range blocks {
		lines = append(lines, block...)
	}
	_, err := io.WriteString(out, strings.Join(lines, "\n")+"\n")
	return err
}

// answerText is a value as text, without what quotes it.
func answerText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case uint64:
		return strconv.FormatUint(v, 10)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case []string:
		return strings.Join(v, ";")
	}
	return fmt.Sprint(v)
}

func answerJSON(out io.Writer, t history.Table) error {
	for _, values := range t.Rows {
		var b bytes.Buffer
		for i, v := range values {
			name, err := json.Marshal(t.Columns[i].Name)
			if err != nil {
				return err
			}
			value, err := json.Marshal(v)
			if err != nil {
				return err
			}
			b.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
			b.Write(name)
			b.WriteByte(':')
			b.Write(value)
		}
		b.WriteString("}\n")
		if _, err := out.Write(record.AppendHarmlessJSON(nil, b.Bytes())); err != nil {
			return err
		}
	}
	return nil
}

func answerCSV(out io.Writer, t history.Table) error {
	w := csv.NewWriter(out)
	line := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		line[i] = c.Name
	}
	if err := w.Write(line); err != nil {
		return err
	}
	for _, values := range t.Rows {
		for i, v := range values {
			line[i] = ""
			if v != nil {
				line[i] = Harmless(answerText(v))
			}
		}
		if err := w.Write(line); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}
