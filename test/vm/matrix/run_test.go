package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDigest(t *testing.T) {
	const output = `=== RUN   TestA
=== RUN   TestA/sub
    a_test.go:1: said
--- FAIL: TestA (1.00s)
    --- FAIL: TestA/sub (0.50s)
=== RUN   TestB
    b_test.go:2: this kernel lacks it
--- SKIP: TestB (0.00s)
=== RUN   TestC
    c_test.go:3: all is well
--- PASS: TestC (0.10s)
=== RUN   TestD
--- FAIL: TestD (0.20s)
`
	for _, c := range []struct {
		end    string
		failed []string
	}{
		{"FAIL\n", []string{"TestA", "TestD"}},
		{"panic: test timed out after 20m0s\n\ngoroutine 1 [running]:\n", nil},
		{"", nil},
	} {
		skips, failed, told := digest(strings.NewReader(output + c.end))
		if diff := cmp.Diff([]string{"TestB: this kernel lacks it"}, skips); diff != "" {
			t.Errorf("skips (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(c.failed, failed); diff != "" {
			t.Errorf("ended by %q: failed (-want +got):\n%s", c.end, diff)
		}
		if text := strings.Join(told, "\n"); !strings.Contains(text, "a_test.go:1: said") || strings.Contains(text, "all is well") {
			t.Errorf("got %q, want what failed and not what passed", text)
		}
	}
}
