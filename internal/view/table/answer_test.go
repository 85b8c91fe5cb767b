package table

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/history"
)

func TestAnswer(t *testing.T) {
	answer := history.Table{
		Columns: []history.Column{{Name: "time", Type: "time"}, {Name: "comm", Type: "string"}, {Name: "bytes", Type: "uint"}, {Name: "share", Type: "float"}},
		Rows: [][]any{
			{time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC), "a\x1b[31m,b", uint64(1<<64 - 1), 0.5},
			{nil, nil, nil, nil},
		},
	}
	for format, want := range map[Format]string{
		Table: "TIME                  COMM                        BYTES  SHARE\n2026-03-14T03:00:00Z  a\\x1b[31m,b  18446744073709551615    0.5\n-                     -                               -      -\n",
		JSON:  `{"time":"2026-03-14T03:00:00Z","comm":"a\u001b[31m,b","bytes":18446744073709551615,"share":0.5}` + "\n" + `{"time":null,"comm":null,"bytes":null,"share":null}` + "\n",
		CSV:   "time,comm,bytes,share\n2026-03-14T03:00:00Z,\"a\\x1b[31m,b\",18446744073709551615,0.5\n,,,\n",
	} {
		var out bytes.Buffer
		if err := WriteAnswer(&out, answer, Options{Format: format}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, out.String()); d != "" {
			t.Errorf("%s (-want +got):\n%s", format, d)
		}
	}
	if err := WriteAnswer(&bytes.Buffer{}, answer, Options{Format: "xml"}); err == nil {
		t.Error("xml: got no error")
	}
}
