// Command vmlinux writes bpf/vmlinux/vmlinux.h: the kernel types that our BPF
// programs use, and of those only the members that they use, taken from a
// kernel's BTF. `make vmlinux` runs it.
//
// The whole of a kernel's types are 135,000 lines, which nobody reviews and
// every build parses. With CO-RE the header needs no true layout: names and
// kinds are enough, and the loader finds the offsets of the running kernel. So
// which kernel the BTF is of does not matter, as long as it has the members.
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf/btf"
)

func main() {
	source := flag.String("btf", "/sys/kernel/btf/vmlinux", "read the types from this `file`, BTF or an ELF file with BTF")
	list := flag.String("wanted", "bpf/vmlinux/wanted.txt", "read the list of types and members from this `file`")
	out := flag.String("out", "bpf/vmlinux/vmlinux.h", "write the header to this `file`")
	flag.Parse()
	if err := run(*source, *list, *out); err != nil {
		fmt.Fprintln(os.Stderr, "vmlinux:", err)
		os.Exit(1)
	}
}

func run(source, list, out string) error {
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	w, err := parseWanted(string(text))
	if err != nil {
		return fmt.Errorf("%s:%w", list, err)
	}
	spec, err := btf.LoadSpec(source)
	if err != nil {
		return fmt.Errorf("load BTF of %s: %w", source, err)
	}
	header, err := generate(w, spec)
	if err != nil {
		return fmt.Errorf("%s has not all that %s wants:\n%w", source, list, err)
	}
	return os.WriteFile(out, []byte(sign(header, string(text))), 0o644)
}

const signature = "/* sha256 of wanted.txt and of the text above: "

// sign appends a line to header by which [verify] sees that neither it nor the
// list it was made from has been changed since.
func sign(header, list string) string {
	return fmt.Sprintf("%s%s%x */\n", header, signature, sha256.Sum256([]byte(list+header)))
}

// verify tells whether a signed header was made from list and left alone.
func verify(signed, list string) error {
	i := strings.LastIndex(signed, signature)
	if i < 0 {
		return errors.New("it was not written by tools/vmlinux")
	}
	if sign(signed[:i], list) != signed {
		return errors.New("it or wanted.txt was edited since it was written; run make vmlinux")
	}
	return nil
}
