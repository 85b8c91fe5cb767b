package alert

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// story plays counts to a detector of one series, at one interval a second.
type story struct {
	t      *testing.T
	d      *Detector[string, int]
	at     time.Time
	events []string // "61 new 5": second, kind, count
}

func newStory(t *testing.T, learn time.Duration) *story {
	return &story{t: t, d: NewDetector[string, int](learn, 0, "rest"), at: time.Unix(1_700_000_000, 0)}
}

func (s *story) play(seconds int, count func(second int) uint64) {
	for i := range seconds {
		s.d.Add("a", count(i), 0)
		end := s.at.Add(time.Second)
		for _, e := range s.d.Roll(s.at, end) {
			s.events = append(s.events, fmt.Sprintf("%d %s %d", end.Unix()-1_700_000_000, nameOf(e.Kind), e.Count))
		}
		s.at = end
	}
}

func (s *story) want(events ...string) {
	s.t.Helper()
	if d := cmp.Diff(events, s.events); d != "" {
		s.t.Errorf("events (-want +got):\n%s", d)
	}
}

func always(n uint64) func(int) uint64 { return func(int) uint64 { return n } }

func TestNewPlaceOnceAndOver(t *testing.T) {
	s := newStory(t, time.Minute)
	s.play(100, always(0))
	s.play(20, always(5))
	s.play(100, always(0))
	s.want("101 new 5", "150 over 100")
}

// TestFirstOfItsKind checks that a single packet is news where there was none.
func TestFirstOfItsKind(t *testing.T) {
	s := newStory(t, time.Minute)
	s.play(100, always(0))
	s.play(1, always(1))
	s.play(100, always(0))
	s.want("101 new 1", "131 over 1")
}

func TestWhatIsLearnedIsUsual(t *testing.T) {
	s := newStory(t, time.Minute)
	s.play(3600, always(5))
	s.play(3600, func(i int) uint64 { return uint64(i % 7) })
	s.want()
}

// TestBackBeforeLong checks that a place which was seen before is no news, unless
// it loses more than it did, and is news again after a day.
func TestBackBeforeLong(t *testing.T) {
	s := newStory(t, time.Minute)
	s.play(30, always(1))
	s.play(7200, always(0))
	s.play(1, always(1))
	s.play(7200, always(0))
	s.want()
	s.play(86400, always(0))
	s.play(1, always(1))
	s.play(60, always(0))
	s.want("100832 new 1", "100862 over 1")
}

// TestNoLearning checks that without time to learn everything is news.
func TestNoLearning(t *testing.T) {
	s := newStory(t, 0)
	s.play(10, always(3))
	s.play(60, always(0))
	s.want("1 new 3", "40 over 30")
}

// TestRises checks that a loss which goes on is told again when it gets worse, and
// only then.
func TestRises(t *testing.T) {
	s := newStory(t, time.Minute)
	s.play(60, always(0))
	s.play(3600, always(2))
	s.play(3600, always(200))
	s.play(60, always(0))
	s.want("61 new 2", "3661 high 200", "7290 over 720000")
}

// TestFlapping checks that what comes and goes is told ever less often, and that
// what is held back is counted.
func TestFlapping(t *testing.T) {
	s := newStory(t, time.Minute)
	s.play(60, always(0))
	for _, period := range []int{100, 700} {
		s.play(12*3600, func(i int) uint64 {
			if i%period < 5 {
				return 100
			}
			return 0
		})
	}
	if len(s.events) > 16 {
		t.Errorf("got %d alerts in a day, want few: %v", len(s.events), s.events)
	}
	if len(s.events) < 2 || s.d.Held() == 0 {
		t.Errorf("got %v and %d held back, want some of each", s.events, s.d.Held())
	}
	s.play(3*3600, always(0))
	if last := s.events[len(s.events)-1]; s.d.series["a"].open != nil {
		t.Errorf("got %s last, want an end", last)
	}
}

// TestHeldBackIsTold checks that a loss which begins too soon after another one,
// and stays, is told as soon as it may be.
func TestHeldBackIsTold(t *testing.T) {
	s := newStory(t, time.Minute)
	s.play(60, always(0))
	s.play(1, always(100))
	s.play(59, always(0))
	s.play(600, always(100))
	s.play(120, always(0))
	s.want("61 new 100", "91 over 100", "361 high 24100", "780 over 60000")
	if s.d.Held() != 0 {
		t.Errorf("got %d held back, want 0 that were not told later", s.d.Held())
	}
}

