package loader

import (
	"os"
	"testing"

	"github.com/cilium/ebpf"
)

// FuzzObject parses broken objects and looks at them as Open does, without the
// kernel: whatever they hold, an answer comes back.
func FuzzObject(f *testing.F) {
	for _, source := range []string{counting, harmless, sharing} {
		object, err := os.ReadFile(compileWith(f, source, "-DSIZE=1"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(object)
	}
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, object []byte) {
		spec, err := parseObject(object)
		if err != nil {
			return
		}
		o := &Object{spec: spec, byName: map[string]string{}}
		if o.choose() != nil {
			return
		}
		for i := range o.programs {
			active(&o.programs[i])
		}
		if err := setGlobals(spec, []string{"my_pid=7"}); err == nil && spec.Variables["my_pid"] == nil {
			t.Log("a static variable was set")
		}
		for _, m := range spec.Maps {
			if m.Type == ebpf.RingBuf && m.MaxEntries > maxRing {
				return
			}
		}
		if err := o.mendMaps(); err != nil {
			t.Errorf("mend the maps: %v", err)
		}
	})
}
