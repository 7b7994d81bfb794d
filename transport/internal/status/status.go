// Package status is how a target says, on the wire of every transport, how a
// request ended: a number for each error that a source may answer with. It does
// no I/O and holds no lock.
package status

import (
	"errors"

	"hbmfs/transport"
)

// Code is how the target answered a request. Frames hold it in 16 or 32 bits;
// parsers refuse [End] and more.
type Code uint32

const (
	OK Code = iota
	Stale
	Range
	Source
	UnknownFile
	// End is the first that means nothing.
	End
)

var codeErrors = [End]error{
	Stale:       transport.ErrStale,
	Range:       transport.ErrRange,
	Source:      transport.ErrSource,
	UnknownFile: transport.ErrUnknownFile,
}

// Err is nil for OK. The code must be below [End].
func (c Code) Err() error { return codeErrors[c] }

// Of says what a source's error is on the wire; one that it did not promise is
// the storage's.
func Of(err error) Code {
	if err == nil {
		return OK
	}
	for c, e := range codeErrors {
		if e != nil && errors.Is(err, e) {
			return Code(c)
		}
	}
	return Source
}