// TestTimes checks that gaps between intervals, intervals without length and a
// clock that is set back change nothing.
func TestTimes(t *testing.T) {
	d := NewDetector[string, int](time.Minute, 0, "rest")
	at := time.Unix(1_700_000_000, 0)
	events := 0
	for i := range 3000 {
		switch i % 500 {
		case 100:
			at = at.Add(time.Hour)
		case 200:
			at = at.Add(-2 * time.Hour)
		case 300:
			d.Add("a", 5, 0)
			events += len(d.Roll(at, at)) // counts with the next one
			continue
		case 301:
			at = at.Add(-time.Second)
		default:
			d.Add("a", 5, 0)
		}
		end := at.Add(time.Second)
		events += len(d.Roll(at, end))
		at = end
	}
	if events != 0 {
		t.Errorf("got %d events, want none", events)
	}
}

// TestNoRoom checks that what has no room is watched as one series, and counted.
func TestNoRoom(t *testing.T) {
	d := NewDetector[string, int](0, 3, "rest")
	at := time.Unix(0, 0)
	for i := range 10 {
		d.Add(fmt.Sprint(i), 2, i)
	}
	events := d.Roll(at, at.Add(time.Second))
	var keys []string
	for _, e := range events {
		keys = append(keys, fmt.Sprint(e.Key, e.Count))
	}
	if diff := cmp.Diff([]string{"02", "12", "22", "rest14"}, keys); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if d.Excluded() != 14 || d.Len() != 4 {
		t.Errorf("got %d excluded and %d series, want 14 and 4", d.Excluded(), d.Len())
	}
	for range 90_000 {
		at = at.Add(time.Second)
		d.Roll(at, at.Add(time.Second))
	}
	if d.Len() != 0 {
		t.Errorf("got %d series after a day of silence, want room", d.Len())
	}
}

// poisson draws a count of the mean, by Knuth's product for small ones and by the
// normal distribution for large ones.
func poisson(r *rand.Rand, mean float64) uint64 {
	if mean > 200 {
		return uint64(max(0, math.Round(mean+math.Sqrt(mean)*r.NormFloat64())))
	}
	n, p, limit := uint64(0), r.Float64(), math.Exp(-mean)
	for p > limit {
		p *= r.Float64()
		n++
	}
	return n
}

func rates() []float64 {
	return []float64{0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 100, 1000, 1e5}
}

// seen makes the series known, so that what comes later is no news by itself.
func seen(s *story) {
	first := true
	s.play(60, func(int) uint64 {
		defer func() { first = false }()
		if first {
			return 1
		}
		return 0
	})
}

// TestSteadyNoiseIsSilent holds the rate of false alerts below what docs/watch.md
// promises: 12 rates, 4 series each, for a day.
func TestSteadyNoiseIsSilent(t *testing.T) {
	const days = 1
	for seed := range uint64(4) {
		for _, rate := range rates() {
			r := rand.New(rand.NewPCG(seed, math.Float64bits(rate)))
			s := newStory(t, 3*time.Minute)
			if rate < 0.05 {
				seen(s)
			}
			s.play(days*86400, func(int) uint64 { return poisson(r, rate) })
			if len(s.events) > 0 {
				t.Errorf("rate %v, seed %d: got %v, want silence", rate, seed, s.events)
			}
		}
	}
}

