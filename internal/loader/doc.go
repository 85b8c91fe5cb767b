// Package loader runs anyone's BPF object: it opens the ELF file, makes its maps
// once, loads its programs one by one, attaches each where its section says, pins
// what is to stay, reads what the programs send, and takes everything off again.
//
// What it attaches, it attaches by links, so that the kernel takes it off when
// this process dies. The two things that the kernel would keep, pins and tc
// filters of kernels before 6.6, are written down in a file (package runstate)
// before they are made, and [Stop] removes them. It never touches what it did not
// make.
//
// It is not how netfate's own sensors are loaded: those know their objects. The
// commands import it; it prints nothing.
package loader
