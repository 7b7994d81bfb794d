package storetest

import (
	"context"
	"fmt"

	"hbmfs/remote/server/store"
	"hbmfs/transport"
)

// bucketName is a name in a bucket that is delegated.
type bucketName struct {
	tree   *bucketTree
	path   string
	holder store.Holder
}

// Undelegated implements [store.Delegating].
func (t *bucketTree) Undelegated() string { return "" }

// Delegate implements [store.Delegating].
func (t *bucketTree) Delegate(_ context.Context, path []byte, v transport.Version, holder store.Holder) (store.Delegation, error) {
	t.bucket.mu.Lock()
	defer t.bucket.mu.Unlock()
	o, err := t.find(path)
	switch {
	case err != nil:
		return nil, err
	case o == nil:
		return nil, fmt.Errorf("%w: a directory", store.ErrUndelegated)
	case o.version != v || o.stale:
		return nil, fmt.Errorf("%w since it was opened", transport.ErrStale)
	}
	n := &bucketName{t, string(path), holder}
	if t.names[n.path] == nil {
		t.names[n.path] = make(map[*bucketName]struct{})
	}
	t.names[n.path][n] = struct{}{}
	return n, nil
}

// Close implements [store.Delegation].
func (n *bucketName) Close() {
	n.tree.bucket.mu.Lock()
	defer n.tree.bucket.mu.Unlock()
	delete(n.tree.names[n.path], n)
}

// recall returns who believes a name no more. The bucket's lock is held.
func (t *bucketTree) recall(path string) (told []store.Holder) {
	for n := range t.names[path] {
		told = append(told, n.holder)
	}
	delete(t.names, path)
	return told
}