// TestClumpsAreSilent does the same for losses that come several at a time, and
// for rates that wander from minute to minute.
func TestClumpsAreSilent(t *testing.T) {
	for seed := range uint64(4) {
		for name, count := range map[string]func(r *rand.Rand, i int) uint64{
			"tens":     func(r *rand.Rand, _ int) uint64 { return 10 * poisson(r, 0.3) },
			"hundreds": func(r *rand.Rand, _ int) uint64 { return 100 * poisson(r, 1) },
			"sizes":    func(r *rand.Rand, _ int) uint64 { return poisson(r, 0.5) * uint64(1+r.IntN(20)) },
			"spells":   func(r *rand.Rand, i int) uint64 { return uint64(i/32%5/4) * poisson(r, 20) },
			"wanders":  func(r *rand.Rand, i int) uint64 { return poisson(r, 20*(1+0.3*math.Sin(float64(i)/40))) },
			"daily":    func(r *rand.Rand, i int) uint64 { return poisson(r, 20*(1+0.8*math.Sin(float64(i)*2*math.Pi/86400))) },
		} {
			r := rand.New(rand.NewPCG(seed, 7))
			s := newStory(t, 3*time.Minute)
			s.play(86400, func(i int) uint64 { return count(r, i) })
			if len(s.events) > 0 {
				t.Errorf("%s, seed %d: got %v, want silence", name, seed, s.events)
			}
		}
	}
}

// TestStepIsFound wants a threefold rise told within the time in which 90 would
// usually be counted, two intervals at the least, and its end after it.
func TestStepIsFound(t *testing.T) {
	for seed := range uint64(20) {
		for _, rate := range rates() {
			if rate < 0.3 {
				continue // too few are known of in a half-life
			}
			r := rand.New(rand.NewPCG(seed, math.Float64bits(rate)))
			s := newStory(t, 3*time.Minute)
			s.play(3600, func(int) uint64 { return poisson(r, rate) })
			within := int(math.Ceil(90/rate)) + 2
			s.play(within, func(int) uint64 { return poisson(r, 3*rate) })
			if len(s.events) != 1 {
				t.Fatalf("rate %v, seed %d: got %v within %d s of the step, want one alert", rate, seed, s.events, within)
			}
			s.play(600, func(int) uint64 { return poisson(r, 3*rate) })
			s.play(int(40/rate)+600, func(int) uint64 { return poisson(r, rate) })
			if len(s.events) != 2 || s.d.series["a"].open != nil {
				t.Errorf("rate %v, seed %d: got %v, want a beginning and an end", rate, seed, s.events)
			}
		}
	}
}

// TestSlowDriftIsFollowed lets a rate double each half hour and fall again.
func TestSlowDriftIsFollowed(t *testing.T) {
	for _, rate := range []float64{0.3, 5, 100, 5000} {
		r := rand.New(rand.NewPCG(1, 2))
		s := newStory(t, 3*time.Minute)
		s.play(6*3600, func(i int) uint64 {
			half := float64(i) / 1800
			return poisson(r, rate*math.Exp2(min(half, 12-half)))
		})
		if len(s.events) > 0 {
			t.Errorf("from %v: got %v, want silence", rate, s.events)
		}
	}
}

// TestDripsAreFollowed lets a place that was quiet lose a packet each 80 s from then
// on: too few to tell within the time that is remembered.
func TestDripsAreFollowed(t *testing.T) {
	s := newStory(t, 3*time.Minute)
	seen(s)
	s.play(3600, always(0))
	s.play(86400, func(i int) uint64 { return uint64(i % 80 / 79) })
	s.want()
}

// TestLittleIsKnown checks that what was seen for half a minute only is not taken
// for what is usual to the last packet.
func TestLittleIsKnown(t *testing.T) {
	for seed := range uint64(300) {
		for _, rate := range []float64{0.05, 0.1, 0.2, 0.5, 1, 5} {
			r := rand.New(rand.NewPCG(seed, math.Float64bits(rate)))
			s := newStory(t, 30*time.Second)
			first := uint64(1) // the place is known
			s.play(600, func(int) uint64 {
				n := poisson(r, rate) + first
				first = 0
				return n
			})
			if len(s.events) > 0 {
				t.Errorf("rate %v, seed %d: got %v, want silence", rate, seed, s.events)
			}
		}
	}
}

// TestOutlierTeachesLittle checks that a burst just too small for an alert does not
// hide what comes after it.
func TestOutlierTeachesLittle(t *testing.T) {
	s := newStory(t, 3*time.Minute)
	seen(s)
	s.play(3600, always(0))
	s.play(1, always(15))
	s.play(1800, always(0))
	s.want()
	s.play(60, always(1))
	if len(s.events) != 1 {
		t.Errorf("got %v of a minute with one a second, want an alert", s.events)
	}
}

