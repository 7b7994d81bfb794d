package dir

import (
	"hbmfs/remote/server/store"
	"hbmfs/transport"
)

// object is one reference to a file, which others share.
type object struct {
	*file
	holder store.Holder
}

// Version implements [store.Object].
func (o *object) Version() transport.Version { return o.version }

// Size implements [store.Object].
func (o *object) Size() int64 { return o.size }

// Unsettled implements [store.Object].
func (o *object) Unsettled() string { return o.why }

// Hold implements [store.Object].
func (o *object) Hold(h store.Holder) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stale.Load() {
		return false
	}
	if o.holders == nil {
		o.holders = make(map[*object]struct{})
	}
	o.holder = h
	o.holders[o] = struct{}{}
	return true
}

// Close implements [store.Object].
func (o *object) Close() {
	o.mu.Lock()
	delete(o.holders, o)
	o.mu.Unlock()
	o.files.release(o.file)
}
