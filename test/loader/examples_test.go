package loader

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"

	"github.com/netfate/netfate/internal/kernel"
	"github.com/netfate/netfate/test/need"
)

// mostWalked is far from the verifier's limit of a million: its ways differ from
// release to release.
const mostWalked = 200_000

// TestExamplesLoad loads every program of bpf/examples, those that are optional
// included: the verifier of each kernel has an opinion of its own.
func TestExamplesLoad(t *testing.T) {
	need.Root(t)
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
			// Fragments came to XDP with this helper, in 5.18.
			if errors.Is(features.HaveProgramHelper(ebpf.XDP, asm.FnXdpLoadBytes), ebpf.ErrNotSupported) {
				delete(spec.Programs, "url_map_frags")
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
				if walked, ok := info.VerifiedInstructions(); ok && walked > mostWalked {
					t.Errorf("%s: the verifier walked %d instructions, want at most %d", name, walked, mostWalked)
				}
			}
		})
	}
}
