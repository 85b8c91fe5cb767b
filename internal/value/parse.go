package value

import (
	"fmt"
	"strconv"

	"github.com/cilium/ebpf/btf"
)

// Parse encodes text as a value of type t.
func Parse(t btf.Type, text string) ([]byte, error) {
	return ParseNamed("", t, text, 0)
}

// ParseNamed is [Parse] for a variable or member called name.
func ParseNamed(name string, t btf.Type, text string, _ int) ([]byte, error) {
	s := shapeOf(name, t)
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		return nil, fmt.Errorf("%q: want a number", text)
	}
	b := make([]byte, s.size)
	for i := range b {
		b[i] = byte(uint64(n) >> (8 * i))
	}
	return b, nil
}
