// Package clickhouse keeps the records of many hosts in one ClickHouse: a table for each
// kind of record, made from record.Fields, partitioned by day. It implements
// history.Store.
//
// Each host adds its records up to rows of a minute and inserts them in batches, over
// HTTP. A batch has a number that no other has: one whose outcome is not known is looked
// for before it is inserted again, so it counts once. While the server is away, batches
// wait in a directory. docs/history.md says what is promised.
//
// It speaks RowBinary and JSON by itself: the servers that Debian ships are older than
// what the drivers know. The commands import it.
package clickhouse
