//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"path/filepath"
	"testing"

	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/test/historytest"
)

// open opens a history that the caller closes.
func open(t testing.TB, cfg Config) *store {
	t.Helper()
	if cfg.Path == "" {
		cfg.Path = filepath.Join(memoryDir(t), "history.duckdb")
	}
	if cfg.Say == nil {
		cfg.Say = func(text string) { t.Log(text) }
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*store)
}

func TestConformance(t *testing.T) {
	historytest.Run(t, historytest.Promise{SQL: true, Minutes: true}, func(t *testing.T) history.Store { return open(t, Config{}) })
}
