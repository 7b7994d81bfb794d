package tcp

import "hbmfs/transport/internal/frame"

// Magic is the first thing that a data connection's client sends. It shares no
// first byte with the HTTP/2 preface, so that one port can carry both.
var Magic = [4]byte{'H', 'B', 'D', 'T'}

// ALPN is the protocol name that a data connection asks for under TLS.
const ALPN = "hbmfs-data"

// MaxLen is the largest payload of one request, in bytes. Both sides refuse more.
const MaxLen = frame.MaxLen

var shake = frame.Handshake{
	Magic:   Magic,
	Version: 2,
	What:    "data connection",
	Client:  "hbmfs data client 2",
	Server:  "hbmfs data server 2",
}
