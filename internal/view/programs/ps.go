package programs

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netfate/netfate/internal/inventory"
	"github.com/netfate/netfate/internal/view/table"
)

// PsRow is one program as ps shows it.
type PsRow struct {
	inventory.Program
	// NSPerRun is the mean of all runs that were counted; of those of the
	// interval if there is one. 0 if there were none.
	NSPerRun float64 `json:"ns_per_run"`
	// Rate is set only where there is an interval.
	Rate *PsRate `json:"rate,omitempty"`
}

// PsRate is what a program did in an interval.
type PsRate struct {
	Time       time.Time `json:"time"` // the end of the interval
	Seconds    float64   `json:"seconds"`
	RunsPerSec float64   `json:"runs_per_second"`
	CPUPercent float64   `json:"cpu_percent"` // of one CPU
}

// PsRows makes rows of programs as they stand, in their order.
func PsRows(now []inventory.Program) []PsRow {
	rows := make([]PsRow, len(now))
	for i := range now {
		rows[i] = PsRow{Program: now[i], NSPerRun: perRun(now[i].RunTime, now[i].Runs)}
	}
	return rows
}

// PsRates makes rows of what programs did between two looks, which were elapsed
// apart; those that took most time first. One that was not there before was
// loaded meanwhile.
func PsRates(before, now []inventory.Program, end time.Time, elapsed time.Duration) []PsRow {
	old := make(map[uint32]*inventory.Program, len(before))
	for i := range before {
		old[before[i].ID] = &before[i]
	}
	rows := PsRows(now)
	spent := make(map[uint32]time.Duration, len(now))
	for i := range rows {
		row := &rows[i]
		runs, took := row.Runs, row.RunTime
		if b := old[row.ID]; b != nil && b.Loaded.Sub(row.Loaded).Abs() < time.Second && b.Runs <= runs && b.RunTime <= took {
			runs, took = runs-b.Runs, took-b.RunTime
		}
		spent[row.ID] = took
		row.NSPerRun = perRun(took, runs)
		row.Rate = &PsRate{Time: end.UTC(), Seconds: elapsed.Seconds()}
		if s := elapsed.Seconds(); s > 0 {
			row.Rate.RunsPerSec = float64(runs) / s
			row.Rate.CPUPercent = 100 * took.Seconds() / s
		}
	}
	slices.SortStableFunc(rows, func(a, b PsRow) int {
		return cmp.Or(cmp.Compare(spent[b.ID], spent[a.ID]), cmp.Compare(a.ID, b.ID))
	})
	return rows
}

func perRun(took time.Duration, runs uint64) float64 {
	if runs == 0 {
		return 0
	}
	return float64(took.Nanoseconds()) / float64(runs)
}

// psColumn is a column: what scripts and people call it, and its cell.
type psColumn struct {
	csv, title string
	cell       func(*PsRow) string
}

// psColumns returns the columns; rates says whether the rows have them.
func psColumns(rates bool) []psColumn {
	columns := []psColumn{
		{"id", "ID", func(r *PsRow) string { return strconv.FormatUint(uint64(r.ID), 10) }},
		{"kind", "KIND", func(r *PsRow) string { return r.Kind }},
		{"name", "NAME", func(r *PsRow) string { return r.Name }},
		{"attached", "ATTACHED", func(r *PsRow) string {
			return joined(r.Attached, func(a inventory.Attachment) string { return a.Where })
		}},
	}
	nsPerRun := psColumn{"ns_per_run", "NS/RUN", func(r *PsRow) string {
		if r.NSPerRun == 0 {
			return ""
		}
		return strconv.FormatFloat(r.NSPerRun, 'f', 0, 64)
	}}
	if rates {
		columns = append(columns,
			psColumn{"cpu_percent", "CPU%", func(r *PsRow) string { return strconv.FormatFloat(r.Rate.CPUPercent, 'f', 2, 64) }},
			psColumn{"runs_per_second", "RUNS/S", func(r *PsRow) string { return strconv.FormatFloat(r.Rate.RunsPerSec, 'f', 0, 64) }},
			nsPerRun)
	} else {
		columns = append(columns,
			psColumn{"runs", "RUNS", func(r *PsRow) string { return strconv.FormatUint(r.Runs, 10) }}, nsPerRun)
	}
	return append(columns,
		psColumn{"memory", "MEMORY", func(r *PsRow) string { return strconv.FormatUint(r.Memory, 10) }},
		psColumn{"object", "OBJECT", func(r *PsRow) string {
			if r.Netfate && r.Object == "" {
				return "(netfate)"
			}
			return r.Object
		}},
		psColumn{"pids", "PIDS", func(r *PsRow) string {
			return joined(r.Owners, func(o inventory.Owner) string { return fmt.Sprintf("%d(%s)", o.PID, o.Comm) })
		}},
		psColumn{"pins", "PINS", func(r *PsRow) string { return joined(r.Pins, func(s string) string { return s }) }})
}

// joined joins texts with commas.
func joined[T any](list []T, text func(T) string) string {
	texts := make([]string, len(list))
	for i := range list {
		texts[i] = text(list[i])
	}
	return strings.Join(texts, ", ")
}

// PsLines draws rows as a table, cut at width unless that is 0. Without rows there
// are none.
func PsLines(rows []PsRow, width int) []string {
	if len(rows) == 0 {
		return nil
	}
	columns := psColumns(rows[0].Rate != nil)
	g := mapGrid{}
	for _, c := range columns {
		g.titles = append(g.titles, c.title)
	}
	for i := range rows {
		cells := make([]string, len(columns))
		for j, c := range columns {
			text := clean(c.cell(&rows[i]))
			if c.title == "MEMORY" {
				text = mapSize(rows[i].Memory)
			}
			if text == "" {
				text = "-"
			}
			cells[j] = text
		}
		g.rows = append(g.rows, cells)
	}
	return g.lines(width)
}

// WritePsJSON writes rows as JSON, one object a line. The error is that of writing.
func WritePsJSON(w io.Writer, rows []PsRow) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for i := range rows {
		if err := enc.Encode(&rows[i]); err != nil {
			return fmt.Errorf("write programs: %w", err)
		}
	}
	return nil
}

// WritePsCSV writes rows as CSV, with a line of titles if titles is true; rates
// says whether the rows have them, which also begins each with its time. The
// error is that of writing.
func WritePsCSV(w io.Writer, rows []PsRow, titles, rates bool) error {
	columns := psColumns(rates)
	if rates {
		columns = append([]psColumn{{"time", "", func(r *PsRow) string { return r.Rate.Time.Format(time.RFC3339Nano) }}}, columns...)
	}
	out := csv.NewWriter(w)
	record := make([]string, len(columns))
	if titles {
		for i, c := range columns {
			record[i] = c.csv
		}
		_ = out.Write(record) // Error tells at the end
	}
	for i := range rows {
		for j, c := range columns {
			record[j] = table.Harmless(c.cell(&rows[i]))
		}
		_ = out.Write(record)
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write programs: %w", err)
	}
	return nil
}
