package programs

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/netfate/netfate/internal/bpfmap"
)

// mapRow is a map of the list in JSON.
type mapRow struct {
	ID         uint32   `json:"id"`
	Type       string   `json:"type"`
	Name       string   `json:"name"`
	KeySize    uint32   `json:"key_size"`
	ValueSize  uint32   `json:"value_size"`
	MaxEntries uint32   `json:"max_entries"`
	Memory     uint64   `json:"memory"`
	Frozen     bool     `json:"frozen"`
	Pins       []string `json:"pins"`
}

// WriteMapList writes a list of maps as a table (cut at width, 0 for none), as
// JSON, one object a line, or as CSV. The error is that of writing.
func WriteMapList(w io.Writer, maps []bpfmap.Info, format string, width int) error {
	switch format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		for _, m := range maps {
			row := mapRow{m.ID, m.Type, m.Name, m.KeySize, m.ValueSize, m.MaxEntries, m.Memory, m.Frozen, m.Pins}
			if row.Pins == nil {
				row.Pins = []string{}
			}
			if err := enc.Encode(row); err != nil {
				return fmt.Errorf("write maps: %w", err)
			}
		}
		return nil
	case "csv":
		out := csv.NewWriter(w)
		rows := [][]string{{"id", "type", "name", "key_size", "value_size", "max_entries", "memory", "pins"}}
		for _, m := range maps {
			rows = append(rows, mapCells(&m, strconv.FormatUint(m.Memory, 10)))
		}
		return out.WriteAll(rows)
	}
	g := mapGrid{titles: []string{"ID", "TYPE", "NAME", "KEY", "VALUE", "MAX", "MEMORY", "PINS"}}
	for _, m := range maps {
		cells := mapCells(&m, mapSize(m.Memory))
		for i, c := range cells {
			if c == "" {
				cells[i] = "-"
			}
		}
		g.rows = append(g.rows, cells)
	}
	return writeMap(w, []byte(strings.Join(g.lines(width), "\n")+"\n"))
}

func mapCells(m *bpfmap.Info, memory string) []string {
	u := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	pins := make([]string, len(m.Pins))
	for i, p := range m.Pins {
		pins[i] = mapPath(p)
	}
	return []string{u(m.ID), m.Type, m.Name, u(m.KeySize), u(m.ValueSize), u(m.MaxEntries), memory, strings.Join(pins, " ")}
}

// mapPath makes a path harmless on a terminal: what does not print is escaped.
func mapPath(s string) string {
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

// mapSize writes bytes in units of 1024.
func mapSize(n uint64) string {
	if n < 1<<10 {
		return strconv.FormatUint(n, 10)
	}
	x := float64(n)
	for _, unit := range []string{"ki", "Mi", "Gi"} {
		if x /= 1 << 10; x < 1<<10 {
			return strconv.FormatFloat(x, 'f', 1, 64) + unit
		}
	}
	return strconv.FormatFloat(x/(1<<10), 'f', 1, 64) + "Ti"
}
