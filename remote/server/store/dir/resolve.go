package dir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may have, as the kernel counts.
const maxLinks = 40

// resolve returns what path, an absolute one, leads to, without symbolic links.
// It does not touch what allow, if not nil, returns an error for.
func resolve(path string, allow func(string) error) (string, error) {
	at, links := "/", 0
	for path != "" {
		var name string
		name, path, _ = strings.Cut(path, "/")
		next := filepath.Join(at, name) // ".." has no link to the left of it any more
		if name == "" || name == "." || name == ".." {
			at = next
			continue
		}
		if allow != nil {
			if err := allow(next); err != nil {
				return "", err
			}
		}
		link, err := os.Readlink(next)
		if errors.Is(err, unix.EINVAL) { // it is none
			at = next
			continue
		}
		if err != nil {
			return "", err
		}
		if links++; links > maxLinks {
			return "", &os.PathError{Op: "readlink", Path: next, Err: unix.ELOOP}
		}
		if filepath.IsAbs(link) {
			at = "/"
		}
		path = link + "/" + path
	}
	return at, nil
}
