package server

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
)

// dataset is what an export led to when it was last looked at. It never changes.
type dataset struct {
	name string
	info store.Info
	tree store.Tree // nil if it is gone
	gone string     // why
}

// maxReason is how much mounts are told of why a dataset is gone, in bytes.
const maxReason = 1024

// lost returns d as the dataset that is not to be had.
func (d *dataset) lost(why error) *dataset {
	reason := why.Error()
	reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "?")
	return &dataset{name: d.name, info: d.info, gone: reason}
}

// describe is what a mount is told of the dataset.
func (d *dataset) describe() *wire.Dataset {
	desc := &wire.Dataset{Name: []byte(d.name), Kind: d.info.Kind, Base: []byte(d.info.Base), Gone: d.gone, Undelegated: d.undelegated()}
	if d.gone == "" {
		desc.Root = d.info.Root[:]
	}
	return desc
}

// close is for when no session has the dataset any more.
func (d *dataset) close() {
	if d.tree != nil {
		d.tree.Close()
	}
}

// goneError is what a dataset that is gone answers to everything.
type goneError struct{ d *dataset }

func (e *goneError) Error() string { return fmt.Sprintf("dataset %q is gone: %s", e.d.name, e.d.gone) }
func (e *goneError) Unwrap() error { return unix.ESTALE }
