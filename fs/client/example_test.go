package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"hbmfs/fs/client"
)

// A whole file, window by window: each fetch releases the one before, so that
// never more than one window is pinned.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	m, err := client.OpenMount("/mnt/train")
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	f, err := m.Open("/mnt/train/shard-000")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close() // releases the last lease

	const window = 4 << 20
	var lease client.Lease // reused: the loop allocates nothing
	for off, size := int64(0), int64(1); off < size; off += lease.Fetched {
		err := f.FetchInto(ctx, &lease, off, window, client.FetchOptions{Release: lease.Handle})
		if errors.Is(err, syscall.ESTALE) {
			log.Fatal("the file changed: start over")
		}
		if err != nil {
			log.Fatal(err)
		}
		if size = lease.FileSize; lease.Fetched == 0 {
			break
		}
		fmt.Printf("%d bytes at %d in device memory, %v\n", lease.Fetched, off, lease.Path)
	}
}

// A range is fetched, looked at where it lies, and released. A program whose
// device imports the region has no use for Bytes: Region and RegionOffset are
// what it needs.
func ExampleFile_Fetch() {
	f, err := client.Open("/mnt/train/shard-000")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()

	lease, err := f.Fetch(context.Background(), 4096, 64<<10, client.FetchOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range lease.Segments {
		b, err := f.Bytes(s) // valid until the release
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("file offset %d: %d bytes, the first is %q\n", s.FileOffset, len(b), b[0])
	}
	if err := f.Release(lease.Handle); err != nil {
		log.Fatal(err)
	}
}

// A loan is where the NIC put it, with no copy made: for bytes that are used
// once, and released soon. The mount lends if it can.
func ExampleFile_Fetch_loan() {
	f, err := client.Open("/mnt/train/shard-000")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()

	lease, err := f.Fetch(context.Background(), 0, 64<<10, client.FetchOptions{Loan: true})
	if err != nil {
		log.Fatal(err)
	}
	if !lease.Loan {
		fmt.Printf("not lent, and came by %v: %v\n", lease.Path, lease.Why)
	}
	if err := f.Release(lease.Handle); err != nil {
		log.Fatal(err)
	}
}

// The target computes the digest from its source, so that it tells whether what
// is in device memory is what the target has.
func ExampleFile_Digest() {
	f, err := client.Open("/mnt/train/shard-000")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()

	ctx, sum := context.Background(), sha256.New()
	lease, err := f.Fetch(ctx, 0, 64<<10, client.FetchOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range lease.Segments {
		b, err := f.Bytes(s)
		if err != nil {
			log.Fatal(err)
		}
		sum.Write(b)
	}
	want, err := f.Digest(ctx, 0, lease.Fetched)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same bytes:", bytes.Equal(sum.Sum(nil), want[:]))
}

// Which way the bytes will come, and what refused the better ones.
func ExampleMount_Info() {
	m, err := client.OpenMount("/mnt/train")
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	info, err := m.Info()
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range info.Transports {
		switch {
		case t.Chosen:
			fmt.Printf("in use: %s (%v)\n", t.Name, t.Path)
		case !t.Usable:
			fmt.Printf("%s: %s\n", t.Name, t.Reason)
		}
	}
}

// Files by name, by a ring: all of them at once, each with a completion of its own, and
// few system calls.
func ExampleMount_NewRing() {
	m, err := client.OpenMount("/mnt/train")
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	d, err := m.OpenDir("/mnt/train")
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	ring, err := m.NewRing(client.RingOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close() // releases what is pinned
	dir, err := ring.RegisterDir(d)
	if err != nil {
		log.Fatal(err)
	}

	names := []string{"a/0001", "a/0002"}
	for i, name := range names {
		op := client.Op{Kind: client.OpFetch, Tag: uint64(i), File: dir, Name: name, Length: 1 << 20}
		if _, err := ring.Submit([]client.Op{op}); err != nil {
			log.Fatal(err)
		}
	}
	done := make([]client.Completion, len(names))
	for left := len(names); left > 0; {
		n, err := ring.Wait(context.Background(), done[:left])
		if err != nil {
			log.Fatal(err)
		}
		left -= n
		for _, c := range done[:n] { // in any order
			if c.Err != nil {
				log.Fatal(c.Err)
			}
			fmt.Printf("%s: %d bytes in region %d, %v\n", names[c.Tag], c.Segment.Length, c.Segment.Region, c.Segment.Path)
		}
	}
}

// A batch of a loader: many small files come with one call, which releases the batch
// before. What may not be opened by name alone is opened by its path.
func ExampleDir_FetchFiles() {
	m, err := client.OpenMount("/mnt/train")
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	d, err := m.OpenDir("/mnt/train")
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close() // releases the last batch

	var batch client.Batch
	wants := []client.Want{{Name: "a/0001", Length: 1 << 20}, {Name: "a/0002", Length: 1 << 20}}
	for len(wants) > 0 {
		err := d.FetchFiles(context.Background(), &batch, wants, client.BatchOptions{Release: batch.Handle})
		if err != nil {
			log.Fatal(err)
		}
		for i, r := range batch.Results {
			if errors.Is(r.Err, syscall.EACCES) {
				fmt.Printf("%s: Mount.Open tells whether it may be read\n", wants[i].Name)
			} else if r.Err != nil {
				log.Fatal(r.Err)
			}
			fmt.Printf("%s: %d bytes, segments %d, %v\n", wants[i].Name, r.Fetched, len(r.Segments), r.Path)
		}
		wants = wants[len(batch.Results):] // as many as a call has room for
	}
}
