package history

import "testing"

func TestBucket(t *testing.T) {
	for n := uint64(1); n < 1<<62; n += n/50 + 1 {
		got := Bucket(n)
		if got < n-n/16-1 || got > n+n/16+1 || Bucket(got) != got {
			t.Fatalf("Bucket(%d) = %d, and of that %d", n, got, Bucket(got))
		}
	}
	if Bucket(0) != 0 || Bucket(1) != 1 || Bucket(16) != Bucket(17) {
		t.Errorf("got %d, %d, %d", Bucket(0), Bucket(1), Bucket(16))
	}
}
