package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// rows is the table, in the order in which it is measured.
var rows = slices.Concat(streamRows, loaderRows, ringRows)

// groups are what --only calls many rows.
var groups = map[string][]row{"loader": loaderRows, "ring": ringRows}

var streamRows = []row{
	{id: "tcp", what: "cold fetch over tcp, checksums off", beside: "nbdcopy over tcp to null", unit: gigabytes,
		rule: atLeast(1.0), needs: []string{nbdkitTool, nbdcopyTool}, open: besideNBDCopy(false)},
	{id: "tcp-crc", what: "cold fetch over tcp, checksums on", beside: "nbdcopy over tcp to null", unit: gigabytes,
		rule: atLeast(0.85), needs: []string{nbdkitTool, nbdcopyTool}, open: besideNBDCopy(true)},
	{id: "iperf", what: "cold fetch over tcp, checksums off", beside: "iperf3 -P 4", unit: gigabytes,
		rule: atLeast(0.9), needs: []string{iperfTool}, open: besideIperf},
	{id: "embedded", what: "cold fetch, embedded source", beside: "pread into a memfd region", unit: gigabytes,
		rule: atLeast(0.8), open: besidePread},
	{id: "ioctl", what: "FETCH + RELEASE of a resident extent, p50", beside: "two no-op ioctls, p50", unit: micros,
		rule: within(1.3), open: besideNoop},
	{id: "seq", what: "plain sequential read, cold, 1 reader", beside: "nbdfuse", unit: gigabytes,
		rule: atLeast(3), needs: []string{nbdkitTool, nbdfuseTool}, open: sequentialBesideNBDFuse},
	{id: "rand", what: "plain random 4 KiB, cold, 4 jobs", beside: "nbdfuse", unit: thousands,
		rule: atLeast(1.5), needs: []string{nbdkitTool, nbdfuseTool, fioTool}, open: randomBesideNBDFuse},
	{id: "find", what: "find -ls of the Go tree, cold", beside: "sshfs, no encryption", unit: seconds,
		rule: faster(3), needs: []string{sshfsTool, sftpTool, findTool}, open: findBesideSSHFS},
	{id: "memory", what: "daemon's memory, 4 GiB through 256 MiB", beside: "pool + 64 MiB", unit: mebibytes,
		rule: within(1), open: openMemory},
	{id: "allocs", what: "allocations for each fetched extent", beside: "none, ±0.5", unit: objects,
		rule: within(1), open: openAllocations},
}

// rowIDs is what --only can name.
func rowIDs() []string {
	var ids []string
	for _, r := range rows {
		ids = append(ids, r.id)
	}
	return slices.Concat(ids, []string{sweepID}, slices.Sorted(maps.Keys(groups)))
}

// selectRows reads --only: rows by name, with commas between. "" is all of them.
func selectRows(only string) (map[string]bool, error) {
	if only == "" {
		return nil, nil
	}
	selected := map[string]bool{}
	for id := range strings.SplitSeq(only, ",") {
		if !slices.Contains(rowIDs(), id) {
			return nil, fmt.Errorf("--only %q: there is no row %q, but %s", only, id, strings.Join(rowIDs(), ", "))
		}
		selected[id] = true
	}
	for name, group := range groups {
		for _, r := range group {
			if selected[name] {
				selected[r.id] = true
			}
		}
	}
	return selected, nil
}

// wants reports whether a row was asked for.
func (o *options) wants(id string) bool { return o.only == nil || o.only[id] }

func besideNBDCopy(checksums bool) func(context.Context, *stage) (pair, error) {
	return func(ctx context.Context, s *stage) (pair, error) {
		ours, err := s.fetchTCP(ctx, checksums)
		if err != nil {
			return pair{}, err
		}
		uri, err := s.startNBDKit(ctx)
		return pair{ours: ours, peer: s.nbdcopy(uri), warm: s.warm}, err
	}
}

func besideIperf(ctx context.Context, s *stage) (pair, error) {
	ours, err := s.fetchTCP(ctx, false)
	if err != nil {
		return pair{}, err
	}
	port, err := s.startIperf(ctx)
	return pair{ours: ours, peer: s.iperf(port), warm: s.warm}, err
}

func besidePread(ctx context.Context, s *stage) (pair, error) {
	m, err := s.mountHbmfs(ctx, s.data, poolSize)
	if err != nil {
		return pair{}, err
	}
	peer, err := s.pread(inFlight)
	return pair{ours: s.fetchCold(m), peer: peer, warm: s.warm,
		note: fmt.Sprintf("%d threads read into a region of the same kind and size", inFlight)}, err
}

func besideNoop(ctx context.Context, s *stage) (pair, error) {
	m, err := s.mountHbmfs(ctx, s.data, poolSize)
	if err != nil {
		return pair{}, err
	}
	ours, capacity, err := s.fetchResident(ctx, m)
	if err != nil {
		return pair{}, err
	}
	f, err := s.openNoop(ctx)
	return pair{ours: ours, peer: noopPair(f, capacity)}, err
}

func sequentialBesideNBDFuse(ctx context.Context, s *stage) (pair, error) {
	return s.besideNBDFuse(ctx, s.sequentialRead)
}

func randomBesideNBDFuse(ctx context.Context, s *stage) (pair, error) {
	return s.besideNBDFuse(ctx, s.randomRead)
}

// besideNBDFuse measures a reader of the file on fresh mounts of both.
func (s *stage) besideNBDFuse(ctx context.Context, read func(context.Context, string) (float64, error)) (pair, error) {
	target, err := s.startTarget(ctx, "bench="+s.data)
	if err != nil {
		return pair{}, err
	}
	uri, err := s.startNBDKit(ctx)
	return pair{ours: s.fresh(target+"/bench").measure(fileName, read), peer: s.nbdfuse(uri).measure(fileName, read), warm: s.warm,
		note: "default mount options of both, hbmfs with checksums on; each measurement on a fresh mount"}, err
}

func findBesideSSHFS(ctx context.Context, s *stage) (pair, error) {
	tree, err := goTree(ctx)
	if err != nil {
		return pair{}, err
	}
	entries, err := walkTree(tree)
	if err != nil {
		return pair{}, err
	}
	target, err := s.startTarget(ctx, "tree="+tree)
	if err != nil {
		return pair{}, err
	}
	port, err := s.serveSFTP()
	list := listTree(entries)
	return pair{ours: s.fresh(target+"/tree").measure("", list), peer: s.sshfs(port, tree).measure("", list),
		warm: func(context.Context) error {
			_, err := walkTree(tree)
			return err
		},
		note: "each measurement on a fresh mount; sshfs speaks to sftp-server over loopback TCP, without ssh"}, err
}
