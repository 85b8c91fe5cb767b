package history

import "github.com/netfate/netfate/internal/record"

// Class says what becomes of a field when records are added up to rows of a minute,
// and these to longer ones.
type Class uint8

// The classes.
const (
	KeyClass     Class = iota // tells rows apart
	FineClass                 // tells rows apart in minutes, and is null in what is longer
	BucketClass               // a duration, rounded, tells rows apart: so percentiles can be had of sums
	LatestClass               // of rows of a minute the last one, then as BucketClass
	LettersClass              // all letters of a minute, null in what is longer
	TextClass                 // one of the texts
	SumClass
	MostClass
	LeftOut
)

// ClassOf returns that of a field of a kind. Times of single packets, lists and packets
// cannot be added up.
func ClassOf(kind string, f *record.Field) Class {
	if c, ok := exceptions(kind)[f.Name]; ok {
		return c
	}
	switch {
	case f.Hidden, f.Type == "time", f.Type == "strings", f.Type == "bytes":
		return LeftOut
	case Adds(kind, f):
		return SumClass
	case f.Unit == "us":
		return BucketClass
	}
	return KeyClass
}

// exceptions are fields that do not become what their type and role say.
func exceptions(kind string) map[string]Class {
	all := map[string]Class{
		"src_port": FineClass, "pid": FineClass, "inner_src_port": FineClass, "tcp_flags": LettersClass,
		// What is said again with each line of the ledger.
		"why": TextClass, "fact": TextClass, "command": TextClass, "counter": TextClass, "effect": TextClass,
	}
	of := map[string]map[string]Class{
		Drops: {"sample": LeftOut, "length": LeftOut},
		Flows: {"rtt_us": LatestClass},
		Conns: {
			"rtt_min_us": LeftOut, "rtt_var_us": LeftOut, "zero_window": LeftOut,
			"backlog": LeftOut, "backlog_max": LeftOut, "syn_queue": LeftOut, "overflows": LeftOut,
		},
		Requests: {"query_string": LeftOut, "trace_id": TextClass, "parent_id": LeftOut},
		Queries:  {"ttl_s": LeftOut},
		Ledger: {
			"skew_us": MostClass, "location": TextClass,
			"comm": TextClass, "container_name": TextClass, "pid": LeftOut,
		},
	}[kind]
	for name, c := range of {
		all[name] = c
	}
	return all
}
