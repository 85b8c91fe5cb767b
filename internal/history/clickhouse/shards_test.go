package clickhouse

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/history"
	server "github.com/netfate/netfate/test/clickhouse"
	"github.com/netfate/netfate/test/historytest"
)

// spread makes the tables that docs/scale.md has for several servers: those of a database
// are on each of them, and the first has tables over all.
func spread(t *testing.T, shards []*server.Server, database string) {
	t.Helper()
	at := func(i int, statement string) {
		t.Helper()
		to, err := ParseURL(shards[i].URL(database))
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(&Config{Password: server.Password}, to)
		defer c.close()
		if err := c.exec(t.Context(), &request{statement: statement, nowhere: true}); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	for i := range shards {
		at(i, "CREATE DATABASE IF NOT EXISTS "+database)
		for _, k := range newKinds() {
			local := fmt.Sprintf("%s.%s_local", database, k.name)
			at(i, strings.Replace(newDialect("18.16.1").create(k), " "+k.name+" (", " "+local+" (", 1))
			if i == 0 {
				at(i, fmt.Sprintf("CREATE TABLE %s.%s AS %s ENGINE = Distributed(%s, %[1]s, %[2]s_local, cityHash64(batch))", database, k.name, local, server.Cluster))
			}
		}
	}
}

// TestShards has batches go to two servers, one of which is killed meanwhile. In the long
// form the suite runs on them, too.
func TestShards(t *testing.T) {
	shards := server.StartShards(t, 2)
	spread(t, shards, "spread")
	s := open(t, Config{URL: shards[0].URL("spread"), Spool: t.TempDir(), Retry: 50 * time.Millisecond})
	const minutes = 40
	for n := range minutes {
		if n == minutes/4 {
			shards[1].Kill()
		}
		put(t, s, minute(n))
	}
	if s.waits.Load() == 0 {
		t.Error("nothing waits for the server that is away")
	}
	shards[1].Run(t)
	waitFor(t, s)
	if got := sum(t, s); got != minutes*(minutes+1)/2 {
		t.Errorf("got %d packets, want %d", got, minutes*(minutes+1)/2)
	}
	parts, err := s.SQL(t.Context(), "SELECT count() FROM flows_local", history.Limits{})
	if err != nil || len(parts.Rows) != 1 {
		t.Fatalf("got %v, error %v", parts.Rows, err)
	}
	if n := parts.Rows[0][0].(uint64); n == 0 || n == minutes {
		t.Errorf("got %d rows of %d on one of two servers", n, minutes)
	}
	closed(t, s)
	if !*long {
		return
	}
	n := 0
	historytest.Run(t, historytest.Promise{SQL: true, Dialect: sql(), Minutes: true}, func(t *testing.T) history.Store {
		n++
		name := fmt.Sprint("spread_", n)
		spread(t, shards, name)
		return open(t, Config{URL: shards[0].URL(name)})
	})
}
