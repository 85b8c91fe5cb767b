package pcapng

import (
	"cmp"
	"slices"

	"github.com/netfate/netfate/internal/record"
)

// losses adds up what netfate lost, by place and reason.
type losses map[[2]string]record.Lost

func (l losses) add(list []record.Lost) {
	for _, one := range list {
		key := [2]string{one.Place, one.Reason}
		one.Count += l[key].Count
		l[key] = one
	}
}

func (l losses) list() (all []record.Lost) {
	for _, one := range l {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b record.Lost) int {
		return cmp.Or(cmp.Compare(a.Place, b.Place), cmp.Compare(a.Reason, b.Reason))
	})
	return all
}
