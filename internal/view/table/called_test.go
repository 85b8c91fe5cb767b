package table

import (
	"fmt"
	"testing"
)

func TestCalled(t *testing.T) {
	g := (&Options{Unicode: true}).signs()
	var c called
	is := func(want, short string) {
		t.Helper()
		cell := c.cell(&g)
		if got := cell.text; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := cell.short(12); got != short {
			t.Errorf("in 12 cells: got %q, want %q", got, short)
		}
	}
	is("", "")
	c.add("www.example.com")
	c.add("")
	c.add("www.example.com")
	is("www.example.com", "www.exa….com")
	c.add("api.example.com")
	is("api.example.com +1", "api.e…com +1")
	c.add("www.example.com")
	is("www.example.com +1", "www.e…com +1")
	for i := range maxCalled {
		c.add(fmt.Sprintf("%02d.example", i))
	}
	is("15.example +>15", "15.e…le +>15")
	c = called{}
	c.add("\x1b[31m")
	is(`\x1b[31m`, `\x1b[31m`)
}
