// Package vm has the script that runs tests on other kernels (run), and the
// test of what it decides. It is no part of netfate; nothing imports it.
package vm
