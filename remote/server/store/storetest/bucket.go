package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"hbmfs/remote/server/store"
	"hbmfs/remote/wire"
	"hbmfs/transport"
)

// latency is how long a Bucket takes to answer a read.
const latency = time.Millisecond

// Bucket is a store of objects, which are slow to read at first and never change:
// a change is another object of that name. It has neither directories, which are
// parts of names, nor descriptors.
type Bucket struct {
	replaced chan *bucketTree // waits for Follow
	asked    chan chan struct{}

	mu    sync.Mutex // guards all below, and what it points to
	tree  *bucketTree
	puts  uint64        // so far
	stall chan struct{} // reads wait for its end; nil if they need not
}

// bucketTree is what a Bucket holds until it is replaced.
type bucketTree struct {
	bucket *Bucket
	root   uint64
	blobs  map[string]*blob // by path
	closed bool
	names  map[string]map[*bucketName]struct{} // that are delegated, by path
}

// blob is one version of an object.
type blob struct {
	number  uint64
	version transport.Version
	bytes   []byte
	stale   bool
	cached  bool
	holders map[*bucketObject]store.Holder
}

// NewBucket returns a store, and its storage, without objects.
func NewBucket() *Bucket {
	b := &Bucket{replaced: make(chan *bucketTree, 1), asked: make(chan chan struct{})}
	b.tree = &bucketTree{bucket: b, root: 1, blobs: make(map[string]*blob), names: make(map[string]map[*bucketName]struct{})}
	return b
}

// Put implements [Storage].
func (b *Bucket) Put(path string, content []byte) error { return b.Change(path, content) }

// Change implements [Storage]: the object that is there is taken away first.
func (b *Bucket) Change(path string, content []byte) error {
	for _, released := range b.revoke(path) {
		released()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.puts++
	b.tree.blobs[path] = &blob{number: b.puts, version: version(path, b.puts), bytes: slices.Clone(content)}
	return nil
}

func (b *Bucket) revoke(path string) (released []func()) {
	b.mu.Lock()
	var told []store.Holder
	if old := b.tree.blobs[path]; old != nil {
		old.stale = true
		for _, h := range old.holders {
			told = append(told, h)
		}
		old.holders = nil
	}
	told = append(told, b.tree.recall(path)...)
	b.mu.Unlock()
	return revokeAll(told)
}

func revokeAll(told []store.Holder) (released []func()) {
	for _, h := range told {
		released = append(released, h.Revoke())
	}
	return released
}

// Remove implements [Storage].
func (b *Bucket) Remove(path string) error {
	b.mu.Lock()
	told := b.tree.recall(path)
	b.mu.Unlock()
	for _, released := range revokeAll(told) {
		released()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.tree.blobs, path)
	return nil
}

// Replace implements [Storage].
func (b *Bucket) Replace() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tree = &bucketTree{bucket: b, root: b.tree.root + 1, blobs: make(map[string]*blob), names: make(map[string]map[*bucketName]struct{})}
	b.replaced <- b.tree
	return nil
}

// Stall implements [Stalling].
func (b *Bucket) Stall() (heal func()) {
	stall := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stall = stall
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.stall = nil
		close(stall)
	})
}

// Open implements [store.Store].
func (b *Bucket) Open() (store.Tree, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tree, nil
}

// Follow implements [store.Store].
func (b *Bucket) Follow(ctx context.Context, changed func(store.Tree, error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-b.replaced:
			changed(now, nil)
		case looked := <-b.asked:
			select {
			case now := <-b.replaced:
				changed(now, nil)
			default:
			}
			close(looked)
		}
	}
}

// Look implements [store.Store].
func (b *Bucket) Look(ctx context.Context) error {
	looked := make(chan struct{})
	select {
	case b.asked <- looked:
		<-looked
	case <-ctx.Done():
	}
	return nil
}

func version(path string, number uint64) transport.Version {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64([]byte(path), number))
	return transport.Version(sum[:16])
}

func (o *blob) attr() *wire.Attr {
	return &wire.Attr{
		Ino: o.number + 1, Mode: syscall.S_IFREG | 0o444, Nlink: 1, Blksize: 4096,
		Size: uint64(len(o.bytes)), Blocks: uint64(len(o.bytes)+511) / 512, Version: o.version[:],
	}
}

// dirAttr makes a directory of a part of names. It changes with all of the bucket.
func (t *bucketTree) dirAttr(path string) *wire.Attr {
	v := version(path+"/", t.bucket.puts)
	return &wire.Attr{
		Ino: binary.LittleEndian.Uint64(v[:]) | 1<<63, Mode: syscall.S_IFDIR | 0o555, Nlink: 2, Blksize: 4096, Version: v[:],
	}
}

// find returns the object of that path, or nil if there is a directory.
func (t *bucketTree) find(path []byte) (*blob, error) {
	if err := store.CheckPath(path); err != nil {
		return nil, err
	}
	name := string(path)
	if t.closed {
		return nil, store.ErrClosed
	}
	if o := t.blobs[name]; o != nil {
		return o, nil
	}
	for i := range name {
		if name[i] == '/' && t.blobs[name[:i]] != nil {
			return nil, store.ErrNotDir
		}
	}
	if name == "" {
		return nil, nil
	}
	for other := range t.blobs {
		if strings.HasPrefix(other, name+"/") {
			return nil, nil
		}
	}
	return nil, fmt.Errorf("%.100q: %w", name, store.ErrNotExist)
}
