// Command peers measures hbmfs beside tools that move the same bytes: nbdkit
// with nbdcopy and nbdfuse, sshfs, iperf3, fio and GlusterFS from Debian, hbmfs as
// it was at an earlier commit, and small peers of its own (pread into the same kind
// of memory, and a mount that does nothing). It writes a table, and on request JSON
// and a plot.
//
// Each row of the table is two things that are measured in turn (A B A B ...) in
// one run, after one round that is not counted. Only their ratio is judged: the
// machine's own speed is in both. A row whose peer is not installed is marked
// "not measured", with the package to install, or why it is left out; it never
// counts as passed. A row that misses its bound is marked "BELOW", and fails the
// run only with --strict.
//
// What every row takes for granted: the file lies in the target's page cache
// (the bench writes it fresh, and reads it before each measurement); a fetch is cold (the extents are not in the pool,
// which is checked by each segment's hit flag) while the pool's memory is not
// (another file was fetched into all of it before); a plain read is cold (the
// mount is fresh). Nobody looks at the bytes that arrive: neither the bench nor
// its peers; that they are the right ones is for the tests to say.
//
// Rows of loaders (--only loader) have one client for all sides: this program
// again, as a worker in a process of its own, on a fresh mount of each side, with
// that side's defaults. Where files are fetched, its pool is empty and untouched.
// They also tell the CPU time of client, daemon and target for each item.
// Those of rings and batches (--only ring) are the same; of before, and of other mounts,
// their peers use what there is. Two rows run the example of the C client, which needs a
// compiler.
//
// It owns a scratch directory, the processes and the mounts that it starts, and
// takes them down in every case that is not its own SIGKILL. Servers listen on
// 127.0.0.1 only. It changes no setting of the machine.
//
// Locking: rows run one after another. What runs beside a row (readers of one
// measurement, the memory sampler) shares only atomics and channels.
package main
