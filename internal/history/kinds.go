package history

import (
	"math/bits"

	"github.com/netfate/netfate/internal/record"
)

// Fields returns the fields that rows of a kind have, in their declared order;
// none for what is no kind.
func Fields(kind string) []record.Field {
	noun := map[string]any{
		Drops: record.Drop{}, Flows: record.Flow{}, Conns: record.Conn{}, Requests: record.Request{},
		Queries: record.Query{}, Ledger: record.Entry{}, Lost: record.Lost{},
	}[kind]
	if noun == nil {
		return nil
	}
	var fields []record.Field
	for _, f := range record.Fields(noun) {
		if !f.Hidden {
			fields = append(fields, f)
		}
	}
	return fields
}

// Of returns the number of a batch's records of a kind, and a function that
// points to each. Drops are the exact sums; samples of them would count twice.
func Of(b *record.Batch, kind string) (n int, at func(i int) any) {
	switch kind {
	case Drops:
		return list(b.Drops)
	case Flows:
		return list(b.Flows)
	case Conns:
		return list(b.Conns)
	case Requests:
		return list(b.Requests)
	case Queries:
		return list(b.Queries)
	case Ledger:
		return list(b.Ledger)
	case Lost:
		return list(b.Lost)
	}
	return 0, nil
}

func list[R any](rows []R) (int, func(int) any) {
	return len(rows), func(i int) any { return &rows[i] }
}

// Sampled is the count of requests that are known only by one that was kept of several,
// that one included.
const Sampled = "sampled"

// Count is a measure that no field of a single record has, since each record is
// one: it says which records are counted.
type Count struct {
	Name string
	// Is reports whether a record, as Of points to it, is one of these.
	Is func(rec any) bool
}

// Counts returns the counts of a kind, which come before its measures. They count as
// the tables of the commands do.
func Counts(kind string) []Count {
	switch kind {
	case Conns:
		return []Count{
			{Conns, every},
			{"failed", func(rec any) bool { return rec.(*record.Conn).Event == record.ConnFailed }},
		}
	case Requests:
		return []Count{
			{Requests, every},
			{"errors", func(rec any) bool {
				r := rec.(*record.Request)
				return r.Status >= 500 || r.Error != "" && r.Error != record.Unasked
			}},
			{Sampled, func(rec any) bool { return rec.(*record.Request).OneIn > 1 }},
		}
	case Queries:
		return []Count{
			{Queries, every},
			{"unanswered", func(rec any) bool { return rec.(*record.Query).Error == record.Unanswered }},
			{"failed", func(rec any) bool { r := rec.(*record.Query); return r.RCode != "" && r.RCode != "NOERROR" }},
		}
	}
	return nil
}

func every(any) bool { return true }

// Adds reports whether a field of a kind is a number that is added up: its measures,
// and what is one of many records together.
func Adds(kind string, f *record.Field) bool {
	switch kind {
	case Conns:
		return f.Name == "duration_us" || f.Role == record.Measure && f.Name != "overflows" // that one is of a state
	case Ledger:
		return f.Role == record.Measure || f.Name == "counted" || f.Name == "seen"
	}
	return f.Role == record.Measure
}

// Timed reports whether a field of a kind is a duration that percentiles and histograms
// are made of.
func Timed(kind string, f *record.Field) bool {
	switch f.Name {
	case "latency_us", "connect_us", "rtt_us":
		return !Adds(kind, f)
	}
	return false
}

// Percentiles are told of durations, for each group.
func Percentiles() []int { return []int{50, 95, 99} }

// Stands returns how many records one stands for, where not all were kept.
func Stands(rec any) uint64 {
	if r, ok := rec.(*record.Request); ok {
		return uint64(max(r.OneIn, 1))
	}
	return 1
}

// Happened reports whether a record tells of something that happened, whose numbers
// can be added up. A connection that goes on, or a listener, is a state: its numbers
// count from its beginning.
func Happened(rec any) bool {
	c, ok := rec.(*record.Conn)
	return !ok || c.Event != record.ConnOpen && c.Event != record.ConnListens
}

// Bucket rounds a duration to the middle of its bucket, of which each power of two
// has eight: within 6 %, so that rows with equal ones can be added up. Up to 16 it
// is exact, and 0, which is not known, stays.
func Bucket(n uint64) uint64 {
	shift := bits.Len64(n) - 4
	if shift <= 0 {
		return n
	}
	return n>>shift<<shift + 1<<(shift-1)
}

// Weight is what the durations of a record are counted by: how many it stands for, and
// of a flow its packets.
func Weight(rec any) uint64 {
	if f, ok := rec.(*record.Flow); ok {
		return f.PacketsIn + f.PacketsOut
	}
	return Stands(rec)
}
