// Package duckdb keeps records in one DuckDB file on the host: a table for each kind
// of record and resolution, made from record.Fields. It implements history.Store.
//
// Records are added up to minutes as they come, minutes to 5 minutes, hours and
// days. A row that a finer one is part of is written in the same transaction, so
// sums are the same at all resolutions. docs/history.md says what is promised.
//
// The package needs cgo. Built without, Open returns [ErrNoCgo]. The commands
// import it.
package duckdb
