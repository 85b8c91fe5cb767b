package loader

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/netfate/netfate/internal/kernel"
)

// TestExamplesLoad loads every program of bpf/examples, those that are optional
// included: the verifier of each kernel has an opinion of its own.
func TestExamplesLoad(t *testing.T) {
	needRoot(t)
	if err := kernel.LiftMemlock(); err != nil {
		t.Fatal(err)
	}
	for _, source := range sources(t, examples) {
		t.Run(filepath.Base(source), func(t *testing.T) {
			spec, err := ebpf.LoadCollectionSpec(compile(t, source))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range spec.Maps {
				m.Pinning = ebpf.PinNone
			}
			objects, err := ebpf.NewCollection(spec)
			var refused *ebpf.VerifierError
			if errors.As(err, &refused) {
				t.Fatalf("%+v", refused)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer objects.Close()
			for name, p := range objects.Programs {
				info, err := p.Info()
				if err != nil {
					t.Fatal(err)
				}
				walked, _ := info.VerifiedInstructions()
				t.Logf("%s: the verifier walked %d instructions", name, walked)
			}
		})
	}
}
