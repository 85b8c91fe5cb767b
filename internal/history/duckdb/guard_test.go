//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"errors"
	"testing"
	"time"

	"github.com/netfate/netfate/internal/history"
)

// A statement that makes the process too large ends, though DuckDB would let it go on, and
// others are answered.
func TestGuard(t *testing.T) {
	s := open(t, Config{Memory: 8 << 30, Resident: 1})
	defer s.Close()
	const large = "SELECT sum(length(l::VARCHAR)) FROM (SELECT list(r.range) AS l FROM range(100000000) r GROUP BY r.range % 1000)"
	if _, err := s.SQL(t.Context(), large, history.Limits{Time: 5 * time.Minute}); !errors.Is(err, history.ErrLimit) || !errors.Is(err, errResident) {
		t.Errorf("got error %v, want %v", err, errResident)
	}
	if got, err := s.SQL(t.Context(), "SELECT 1", history.Limits{}); err != nil || len(got.Rows) != 1 {
		t.Errorf("a small statement behind it: got %v, error %v", got.Rows, err)
	}
}
