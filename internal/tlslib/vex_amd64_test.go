package tlslib

import (
	"encoding/hex"
	"testing"
)

// TestVEX compares lengths with what GNU as made of the instructions.
func TestVEX(t *testing.T) {
	f := func(code, text string) {
		t.Helper()
		b, err := hex.DecodeString(code)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := vexLength(append(b, 0x90, 0x90, 0x90)); !ok || got != len(b) {
			t.Errorf("%s: got %d, %v; want %d", text, got, ok, len(b))
		}
	}
	f("c4e2e9f7c1", "shlx rax, rcx, rdx")
	f("c4e2e9f74108", "shlx rax, [rcx+8], rdx")
	f("c4e2e9f78100010000", "shlx rax, [rcx+256], rdx")
	f("c4e2e9f7044a", "shlx rax, [rdx+rcx*2], rdx")
	f("c4e2e9f7044d10000000", "shlx rax, [rcx*2+16], rdx")
	f("c4e2e9f70510000000", "shlx rax, [rip+16], rdx")
	f("c4e2e9f7444a08", "shlx rax, [rdx+rcx*2+8], rdx")
	f("c4e3fbf0c107", "rorx rax, rcx, 7")
	f("c4e3fbf0410807", "rorx rax, [rcx+8], 7")
	f("c5f877", "vzeroupper")
	f("c5fe6f00", "vmovdqu ymm0, [rax]")
	f("c5f9c5c001", "vpextrw eax, xmm0, 1")
	if _, ok := vexLength([]byte{0xc3, 0x90, 0x90, 0x90, 0x90}); ok {
		t.Error("ret: got a VEX prefix")
	}
	if _, ok := vexLength([]byte{0xc4, 0xe2}); ok {
		t.Error("too short: got a length")
	}
}