// TestRiseTeachesNothing checks that what led to an alert is not usual afterwards.
func TestRiseTeachesNothing(t *testing.T) {
	const rate, seeds = 0.3, 50
	mean := 0.0
	for seed := range uint64(seeds) {
		r := rand.New(rand.NewPCG(seed, 5))
		s := newStory(t, 3*time.Minute)
		s.play(3600, func(int) uint64 { return poisson(r, rate) })
		for len(s.events) == 0 {
			s.play(1, func(int) uint64 { return poisson(r, 3*rate) })
		}
		b := &s.d.series["a"].usual
		mean += b.n / b.t / rate / seeds
	}
	if mean < 0.95 || mean > 1.05 {
		t.Errorf("got a usual rate of %.2f times the true one, want 1", mean)
	}
}

// TestBurstIsForgotten checks that one burst does not make the next hour deaf.
func TestBurstIsForgotten(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := newStory(t, 3*time.Minute)
	s.play(3600, func(int) uint64 { return poisson(r, 5) })
	s.play(3, always(10_000))
	s.play(600, func(int) uint64 { return poisson(r, 5) })
	if len(s.events) != 2 {
		t.Fatalf("got %v, want the burst and its end", s.events)
	}
	s.play(30, func(int) uint64 { return poisson(r, 15) })
	if len(s.events) != 3 {
		t.Errorf("got %v, want the rise after the burst too", s.events)
	}
}

// FuzzDetector checks that no counts and no times make it panic, grow, or end
// what it did not begin.
func FuzzDetector(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8}, int64(0))
	f.Add([]byte{0, 255, 0, 255, 9, 9, 9, 9, 200, 100, 0, 0}, int64(60e9))
	f.Fuzz(func(t *testing.T, data []byte, learn int64) {
		const limit = 8
		d := NewDetector[byte, int](time.Duration(learn), limit, 255)
		at := time.Unix(0, 0)
		open := map[byte]bool{}
		for len(data) >= 4 {
			for i := range int(data[0] % 32) {
				d.Add(data[1]+byte(i), uint64(data[2])<<(data[3]%57), i)
			}
			end := at.Add(time.Duration(int8(data[3])) * time.Duration(1+uint64(data[2])<<(data[1]%50)))
			for _, e := range d.Roll(at, end) {
				if e.Span < 0 || e.UsualSpan < 0 || math.IsNaN(e.Usual) || e.Usual < 0 {
					t.Fatalf("got %+v", e)
				}
				switch {
				case e.Kind == Over && !open[e.Key]:
					t.Fatalf("got an end of %d without a beginning", e.Key)
				case e.Kind == New && open[e.Key]:
					t.Fatalf("got %d new twice", e.Key)
				}
				open[e.Key] = e.Kind != Over
			}
			if d.Len() > limit+1 || len(d.order) != d.Len() {
				t.Fatalf("got %d series, of which %d are in order, want %d at most", d.Len(), len(d.order), limit+1)
			}
			for _, s := range d.series {
				if math.IsNaN(s.score) || math.IsNaN(s.usual.n) || math.IsNaN(s.usual.clumping()) || s.heldOf > 1<<40 {
					t.Fatalf("got %+v", s)
				}
			}
			at, data = end, data[4:]
		}
	})
}

// TestEndsAreFound checks that a rise which was found ends, however long it lasted
// and whatever is usual.
func TestEndsAreFound(t *testing.T) {
	for seed := range uint64(10) {
		for _, rate := range []float64{0.1, 0.3, 1, 10, 1000} {
			for _, lasts := range []int{0, 60, 3600} {
				r := rand.New(rand.NewPCG(seed, math.Float64bits(rate)))
				s := newStory(t, 3*time.Minute)
				s.play(3600, func(int) uint64 { return poisson(r, rate) })
				for range 2000 {
					if s.play(1, func(int) uint64 { return poisson(r, 3*rate) }); len(s.events) > 0 {
						break
					}
				}
				s.play(lasts, func(int) uint64 { return poisson(r, 3*rate) })
				s.play(int(100/rate)+120, func(int) uint64 { return poisson(r, rate) })
				if s.d.series["a"].open != nil {
					t.Errorf("rate %v for %d s, seed %d: got %v, want an end", rate, lasts, seed, s.events)
				}
			}
		}
	}
}
