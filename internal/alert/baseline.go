package alert

import "math"

const (
	// halfLife is the time, in seconds, after which what was learned weighs half.
	halfLife = 15 * 60
	// blockLen is how many intervals make a block, over which clumps show that
	// single intervals do not have.
	blockLen = 16
	// prior is how many counts the belief is worth that counts do not clump.
	prior = 10
	// caution is by how many standard errors a rate is taken to be higher than
	// it was measured.
	caution = 3
	// clip is how many standard deviations above its mean a count is learned as.
	clip = 5
	// ratio is the rise that the score is best at telling.
	ratio = 3
)

// baseline is what is usual in a series: a rate, how well it is known, and how
// much the counts clump. docs/watch.md has the reasons. The zero value has seen
// nothing.
type baseline struct {
	n float64 // counts; like all below, the older, the less they weigh
	t float64 // seconds

	// Squares of what intervals, and blocks of them, differed from what was
	// expected. Of a Poisson process they come to n.
	fine, coarse float64

	block struct {
		n, t, mean float64
		intervals  int
	}
}

// learn takes the count of an interval of dt seconds. With robust it takes a
// count that is far off as one that is less so.
func (b *baseline) learn(c, dt float64, robust bool) {
	if b.t > 0 {
		mean := b.n / b.t * dt
		if robust {
			c = min(c, mean+clip*math.Sqrt(b.clumping()*(mean+1)))
		}
		b.fine += square(c-mean) / (1 + dt/b.t)
		b.block.mean += mean
		b.block.n += c
		b.block.t += dt
		b.block.intervals++
	}
	if b.block.intervals == blockLen {
		b.coarse += square(b.block.n-b.block.mean) / (1 + b.block.t/b.t)
		b.block.n, b.block.t, b.block.mean, b.block.intervals = 0, 0, 0, 0
	}
	older := math.Exp2(-dt / halfLife)
	b.n = b.n*older + c
	b.t = b.t*older + dt
	b.fine *= older
	b.coarse *= older
}

// clumping is how many times the variance of the counts is that of a Poisson
// process, at least 1: packets that are lost by tens count as a tenth.
func (b *baseline) clumping() float64 {
	return max(1, (max(b.fine, b.coarse)+prior)/(b.n+prior))
}

// highest is the highest rate, per second, that what was seen can be taken for.
func (b *baseline) highest() float64 {
	if b.t == 0 {
		return math.Inf(1)
	}
	// The root of a Poisson count has a standard deviation of 1/2.
	return square(math.Sqrt(b.n+1)+caution/2.0*math.Sqrt(b.clumping())) / b.t
}

// evidence is what a count in dt seconds says for a rate of ratio times the usual
// and against the usual one: the logarithm of how much likelier it makes it.
func (b *baseline) evidence(c, dt float64) float64 {
	return (c*math.Log(ratio) - (ratio-1)*b.highest()*dt) / b.clumping()
}

// relief is what a count in dt seconds says for the usual rate and against one of
// so many per second, which was too high.
func (b *baseline) relief(c, dt, high float64) float64 {
	usual := b.highest()
	if high <= usual {
		return 0
	}
	return ((high-usual)*dt - c*math.Log(high/usual)) / b.clumping()
}

func square(x float64) float64 { return x * x }
