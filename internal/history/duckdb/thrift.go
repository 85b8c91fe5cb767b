//go:build cgo && (amd64 || arm64)

package duckdb

/*
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>

// DuckDB's vectors and buffers come from a jemalloc of its own, which keeps the
// addresses of what it has given back. They count as data, used or not.
const char *duckdb_je_malloc_conf_2_conf_harder = "retain:false";

int duckdb_je_mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size);

// give_back returns to the kernel what jemalloc (all of its arenas, 4096) and malloc have
// free: a question's memory, which they keep for the next for some seconds.
static void give_back(void)
{
	duckdb_je_mallctl("arena.4096.purge", NULL, NULL, NULL, 0);
	malloc_trim(0);
}

// thrifty has new threads take stacks of some bytes, and malloc few arenas, whose
// free ends it gives back.
static void thrifty(size_t stack)
{
	pthread_attr_t attr;

	mallopt(M_ARENA_MAX, 2);
	mallopt(M_TRIM_THRESHOLD, 1 << 20);
	if (pthread_attr_init(&attr))
		return;
	if (!pthread_attr_setstacksize(&attr, stack))
		pthread_setattr_default_np(&attr);
	pthread_attr_destroy(&attr);
}
*/
import "C"

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// threadStack is the room of a thread's stack, in bytes. All of it counts as data, used
	// or not, and 8 MiB are usual.
	threadStack = 2 << 20
	// goMemory is where the collector works harder.
	goMemory = 48 << 20
)

// thrifty has this process take little memory beside DuckDB's, and be the first to go
// where the host has none left.
func thrifty() {
	C.thrifty(threadStack)
	debug.SetMemoryLimit(goMemory)
	debug.SetGCPercent(50)
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("800"), 0) // it goes without
}

// giveBack has the kernel have what is free again, which takes milliseconds.
func giveBack() { C.give_back() }

// bound has the kernel give this process no more than so many bytes of memory of its own
// beside what it has from its start (RLIMIT_DATA), of which most is never used: what is
// asked for beyond fails, and either the statement with it or the process. 0 is for no bound.
func bound(data int64) error {
	if data == 0 {
		return nil
	}
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("bound memory: %w", err)
	}
	var have int64
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmData: %d kB", &have); err == nil {
			break
		}
	}
	data += have << 10
	if err := unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: uint64(data), Max: uint64(data)}); err != nil {
		return fmt.Errorf("bound memory: %w", err)
	}
	return nil
}
