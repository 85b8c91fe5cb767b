// Package kernels holds what each kernel of the matrix is known to give, and
// the tests that compare: what netfate doctor says, what the verifier takes for
// each program, and how netfate behaves where something is missing. The page
// docs/kernels.md is made from its testdata.
//
// `go run ./test/vm/matrix -update SERIES` writes testdata anew.
package kernels
