package clickhouse

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netfate/netfate/internal/history"
)

func TestParseURL(t *testing.T) {
	for _, c := range []struct {
		text, want, wrong string
	}{
		{"clickhouse://web@db:8124/fleet", "clickhouse://web@db:8124/fleet", ""},
		{"clickhouse://db", "clickhouse://default@db:8123/netfate", ""},
		{"clickhouses://[2001:db8::1]/x", "clickhouses://default@[2001:db8::1]:8443/x", ""},
		{"clickhouse://u:secret@db/x", "", "it has a password"},
		{"clickhouse://u:secret@db:port/x", "", "it is no URL"},
		{"http://db", "", "is no clickhouse://"},
		{"clickhouse://", "", "is no clickhouse://"},
		{"clickhouse://db/a?b=c", "", "is no clickhouse://"},
		{"clickhouse://db/a`b", "", "letters, digits and _"},
		{"clickhouse://db/1", "", "letters, digits and _"},
	} {
		got, err := ParseURL(c.text)
		switch {
		case c.wrong != "":
			if err == nil || !strings.Contains(err.Error(), c.wrong) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: got error %v, want %q", c.text, err, c.wrong)
			}
		case err != nil || got.String() != c.want:
			t.Errorf("%s: got %v, error %v; want %s", c.text, got, err, c.want)
		}
	}
	if IsURL("/var/lib/clickhouse://x") || !IsURL("clickhouses://x") || IsURL("none") {
		t.Error("files and URLs are not told apart")
	}
}

var update = flag.Bool("update", false, "rewrite testdata from what the code says")

// TestDialects holds what is said to servers against testdata/tables.sql, one statement
// of each dialect and kind.
func TestDialects(t *testing.T) {
	var b strings.Builder
	for _, version := range []string{"18.16.1", "24.3.1"} {
		d := newDialect(version)
		b.WriteString("-- " + version + "\n")
		for _, k := range newKinds() {
			b.WriteString(strings.ReplaceAll(d.create(k), ", `", ",\n\t`") + ";\n")
		}
	}
	path := filepath.Join("testdata", "tables.sql")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("tables (-want +got):\n%s", d)
	}
	for version, modern := range map[string]bool{"18.16.1": false, "22.7.9.1": false, "22.8.1": true, "25.1": true, "odd": false} {
		if got := newDialect(version).modern; got != modern {
			t.Errorf("%s: got modern %v", version, got)
		}
	}
}

// TestDamagedSpool has files that are cut, of a write that did not end, and no batches.
func TestDamagedSpool(t *testing.T) {
	dir := t.TempDir()
	s, err := openSpool(dir, 1<<20, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := s.put(&batch{ID: strings.Repeat("a", i+1), Table: history.Flows, Insert: "INSERT", Rows: uint64(i + 1), body: []byte("rows\nwith lines")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, s.held[1].name), 5); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x" + partial, "notes", "y" + suffix} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	told := 0
	if s, err = openSpool(dir, 1<<20, func(string) { told++ }); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	if s.rows() != 4 || told != 1 || s.next != 3 {
		t.Errorf("got %d rows, told %d times, next %d; want 4, once, 3", s.rows(), told, s.next)
	}
	b, err := s.first()
	if err != nil || b.ID != "a" || string(b.body) != "rows\nwith lines" {
		t.Errorf("got %+v, error %v", b, err)
	}
}

func TestTypes(t *testing.T) {
	for typ, want := range map[string]string{
		"UInt8": "uint", "Int64": "int", "Nullable(UInt16)": "uint", "LowCardinality(Nullable(String))": "string", "DateTime('UTC')": "time",
		"Float64": "float", "Decimal(9, 2)": "float", "Array(String)": "strings", "Enum8('a' = 1)": "string", "IntervalDay": "IntervalDay", "UUID": "UUID",
	} {
		if got := typeName(typ); got != want {
			t.Errorf("%s: got %s, want %s", typ, got, want)
		}
	}
}
