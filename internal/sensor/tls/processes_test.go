package tls

import (
	"os"
	"testing"
)

func TestParseMapping(t *testing.T) {
	f := func(line, where, name, file string, want bool) {
		t.Helper()
		gotWhere, gotName, gotFile, ok := parseMapping(line)
		if ok != want || gotWhere != where || gotName != name || gotFile != file {
			t.Errorf("%q: got %q, %q, %q, %v; want %q, %q, %q, %v", line, gotWhere, gotName, gotFile, ok, where, name, file, want)
		}
	}
	f("7f2a1c000000-7f2a1c021000 r-xp 00026000 fe:01 1234                       /usr/lib/libssl.so.3", "7f2a1c000000-7f2a1c021000", "/usr/lib/libssl.so.3", "fe:01 1234", true)
	f("00400000-00401000 r-xp 00000000 00:2f 99 /opt/a program (deleted)", "400000-401000", "/opt/a program", "00:2f 99", true)
	f("7f2a1c000000-7f2a1c021000 r--p 00026000 fe:01 1234 /usr/lib/libssl.so.3", "", "", "", false)
	f("7ffd0b5f2000-7ffd0b5f4000 r-xp 00000000 00:00 0                          [vdso]", "", "", "", false)
	f("7ffd0b5f2000-7ffd0b5f4000 rwxp 00000000 00:00 0 ", "", "", "", false)
	f("", "", "", "", false)
}

// TestMappings finds this program among what it has mapped, and opens it by the
// link.
func TestMappings(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	all, err := mappings(uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.name != self {
			continue
		}
		if os.Geteuid() != 0 {
			return // may not follow it
		}
		want, err := os.Stat(self)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.Stat(m.link); err != nil || !os.SameFile(got, want) {
			t.Errorf("%s: got another file than %s, error %v", m.link, self, err)
		}
		return
	}
	t.Errorf("got %+v, want %s among it", all, self)
}

func FuzzMapping(f *testing.F) {
	f.Add("7f2a1c000000-7f2a1c021000 r-xp 00026000 fe:01 1234 /usr/lib/libssl.so.3")
	f.Add("- r-xp 0 0 1 ")
	f.Fuzz(func(t *testing.T, line string) {
		where, _, file, ok := parseMapping(line)
		if ok && (where == "" || file == "") {
			t.Errorf("%q: got nothing", line)
		}
	})
}

// TestExcept holds that a process may be left alone: it is neither read nor told as
// unreadable.
func TestExcept(t *testing.T) {
	own := uint32(os.Getpid())
	s := &Sensor{cfg: Config{Except: own}, unread: map[string]bool{}}
	if found, ok := s.scan(own); !found || !ok || len(s.unread) > 0 {
		t.Errorf("got %v, %v, unread %v; want nothing to be told", found, ok, s.unread)
	}
}
