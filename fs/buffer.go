package fs

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"hbmfs/fs/batch"
	"hbmfs/fs/buffers"
	"hbmfs/fs/uapi"
)

// useBuffer returns a buffer of the caller's, who gives it back.
func (t *tree) useBuffer(ctx context.Context, id uint32) (*buffers.Buffer, error) {
	caller, ok := fuse.FromContext(ctx)
	if !ok {
		return nil, syscall.EIO
	}
	return t.buffers.Use(caller.Uid, id)
}

func (h *handle) ioctlFetchInto(ctx context.Context, cmd uint32, in, out []byte) error {
	f, err := uapi.DecodeFetchInto(cmd, in)
	if err != nil {
		return err
	}
	b, err := h.n.t.useBuffer(ctx, f.Buffer)
	if err != nil {
		return err
	}
	defer b.Done()
	got, away, err := h.fill(ctx, b, int64(f.Offset), int64(f.Length), int64(f.BufferOffset))
	if err != nil {
		return err
	}
	f.Flags, f.Fetched, f.Resident, f.FileSize = 0, uint64(got.Bytes), uint64(got.Resident), uint64(h.src.Size())
	if away || !h.src.settled {
		f.Flags = uapi.FetchUnsettled
	}
	f.Path, f.Why = uint32(got.Path), uint32(got.Why)
	if away {
		f.Why = uint32(uapi.WhyTargetAway)
	}
	uapi.EncodeFetchInto(out, &f)
	return nil
}

// fill brings a range into a buffer, as fetch pins one.
func (h *handle) fill(ctx context.Context, b *buffers.Buffer, off, n, at int64) (got buffers.Filled, away bool, err error) {
	if err := h.begins(); err != nil {
		return got, false, err
	}
	arrived := h.n.t.target.Now()
	h.src.file.VouchAhead(arrived)
	if got, err = b.Fill(ctx, &h.src, off, n, at); err != nil {
		return got, false, err
	}
	away, err = h.confirm(ctx, arrived)
	if err == nil && h.n.t.cfg.RequireDirect && got.Bytes > 0 && !got.Path.Direct() {
		err = syscall.EREMOTEIO
	}
	return got, away, err
}

// fillEntry is fill of an entry of a batch.
func (h *handle) fillEntry(ctx context.Context, into *buffers.Buffer, e *uapi.BatchEntry) (batch.Got, error) {
	got, away, err := h.fill(ctx, into, int64(e.Offset), int64(e.Length), int64(e.Cursor))
	return batch.Got{Pinned: batch.Placed(got.Bytes, got.Path, got.Why), Size: h.src.Size(), Unsettled: !h.src.settled, Away: away}, err
}
