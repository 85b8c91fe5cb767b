package table

import "time"

// Cells that hold a number sort by it, and not by what is shown of it.

func number(text string, value float64) cell { return cell{text: text, value: value, number: true} }

func countCell(n uint64) cell     { return number(count(n), float64(n)) }
func someCountCell(n uint64) cell { return number(someCount(n), float64(n)) }
func sizeCell(n uint64) cell      { return number(size(n), float64(n)) }

// tookCell is of microseconds.
func tookCell(micros uint64) cell { return number(took(micros), float64(micros)) }

func perSecondCell(n uint64, d time.Duration) cell { return number(perSecond(n, d), float64(n)) }

func bitRateCell(bytes uint64, d time.Duration) cell {
	return number(bitRate(bytes, d), float64(bytes))
}

func signedCell(n int64) cell { return number(signed(n), float64(n)) }
func someCell(n int64) cell   { return number(some(n), float64(n)) }

// resentCell is of segments that were sent again.
func resentCell(again, all uint64) cell { return number(resent(again, all), float64(again)) }
