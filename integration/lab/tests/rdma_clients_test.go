package tests

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"hbmfs/fs/client"
	"hbmfs/integration/lab/agent"
	"hbmfs/integration/lab/guest"
)

func init() { children["fetch"] = fetchForever }

// computeTime is what a client does between two of its fetches.
const computeTime = 500 * time.Millisecond

// fetchForever is a child: MOUNT FILE. It says "fetched" after the first range,
// and goes on until it is killed or a word is wrong.
func fetchForever(args []string) error {
	mnt, err := client.OpenMount(args[0])
	if err != nil {
		return err
	}
	defer mnt.Close()
	f, err := mnt.Open(args[1])
	if err != nil {
		return err
	}
	defer f.Close()
	mine := &file{File: f, number: 1, version: 1}
	for n := 0; ; n++ {
		if _, err := mine.fetch(context.Background(), rand.Int64N(fileSize), 64<<10); err != nil {
			return err
		}
		if n == 0 {
			fmt.Println("fetched")
		}
		time.Sleep(computeTime)
	}
}

// clientUIDs are the users of the client processes.
var clientUIDs = []int{0, 1000, 1001, 1002}

// tried is the registrations that a mount makes, and undoes, to try its choice of a
// transport.
const tried = 1

// TestRDMAClients: however many processes and users there are, a target has the
// same few queue pairs, and each user's region is registered once. The table's
// last column is what one RC connection for each process would take.
func TestRDMAClients(t *testing.T) {
	startTarget(t, big(1, 1))
	m := startMount(t, "--transport", "rdma", "--require-direct", "--device", "udmabuf", "--pool", "8MiB", "--extent", "64KiB", "--allow-other")
	exe := childForAll(t)
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "processes\tusers\tqueue pairs\tMRs\tregistered MiB\tmount RSS MiB\tqueue pairs, one a process")
	started := 0
	for _, processes := range []int{1, 8, 64} {
		for ; started < processes; started++ {
			m.startClient(t, exe, clientUIDs[started%len(clientUIDs)])
			t.Logf("%d of %d processes fetch", started+1, processes)
		}
		users := min(processes, len(clientUIDs))
		o, s := objects(t, guest.Local(t)), m.stats(t)
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%.1f\t%d\t%d\n", processes, users, o.qp, o.mr,
			float64(s.Target.Link.Registrations.Bytes)/megabyte, rss(t, s.PID), processes)
		if o.qp != 4 {
			t.Errorf("%d processes: %d queue pairs, want 4", processes, o.qp)
		}
		if s.Target.Link.Registrations.Misses != int64(users)+tried {
			t.Errorf("%d users: %+v, want one registration each, and the one that was tried", users, s.Target.Link.Registrations)
		}
	}
	w.Flush()
	t.Log("\n" + table.String())
}

// childForAll is the test binary where every user can execute it.
func childForAll(t *testing.T) string {
	t.Helper()
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join("/tmp", "hbmfs-lab-child"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(to.Name()) })
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return to.Name()
}

// startClient returns once the client has its first range.
func (m *mount) startClient(t *testing.T, exe string, uid int) {
	t.Helper()
	id := strconv.Itoa(uid)
	p := guest.Local(t).StartCommand(t, agent.Command{
		Argv: []string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups", exe, m.dir, filepath.Join(m.dir, "data", "f1")},
		Env:  []string{childEnv + "=fetch", "GOMAXPROCS=1"}, Dir: "/",
	})
	p.WaitLine(t, "fetched")
}

// rss is a process's resident memory, in MiB.
func rss(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() / megabyte
}
