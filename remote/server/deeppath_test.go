package server

import (
	"os"
	"testing"

	"hbmfs/remote/server/store"
	"hbmfs/remote/server/store/storetest"
	"hbmfs/remote/wire"
)

// TestDeepAhead: what runs ahead of a deep listing fits into messages.
func TestDeepAhead(t *testing.T) {
	r := newRig(t)
	dir := storetest.DeepPath(store.MaxPath - 300)
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	const subdirs = 200
	for i := range subdirs {
		if err := root.MkdirAll(dir+"/"+itoa(i), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	listed, order, err := r.mount().listAhead(&wire.ListRequest{Dataset: []byte("d"), Path: []byte(dir), Ahead: maxAhead})
	if err != nil || len(listed[dir]) != subdirs || order[0] != dir {
		t.Errorf("%d entries, %d directories, %v", len(listed[dir]), len(order), err)
	}
}
