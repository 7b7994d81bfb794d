package storetest

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// Info implements [store.Tree].
func (t *bucketTree) Info() store.Info {
	i := store.Info{Kind: wire.Dataset_DIRECTORY}
	binary.LittleEndian.PutUint64(i.Root[:], t.root)
	return i
}

// Stat implements [store.Tree].
func (t *bucketTree) Stat(_ context.Context, path []byte) (*wire.Attr, error) {
	t.bucket.mu.Lock()
	defer t.bucket.mu.Unlock()
	o, err := t.find(path)
	switch {
	case err != nil:
		return nil, err
	case o == nil:
		return t.dirAttr(string(path)), nil
	}
	return o.attr(), nil
}

// List implements [store.Tree].
func (t *bucketTree) List(_ context.Context, path []byte, most int, page func([]*wire.Entry) error) error {
	entries, err := t.entries(path)
	if err != nil {
		return err
	}
	if most >= 0 && len(entries) > most {
		return store.ErrTooMany
	}
	for some := range slices.Chunk(entries, 1000) { // as object stores have it
		if err := page(some); err != nil {
			return err
		}
	}
	return nil
}

func (t *bucketTree) entries(path []byte) ([]*wire.Entry, error) {
	t.bucket.mu.Lock()
	defer t.bucket.mu.Unlock()
	if o, err := t.find(path); err != nil {
		return nil, err
	} else if o != nil {
		return nil, store.ErrNotDir
	}
	prefix := string(path)
	if prefix != "" {
		prefix += "/"
	}
	found := make(map[string]*wire.Attr)
	for full, o := range t.blobs {
		rest, ok := strings.CutPrefix(full, prefix)
		if !ok {
			continue
		}
		if name, _, deeper := strings.Cut(rest, "/"); deeper {
			found[name] = t.dirAttr(prefix + name)
		} else {
			found[name] = o.attr()
		}
	}
	var entries []*wire.Entry
	for _, name := range slices.Sorted(maps.Keys(found)) {
		entries = append(entries, &wire.Entry{Name: []byte(name), Attr: found[name]})
	}
	return entries, nil
}

// Open implements [store.Tree].
func (t *bucketTree) Open(_ context.Context, path []byte) (store.Object, *wire.Attr, error) {
	t.bucket.mu.Lock()
	defer t.bucket.mu.Unlock()
	o, err := t.find(path)
	switch {
	case err != nil:
		return nil, nil, err
	case o == nil:
		return nil, nil, store.ErrIsDir
	}
	return &bucketObject{t.bucket, o}, o.attr(), nil
}

// Statfs implements [store.Tree].
func (t *bucketTree) Statfs(context.Context) (*wire.StatfsReply, error) {
	t.bucket.mu.Lock()
	defer t.bucket.mu.Unlock()
	if t.closed {
		return nil, store.ErrClosed
	}
	return &wire.StatfsReply{Blocks: 1 << 40, Bsize: 4096, Frsize: 4096, Namelen: store.MaxName}, nil
}

// Watched implements [store.Tree]: nobody goes round Change.
func (t *bucketTree) Watched() bool { return true }

// CatchUp implements [store.Tree].
func (t *bucketTree) CatchUp() {}

// Close implements [store.Tree].
func (t *bucketTree) Close() {
	t.bucket.mu.Lock()
	defer t.bucket.mu.Unlock()
	t.closed = true
}

// bucketObject is one reference to a blob.
type bucketObject struct {
	bucket *Bucket
	blob   *blob
}

// Version implements [store.Object].
func (o *bucketObject) Version() transport.Version { return o.blob.version }

// Size implements [store.Object].
func (o *bucketObject) Size() int64 { return int64(len(o.blob.bytes)) }

// Unsettled implements [store.Object].
func (o *bucketObject) Unsettled() string { return "" }

// Hold implements [store.Object].
func (o *bucketObject) Hold(h store.Holder) bool {
	o.bucket.mu.Lock()
	defer o.bucket.mu.Unlock()
	if o.blob.stale {
		return false
	}
	if o.blob.holders == nil {
		o.blob.holders = make(map[*bucketObject]store.Holder)
	}
	o.blob.holders[o] = h
	return true
}

// TryRead implements [store.Object].
func (o *bucketObject) TryRead(off int64, dst []byte) error {
	o.bucket.mu.Lock()
	defer o.bucket.mu.Unlock()
	if err := o.check(off, dst); err != nil {
		return err
	}
	if !o.blob.cached || o.bucket.stall != nil {
		return transport.ErrWouldBlock
	}
	copy(dst, o.blob.bytes[off:])
	return nil
}

// Read implements [store.Object].
func (o *bucketObject) Read(ctx context.Context, off int64, dst []byte) error {
	if err := o.wait(ctx); err != nil {
		return err
	}
	o.bucket.mu.Lock()
	defer o.bucket.mu.Unlock()
	if err := o.check(off, dst); err != nil {
		return err
	}
	o.blob.cached = true
	copy(dst, o.blob.bytes[off:])
	return nil
}

// wait returns when the storage would have answered.
func (o *bucketObject) wait(ctx context.Context) error {
	o.bucket.mu.Lock()
	stall := o.bucket.stall
	o.bucket.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	answer := time.NewTimer(latency)
	defer answer.Stop()
	select {
	case <-answer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *bucketObject) check(off int64, dst []byte) error {
	if off < 0 || off > o.Size()-int64(len(dst)) {
		return fmt.Errorf("%w: %d bytes at %d of an object of %d", transport.ErrRange, len(dst), off, o.Size())
	}
	if o.blob.stale {
		return fmt.Errorf("%w: the object is deleted", transport.ErrStale)
	}
	return nil
}

// Close implements [store.Object].
func (o *bucketObject) Close() {
	o.bucket.mu.Lock()
	defer o.bucket.mu.Unlock()
	delete(o.blob.holders, o)
}
