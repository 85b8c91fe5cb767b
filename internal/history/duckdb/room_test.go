//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/record"
	"github.com/netfate/netfate/test/historytest"
)

// Each table that was written to takes memory until a checkpoint, however few its rows are:
// all of them together, as at the end of a day, take less than there is.
func TestFewRowsTakeLittle(t *testing.T) {
	s := open(t, Config{Memory: 144 << 20})
	defer s.Close()
	const step = 4 * time.Hour // further than a minute, five, and an hour
	for n := range 8 {
		if err := put(t, s, historytest.Everything(historytest.Begin().Add(time.Duration(n)*step))); err != nil {
			t.Fatal(err)
		}
		if st, err := s.Status(t.Context()); err != nil || st.Degraded != "" {
			t.Fatalf("write %d: status %+v, error %v", n, st, err)
		}
		f := s.file.(*file)
		if got, err := f.inMemory(t.Context()); err != nil || got >= s.cfg.Memory/restShare {
			t.Errorf("write %d: rows take %d bytes of memory, error %v", n, got, err)
		}
	}
}

// What has no room, or is too old, is deleted oldest first, and the newest never.
func TestKeep(t *testing.T) {
	const bound, writes = 6 << 20, 64
	s := open(t, Config{MaxBytes: bound})
	defer s.Close()
	rng := rand.New(rand.NewPCG(3, 4))
	var all uint64
	for n := range writes {
		b := unlike(rng, 30*n)
		all += uint64(len(b.Flows))
		if err := put(t, s, b); err != nil {
			t.Fatal(err)
		}
	}
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Beside what is in use there is what one checkpoint wrote anew.
	if st.Bytes > bound+(8<<20) || st.Dropped[forRoom] == 0 {
		t.Errorf("got %d bytes of %d, dropped %v", st.Bytes, bound, st.Dropped)
	}
	var minutes, since int64
	for _, k := range st.Kinds {
		if k.Kind == history.Flows && k.Resolution == time.Minute {
			minutes, since = k.Rows, k.Oldest.Unix()
			if !k.Newest.Equal(historytest.Begin().Add((writes - 1) * 30 * time.Minute)) {
				t.Errorf("the newest minute is %v", k.Newest)
			}
		}
	}
	if since%3600 != 0 || since <= historytest.Begin().Unix() || minutes == 0 {
		t.Errorf("got %d rows of minutes since %d, want whole hours", minutes, since)
	}
	// What minutes do not have any more, 5 minutes have.
	got, err := s.SQL(t.Context(), "SELECT sum(packets_out) FROM flows", history.Limits{})
	if err != nil || got.Rows[0][0] != int64(all) {
		t.Errorf("got %v packets, error %v; want %d", got.Rows, err, all)
	}
	before := packets(t, s)
	if err := put(t, s, historytest.Batch(historytest.Begin().Add(900*24*time.Hour), historytest.Flow(historytest.Begin(), "new", 1, 1))); err != nil {
		t.Fatal(err)
	}
	// Its clock may be ahead, so what is old by it may not be.
	if got := packets(t, s); got != before+1 {
		t.Errorf("got %d packets after one of the future, want %d", got, before+1)
	}
}

func TestAges(t *testing.T) {
	s := open(t, Config{Ages: [Resolutions]time.Duration{2 * time.Hour, 3 * time.Hour, 4 * time.Hour, 24 * time.Hour}})
	defer s.Close()
	var all uint64
	for h := range 60 {
		if err := put(t, s, numbered(h*120+1)); err != nil {
			t.Fatal(err)
		}
		all += 50
	}
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range st.Kinds {
		if k.Kind != history.Flows {
			continue
		}
		age := historytest.Begin().Add(59 * time.Hour).Sub(k.Oldest)
		if k.Rows == 0 || k.Resolution == time.Minute && age > 3*time.Hour || k.Resolution == 5*time.Minute && age > 48*time.Hour {
			t.Errorf("%v: got %d rows, the oldest of %v ago", k.Resolution, k.Rows, age)
		}
	}
	if st.Dropped[forAge] == 0 || st.Dropped[forRoom] != 0 {
		t.Errorf("got %v dropped", st.Dropped)
	}
	if got := packets(t, s); got != all {
		t.Errorf("got %d packets, want %d", got, all)
	}
}

