package http

import (
	"strings"
	"testing"
)

func TestTemplate(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"", ""},
		{"/", "/"},
		{"*", "*"},
		{"/index.html", "/index.html"},
		{"/users/42", "/users/{id}"},
		{"/users/42/posts/7/", "/users/{id}/posts/{id}/"},
		{"//42//", "//{id}//"},
		{"//me:word@host", "//host"},
		{"//me:word@host/users/42", "//host/users/{id}"},
		{"/api/v1/users", "/api/v1/users"},
		{"/api/v2.1/users", "/api/v2.1/users"},
		{"/http2/ipv6/utf-8/base64/sha256/oauth2", "/http2/ipv6/utf-8/base64/sha256/oauth2"},
		{"/orders/6f1c2a54-8f0e-4b1a-9d5c-0c4d2b7a9e11", "/orders/{id}"},
		{"/ORDERS/6F1C2A54-8F0E-4B1A-9D5C-0C4D2B7A9E11", "/ORDERS/{id}"},
		{"/blob/da39a3ee5e6b4b0d3255bfef95601890afd80709", "/blob/{id}"},
		{"/doc/507f1f77bcf86cd799439011", "/doc/{id}"},
		{"/commit/60b8ec5a", "/commit/{id}"},
		{"/facade/decade/deadbeef/added", "/facade/decade/deadbeef/added"},
		{"/log/2026-11-25", "/log/{id}"},
		{"/log/2026/11/25/12:30", "/log/{id}/{id}/{id}/{id}"},
		{"/at/2026-11-25T12:00:00.5Z/x", "/at/{id}/x"},
		{"/at/20261125T120000Z", "/at/{id}"},
		{"/ulid/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/ulid/{id}"},
		{"/token/dGhpcyBpcyBhIHRva2Vu0a1B2c3", "/token/{id}"},
		{"/u/user_12345/INV-2026-0042", "/u/{id}/{id}"},
		{"/bucket/i-0abcd1234ef567890", "/bucket/{id}"},
		{"/photo/12345.jpg", "/photo/{id}.jpg"},
		{"/static/app-3f2a9c81d0.js", "/static/app-{id}.js"},
		{"/static/app.3f2a9c81.css", "/static/app.{id}.css"},
		{"/jquery-3.7.1.min.js", "/jquery-3.7.1.min.js"},
		{"/posts/how-to-cook-rice-in-20-minutes", "/posts/how-to-cook-rice-in-20-minutes"},
		{"/soap/GetUserInfoByNameV2", "/soap/GetUserInfoByNameV2"},
		{"/cart;jsessionid=8A7F9C/pay;x", "/cart/pay"},
		{"/with blank 7/%20", "/with blank 7/%20"},
		{"/ünïcode/7", "/ünïcode/{id}"},
		{"/pkg.Greeter/Hello", "/pkg.Greeter/Hello"},
	} {
		if got := Template(c.path); got != c.want {
			t.Errorf("%q: got %q, want %q", c.path, got, c.want)
		}
	}
}

// A template is its own, has as many parts as the path, and no number for one.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"/users/42", "/a/app-3f2a9c81d0.js", "/2026-11-25T12:00:00Z;x/", "a.1.b", "{id}.9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got := Template(path)
		if again := Template(got); again != got {
			t.Errorf("%q: %q becomes %q", path, got, again)
		}
		if strings.Count(got, "/") != strings.Count(path, "/") {
			t.Errorf("%q: got %q, want as many parts", path, got)
		}
		for part := range strings.SplitSeq(got, "/") {
			if part != "" && strings.Trim(part, "0123456789") == "" {
				t.Errorf("%q: %q has a number", path, got)
			}
		}
	})
}

func BenchmarkTemplate(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Template("/api/v1/users/12345/orders/6f1c2a54-8f0e-4b1a-9d5c-0c4d2b7a9e11")
	}
}
