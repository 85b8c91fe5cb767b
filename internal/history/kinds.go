package history

import "github.com/netfate/netfate/internal/record"

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
