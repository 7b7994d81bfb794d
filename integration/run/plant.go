package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// errPlanted ends a fetch once its first segment has shown what it should.
var errPlanted = errors.New("planted")

// proveChecker shows that compare sees what it is there for: it spoils one word
// of a private copy of device memory, and must find exactly that one. It returns
// the word's offset in the file.
func (c *checker) proveChecker(ctx context.Context, name string) (at int64, err error) {
	_, err = c.fetch(ctx, name, func(got, want []byte, off int64) error {
		if found := compare(got, want, off); len(found) > 0 {
			return fmt.Errorf("%w: %s, before anything was planted: %v", errMismatch, name, found[0])
		}
		private := bytes.Clone(got)
		word := len(private) / 2 / wordSize * wordSize
		private[word] ^= 0xff
		at = off + int64(word)
		if found := compare(private, want, off); len(found) != 1 || found[0].at != at {
			return fmt.Errorf("the checker is blind: of a wrong word planted at %#x of %s it found %v", at, name, found)
		}
		return errPlanted
	})
	if errors.Is(err, errPlanted) {
		return at, nil
	}
	return 0, errors.Join(err, fmt.Errorf("the checker was not proven on %s", name))
}
