//go:build !cgo || !(amd64 || arm64)

package duckdb

import (
	"context"
	"fmt"
	"io"

	"github.com/netfate/netfate/internal/history"
)

// Open returns [ErrNoCgo].
func Open(cfg Config) (history.Store, error) {
	return nil, fmt.Errorf("open %s: %w", cfg.Path, ErrNoCgo)
}

// Serve returns [ErrNoCgo].
func Serve(io.ReadWriter) error { return ErrNoCgo }

// WriteParquet returns [ErrNoCgo].
func WriteParquet(_ context.Context, path string, _ history.Table) error {
	return fmt.Errorf("write %s: %w", path, ErrNoCgo)
}
