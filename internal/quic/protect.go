package quic

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
)

// keys open what one side says first. They are made of what is said in the
// clear: they keep out what does not understand QUIC, and nobody else.
type keys struct {
	payload cipher.AEAD
	header  cipher.Block
	iv      [12]byte
}

// newKeys returns the keys of both sides by the id that the client made up for
// the server (RFC 9001, section 5.2; RFC 9369, section 3.3).
func newKeys(version uint32, id []byte) (client, server *keys) {
	salt := []byte("\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a")
	prefix := "quic "
	if version == version2 {
		salt = []byte("\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9")
		prefix = "quicv2 "
	}
	secret, err := hkdf.Extract(sha256.New, id, salt)
	if err != nil {
		panic(err) // a key that is too short for FIPS 140, which this is not about
	}
	return sideKeys(expand(secret, "client in", sha256.Size), prefix), sideKeys(expand(secret, "server in", sha256.Size), prefix)
}

func sideKeys(secret []byte, prefix string) *keys {
	k := &keys{}
	block, err := aes.NewCipher(expand(secret, prefix+"key", 16))
	if err == nil {
		k.payload, err = cipher.NewGCM(block)
	}
	if err == nil {
		k.header, err = aes.NewCipher(expand(secret, prefix+"hp", 16))
	}
	if err != nil {
		panic(err) // the lengths are right
	}
	copy(k.iv[:], expand(secret, prefix+"iv", len(k.iv)))
	return k
}

// expand is HKDF-Expand-Label of RFC 8446, section 7.1, without a context.
func expand(secret []byte, label string, length int) []byte {
	label = "tls13 " + label
	info := append([]byte{byte(length >> 8), byte(length), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), length)
	if err != nil {
		panic(err) // it is at most 255 hashes long
	}
	return out
}

// open decrypts a packet into memory of buf's, which it returns, with the
// payload in it. next is behind the largest number so far. ok is false if the packet
// is not of these keys, or damaged.
func (k *keys) open(p *long, next *uint64, buf []byte) (to, payload []byte, ok bool) {
	const longest = 4 // bytes of a number; behind so many the sample begins
	if p.cut || len(p.packet) < p.number+longest+aes.BlockSize {
		return buf, nil, false
	}
	var mask [aes.BlockSize]byte
	k.header.Encrypt(mask[:], p.packet[p.number+longest:][:aes.BlockSize])
	header := append(buf[:0], p.packet[:p.number+longest]...)
	header[0] ^= mask[0] & 0xf
	size := int(header[0]&3) + 1
	var number uint64
	for i := range size {
		header[p.number+i] ^= mask[1+i]
		number = number<<8 | uint64(header[p.number+i])
	}
	header = header[:p.number+size]
	number = whole(*next, number, size)
	nonce := k.iv
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^number)
	to, err := k.payload.Open(header, nonce[:], p.packet[len(header):], header)
	if err != nil {
		return header, nil, false
	}
	*next = max(*next, number+1)
	return to, to[len(header):], true
}

// whole returns the number that ends in so many bytes and is the nearest to what
// is due (RFC 9000, appendix A.3).
func whole(due, end uint64, size int) uint64 {
	window := uint64(1) << (8 * size)
	n := due&^(window-1) | end
	switch {
	case n+window/2 <= due:
		return n + window
	case n > due+window/2 && n >= window:
		return n - window
	}
	return n
}
