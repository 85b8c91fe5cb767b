package programs

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/netfate/netfate/internal/bpfmap"
	"github.com/netfate/netfate/internal/inventory"
)

// MapRow is a map of the list, and who uses it.
type MapRow struct {
	bpfmap.Info
	Programs []uint32          // ids of programs that use it
	Owners   []inventory.Owner // processes that hold it open
}

// mapRow is a MapRow in JSON.
type mapRow struct {
	ID         uint32            `json:"id"`
	Type       string            `json:"type"`
	Name       string            `json:"name"`
	KeySize    uint32            `json:"key_size"`
	ValueSize  uint32            `json:"value_size"`
	MaxEntries uint32            `json:"max_entries"`
	Memory     uint64            `json:"memory"`
	Frozen     bool              `json:"frozen"`
	Programs   []uint32          `json:"programs"`
	Owners     []inventory.Owner `json:"owners"`
	Pins       []string          `json:"pins"`
}

// WriteMapList writes a list of maps as a table (cut at width, 0 for none), as
// JSON, one object a line, or as CSV. The error is that of writing.
func WriteMapList(w io.Writer, maps []MapRow, format string, width int) error {
	switch format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		for _, m := range maps {
			row := mapRow{m.ID, m.Type, m.Name, m.KeySize, m.ValueSize, m.MaxEntries, m.Memory, m.Frozen, nil, nil, nil}
			// Nothing is an empty list, not null.
			row.Programs, row.Owners, row.Pins = append([]uint32{}, m.Programs...), append([]inventory.Owner{}, m.Owners...), append([]string{}, m.Pins...)
			if err := enc.Encode(row); err != nil {
				return fmt.Errorf("write maps: %w", err)
			}
		}
		return nil
	case "csv":
		out := csv.NewWriter(w)
		rows := [][]string{{"id", "type", "name", "key_size", "value_size", "max_entries", "memory", "programs", "owners", "pins"}}
		for _, m := range maps {
			rows = append(rows, mapCells(&m, strconv.FormatUint(m.Memory, 10)))
		}
		return out.WriteAll(rows)
	}
	g := mapGrid{titles: []string{"ID", "TYPE", "NAME", "KEY", "VALUE", "MAX", "MEMORY", "PROGRAMS", "OWNERS", "PINS"}}
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

func mapCells(m *MapRow, memory string) []string {
	u := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	users := make([]string, len(m.Programs))
	for i, id := range m.Programs {
		users[i] = u(id)
	}
	owners := make([]string, len(m.Owners))
	for i, o := range m.Owners {
		owners[i] = fmt.Sprintf("%d(%s)", o.PID, mapPath(o.Comm))
	}
	pins := make([]string, len(m.Pins))
	for i, p := range m.Pins {
		pins[i] = mapPath(p)
	}
	return []string{
		u(m.ID), m.Type, m.Name, u(m.KeySize), u(m.ValueSize), u(m.MaxEntries), memory,
		strings.Join(users, " "), strings.Join(owners, " "), strings.Join(pins, " "),
	}
}

// mapPath makes a path or name harmless on a terminal: what does not print is escaped.
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
