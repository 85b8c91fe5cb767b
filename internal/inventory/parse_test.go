package inventory

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseFdinfo(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       object
		ok         bool
	}{
		{"program", "pos:\t0\nflags:\t02000002\nprog_type:\t17\nprog_jited:\t1\nprog_tag:\t3b185187f1855c4c\nmemlock:\t4096\nprog_id:\t74\n", object{programKind, 74}, true},
		{"map", "flags:\t02000002\nmap_type:\t1\nkey_size:\t4\nmap_id:\t12\nfrozen:\t0\n", object{mapKind, 12}, true},
		{"program array with an owner", "map_id:\t12\nowner_prog_type:\t3\n", object{mapKind, 12}, true},
		{"link", "link_type:\traw_tracepoint\nlink_id:\t5\nprog_tag:\t3b18\nprog_id:\t74\ntp_name:\ttask_rename\n", object{linkKind, 5}, true},
		{"a file", "pos:\t0\nflags:\t0100000\nmnt_id:\t27\n", object{}, false},
		{"no number", "prog_id:\tx\n", object{}, false},
		{"too great", "prog_id:\t4294967296\n", object{}, false},
		{"zero", "prog_id:\t0\n", object{}, false},
		{"nothing", "", object{}, false},
	} {
		got, ok := parseFdinfo(c.text)
		if got != c.want || ok != c.ok {
			t.Errorf("%s: got %v %v, want %v %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func TestBPFMounts(t *testing.T) {
	const mountinfo = `23 28 0:21 / /proc rw - proc proc rw
40 23 0:30 / /sys/fs/bpf rw,nosuid shared:9 - bpf bpf rw,mode=700
41 23 0:30 / /mnt/again rw - bpf bpf rw,mode=700
42 23 0:31 / /mnt/with\040space rw master:1 - bpf none rw
43 23 0:32 / /mnt/bpf rw - tmpfs bpf rw
broken
44 23 0:33 / /x -
`
	got := bpfMounts(mountinfo)
	if diff := cmp.Diff([]string{"/sys/fs/bpf", "/mnt/with space"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzProc feeds what the kernel writes to /proc, damaged.
func FuzzProc(f *testing.F) {
	f.Add("link_id:\t5\nprog_id:\t74\n")
	f.Add("40 23 0:30 / /sys/fs/b\\040pf rw shared:9 - bpf bpf rw\n")
	f.Fuzz(func(t *testing.T, text string) {
		if o, ok := parseFdinfo(text); ok != (o.id != 0) {
			t.Errorf("got %v, %v", o, ok)
		}
		for _, root := range bpfMounts(text) {
			if len(root) > len(text) {
				t.Errorf("got %q from less", root)
			}
		}
	})
}
