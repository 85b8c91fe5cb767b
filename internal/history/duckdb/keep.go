//go:build cgo && (amd64 || arm64)

package duckdb

import (
	"context"
	"time"
)

// roomShare is the share of the bound, in percent, that may be in use: the file
// keeps what is free to use it again, and a write needs room beside.
const roomShare = 85

// keep deletes what is too old, and the oldest of what there is most of until the
// rest has room: whole partitions, and never the newest one. It says how many rows
// it deleted for either reason.
func (f *file) keep(ctx context.Context, now time.Time) (aged, crowded int64, err error) {
	if aged, err = f.keepYoung(ctx, now); err != nil {
		return aged, 0, err
	}
	full, err := f.full(ctx)
	if !full || err != nil {
		return aged, 0, err
	}
	// What is deleted counts once it is out of the log.
	if err := f.checkpoint(ctx); err != nil {
		return aged, 0, err
	}
	for {
		if full, err = f.full(ctx); !full || err != nil {
			return aged, crowded, err
		}
		i, before, err := f.largest(ctx)
		if i < 0 || err != nil {
			return aged, crowded, err
		}
		n, err := f.giveUp(ctx, i, before)
		crowded += n
		if err != nil {
			return aged, crowded, err
		}
		if err := f.checkpoint(ctx); err != nil {
			return aged, crowded, err
		}
	}
}

// full reports whether the file is over its bound; in memory, whether there are more
// rows than may be.
func (f *file) full(ctx context.Context) (bool, error) {
	if f.path != "" {
		_, used, err := f.size(ctx)
		return used > f.cfg.MaxBytes/100*roomShare, err
	}
	var n int64
	for _, r := range resolutions() {
		some, err := f.count(ctx, r)
		if err != nil {
			return false, err
		}
		n += some
	}
	return n > f.cfg.MaxMemoryRows, nil
}

// keepYoung deletes what is too old. Age is that of the newest row, unless its
// clock was ahead.
func (f *file) keepYoung(ctx context.Context, now time.Time) (n int64, err error) {
	last := min(f.newest, now.Unix())
	for i, r := range resolutions() {
		before := last - int64(f.cfg.Ages[i].Seconds())
		before -= before % r.partition
		if before = min(before, f.mayGo(i)); before <= f.marks.since[i] {
			continue
		}
		some, err := f.giveUp(ctx, i, before)
		n += some
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// mayGo is before when rows of a resolution may be deleted: those of the newest
// partition may not, nor those that are not rolled up yet, nor those that a finer
// resolution still has.
func (f *file) mayGo(i int) int64 {
	all := resolutions()
	before := f.newest - f.newest%all[i].partition
	if i+1 < len(all) {
		rolled := f.marks.until[i+1]
		before = min(before, rolled-rolled%all[i].partition)
	}
	if i > 0 {
		finer := f.marks.since[i-1]
		before = min(before, finer-finer%all[i].partition)
	}
	return before
}

// largest finds the resolution with most rows of which something may be deleted, and
// the end of its oldest partition; -1 if there is none.
func (f *file) largest(ctx context.Context) (at int, before int64, err error) {
	at = -1
	var most int64
	for i, r := range resolutions() {
		n, err := f.count(ctx, r)
		if err != nil {
			return -1, 0, err
		}
		if end := f.oldestEnd(i); n > most && end <= f.mayGo(i) {
			at, before, most = i, end, n
		}
	}
	return at, before, nil
}

// oldestEnd is the end of the oldest partition of a resolution, forever if there is
// none.
func (f *file) oldestEnd(i int) int64 {
	oldest := forever
	for j := range f.spans {
		oldest = min(oldest, f.spans[j][i].oldest)
	}
	if oldest == forever {
		return forever
	}
	partition := resolutions()[i].partition
	return oldest - oldest%partition + partition
}
