module github.com/netfate/netfate/test/bench/sqlite

go 1.26.0

require (
	github.com/mattn/go-sqlite3 v1.14.53
	github.com/netfate/netfate v0.0.0
)

require github.com/google/go-cmp v0.7.0 // indirect

replace github.com/netfate/netfate => ../../..