// What is left over of whole groups stays where it is found.
func TestGroups(t *testing.T) {
	const flows = 2000
	m := newMinutes(newKinds())
	if m.add(historytest.Traffic(0, flows)); m.groups() != m {
		t.Error("a part was made of what is no group")
	}
	for minute := 1; minute < 63; minute++ {
		m.add(historytest.Traffic(minute, flows))
	}
	part := m.groups()
	last := historytest.Begin().Add(61 * time.Minute).Unix()
	if part.len != rowGroup || part.new != last {
		t.Errorf("got %d rows that are complete before %d, want %d and %d", part.len, part.new, rowGroup, last)
	}
	m.cut(part)
	const left = 63*flows - rowGroup
	if m.len != left || m.old != last || m.new != last+60 {
		t.Errorf("got %d rows of %d to %d, want %d of %d to %d", m.len, m.old, m.new, left, last, last+60)
	}
	// Those of the last minute again, and none that is new.
	var want uint64
	for _, minute := range []int{61, 62, 62} {
		b := historytest.Traffic(minute, flows)
		if minute == 61 {
			b.Flows = b.Flows[flows-(left-flows):]
		}
		for i := range b.Flows {
			want += b.Flows[i].PacketsOut
		}
	}
	m.add(historytest.Traffic(62, flows))
	if m.len != left {
		t.Errorf("got %d rows after the same ones again, want %d", m.len, left)
	}
	var got uint64
	for i, k := range m.kinds {
		if k.name != history.Flows {
			continue
		}
		for j := range k.columns {
			if k.columns[j].name == "packets_out" {
				for _, n := range m.tables[i].cells[j].numbers {
					got += n
				}
			}
		}
	}
	if got != want {
		t.Errorf("got %d packets, want %d", got, want)
	}
}

// What comes in bulk is written in whole groups of rows, and what is left over later, once.
func TestBulk(t *testing.T) {
	const minutes, flows = 70, 2000
	s := open(t, Config{Fresh: time.Hour})
	defer s.Close()
	var want uint64
	for m := range minutes {
		b := historytest.Traffic(m, flows)
		for i := range b.Flows {
			want += b.Flows[i].PacketsOut
		}
		b.Lost = []record.Lost{{Time: b.End, Place: "ring", Reason: "full", Count: 1}}
		if err := s.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if err := s.Taken(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	count := func(what string) int64 {
		t.Helper()
		got, err := s.SQL(t.Context(), "SELECT "+what, history.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		n, _ := got.Rows[0][0].(int64)
		return n
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := count("count(*) FROM flows_1m"); got != minutes*flows {
		t.Errorf("got %d rows, want %d", got, minutes*flows)
	}
	for _, table := range []string{"flows_1m", "flows"} {
		if got := count("sum(packets_out) FROM " + table); got != int64(want) {
			t.Errorf("%s: got %d packets, want %d", table, got, want)
		}
	}
	// Whether they came in time to be rolled up, or late.
	for _, of := range []string{"sum(packets_out) FROM flows", "sum(count) FROM lost"} {
		const hour = " WHERE time < TIMESTAMP '2026-03-14 04:00:00'"
		if fine, coarse := count(of+"_1m"+hour), count(of+"_1h"+hour); fine != coarse || fine == 0 {
			t.Errorf("%s: got %d of minutes and %d of the hour", of, fine, coarse)
		}
	}
}

// A queue that is full drops batches and counts their rows.
func TestQueue(t *testing.T) {
	s := open(t, Config{MaxQueue: 100})
	defer s.Close()
	s.reading.RLock() // nothing here: only to show that readers do not hold Put up
	const batches = 2000
	for n := range batches {
		if err := s.Put(t.Context(), numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	s.reading.RUnlock()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.SQL(t.Context(), "SELECT sum(packets_out) FROM flows", history.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if n := got.Rows[0][0].(int64) + int64(st.Dropped[forQueue]); n != batches*50 || st.Dropped[forQueue] == 0 {
		t.Errorf("got %v packets and %d dropped, want %d", got.Rows[0][0], st.Dropped[forQueue], batches*50)
	}
}

func TestReadOnly(t *testing.T) {
	path := filepath.Join(memoryDir(t), "history.duckdb")
	if _, err := Open(Config{Path: path, ReadOnly: true}); err == nil {
		t.Error("a file that does not exist was opened")
	}
	s := open(t, Config{Path: path})
	if err := put(t, s, numbered(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Config{Path: path, ReadOnly: true})
	if err := s.Put(t.Context(), numbered(2)); err == nil {
		t.Error("put: got no error")
	}
	if got := packets(t, s); got != 50 {
		t.Errorf("got %d packets, want 50", got)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestMaxAge(t *testing.T) {
	const most = 20 * 24 * time.Hour
	got := Config{MaxAge: most}.withDefaults().Ages
	want := [Resolutions]time.Duration{2 * 24 * time.Hour, 14 * 24 * time.Hour, most, most}
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What goes on is written for a reader, unless that was done just now.
func TestFresh(t *testing.T) {
	for _, c := range []struct {
		fresh time.Duration
		want  uint64
	}{{time.Nanosecond, 50}, {time.Hour, 0}} {
		s := open(t, Config{Fresh: c.fresh})
		if err := s.Put(t.Context(), numbered(1)); err != nil {
			t.Fatal(err)
		}
		if got := packets(t, s); got != c.want {
			t.Errorf("fresh for %v: got %d packets, want %d", c.fresh, got, c.want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
