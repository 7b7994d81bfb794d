/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbmfs.h - what a program asks of an open file of an hbmfs mount.
 *
 * ioctls on a file of the mount return device buffer handles: which segments of
 * which regions of device memory hold a range of the file. The region itself (a
 * file descriptor to map, or to import into a device) comes once, from the
 * socket MOUNT/.hbmfs/ctl, by SCM_RIGHTS.
 *
 * Every structure has the same bytes for 32- and 64-bit callers. Those of ioctls
 * may get more members at their end, and are read as the kernel reads its own
 * (copy_struct_from_user): `size` is the sizeof the caller was compiled with, and
 * the command's number says the same, FETCH's with the room for segments on top.
 * What a shorter structure lacks is 0, and not answered; one below the _SIZE_MIN
 * is EINVAL. What a longer one has beyond the mount's is answered with zeros if
 * it is zero on the way in, and is E2BIG if not: the caller asks for what this
 * mount does not know. `size` comes back as it went in.
 *
 * Unknown flags are EINVAL, as is a `zero` that is not 0. What a member marked
 * `out` holds on the way in does not matter. An unknown command is ENOTTY.
 *
 * Any ioctl may also fail with what is the kernel's, or the mount's end:
 *
 * EACCES        this user may not use the mount, though the file was handed over
 *               (the mount is for the user who mounted only)
 * ECONNABORTED  the mount's daemon ended during the call: open the file again,
 *               once there is another; what was pinned is not any more
 * EFAULT        the argument can't be read, or can't be written: then a FETCH
 *               has pinned a handle that the caller was not told. Release all
 * ENOTCONN      the mount's daemon is gone; else as ECONNABORTED
 * ENOTTY        also: not a file of an hbmfs mount
 *
 * open(2) of a file fails with what the file system of the target answers, and
 * with ENFILE where the target, or the daemon, has no descriptors left for it.
 */
#ifndef HBMFS_H
#define HBMFS_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define HBMFS_ABI_VERSION 1
#define HBMFS_IOC_MAGIC 0xE8

/* How bytes came. Higher is more direct. */
#define HBMFS_PATH_NONE 0
#define HBMFS_PATH_HOST 1       /* copied by this host's CPU from its page cache */
#define HBMFS_PATH_STAGED 2     /* over a socket, through this host's memory */
#define HBMFS_PATH_DEVMEM_TCP 3 /* NIC to device memory, gathered there */
#define HBMFS_PATH_RDMA 4       /* NIC to their place in device memory */

/* Why they came that way and not a better one. */
#define HBMFS_WHY_BEST 0           /* there is no better path */
#define HBMFS_WHY_REQUESTED 1      /* the mount was told to use this transport */
#define HBMFS_WHY_NO_DIRECT 2      /* no direct transport is usable: see INFO */
#define HBMFS_WHY_LOCAL_SOURCE 3   /* the source is in the daemon itself */
#define HBMFS_WHY_PLAIN_READ 4     /* read() and mmap() ask for host copies */
#define HBMFS_WHY_NOT_REGISTERED 5 /* the RDMA device can't register the memory */
#define HBMFS_WHY_NOT_STEERED 6    /* the NIC did not put all of them into device memory */
#define HBMFS_WHY_TARGET_AWAY 7    /* the target does not answer: they were in device memory, and may be old */

/*
 * INFO: what this mount is. On any file or directory of the mount. The counts are
 * the mount's, also where a shorter structure ends before the tables.
 */

#define HBMFS_DEVICE_CPU 0x1 /* flags: the CPU can address its memory */

struct hbmfs_device {
	__u32 id; /* what FETCH names */
	__u32 flags;
	__u64 pool; /* bytes of device memory for each user */
	char name[16];
};

#define HBMFS_TRANSPORT_USABLE 0x1
#define HBMFS_TRANSPORT_CHOSEN 0x2
#define HBMFS_TRANSPORT_ENCRYPTED 0x4

struct hbmfs_transport {
	__u32 path;
	__u32 flags;
	char name[16];
	char reason[232]; /* if not usable: the probe that refused it, and why */
};

#define HBMFS_FEATURE_CHECKSUMS 0x1      /* payload is checked on arrival */
#define HBMFS_FEATURE_STRICT 0x2         /* unsettled answers are refused */
#define HBMFS_FEATURE_REQUIRE_DIRECT 0x4 /* fallbacks are refused */

#define HBMFS_MAX_DEVICES 16
#define HBMFS_MAX_TRANSPORTS 8

struct hbmfs_info {
	__u32 size;
	__u32 flags;       /* in: 0 */
	__u32 abi_version; /* out, as are all that follow, but for zero */
	__u32 device_count;
	__u64 features;
	__u64 extent_size; /* bytes */
	__u32 transport_count;
	__u32 zero;
	struct hbmfs_device devices[HBMFS_MAX_DEVICES];
	struct hbmfs_transport transports[HBMFS_MAX_TRANSPORTS];
};

/*
 * FETCH: bring a range of the file into device memory and pin it there. Blocks
 * until every byte is visible to the device. The handle pins the segments until
 * it is released or the open file closes, whichever comes first.
 *
 * The room for segments is part of the command: HBMFS_IOC_FETCH(n), n from 1 to
 * HBMFS_MAX_SEGMENTS; they follow the structure. A range that needs more is
 * answered in part: `cursor` is then the offset to go on from, and 0 once the
 * range is done. A range past the end of the file is cut short, as read does;
 * wholly past it, `fetched` is 0 and there is no handle.
 *
 * What is fetched is kept for who asks next. A small range, such as a sample of a
 * data set, is kept as just that, in one segment; a larger one in extents of INFO's
 * `extent_size`, with what is left at its two ends kept as it is. A FETCH that
 * begins where the one before it, of the same open file, ended is taken for one of
 * a run: then the extents that it touches are fetched and kept whole, and the next
 * find their bytes there. HBMFS_FETCH_RANDOM and HBMFS_FETCH_SEQUENTIAL say which
 * it is, whatever it looks like. A range that lies in one extent, or one sample, is
 * found in it. No byte is fetched twice at the same time: a range that has a part
 * of what is under way waits for that, and then has more segments.
 *
 * With HBMFS_FETCH_LOAN the bytes stay where the NIC put them, and are lent to
 * the caller: no copy is made on the device either. A loan is not cached, and
 * bytes that are cached are fetched anew for it. Its segments may be short, many
 * and anywhere in their region, and it may cover less than there is room for:
 * `cursor` says where to go on. Lent memory is scarce, and what is lent can't
 * receive: release it soon. Its handle is one like any other. Until that is
 * released the bytes stay as they are, also when the file changes, which only
 * the next FETCH tells (ESTALE). `flags` has HBMFS_FETCH_LOAN on the way out if
 * it is a loan; where this mount can't lend, or there are no bytes, it is a fetch
 * without the flag, whose path and reason say how the bytes came.
 *
 * With HBMFS_FETCH_WAIT, a FETCH for which there is no room, because of what is
 * pinned or under way, waits for it, `wait_ms` at most. Those of a user who wait for
 * a device are served in order of arrival: meanwhile what is in device memory, or on
 * its way there, is had by all, and any other FETCH without the flag is ENOSPC, though
 * there be room for it. All room is kept so for one that is the first of those who
 * wait for five seconds; then others have what fits, and the first keeps its place,
 * and is served before all others once there is enough for it. A signal ends the wait with EINTR, and so the place in the
 * order; close(2) does not, as it ends no call under way. Nothing is held while
 * waiting, but for earlier handles: who waits for room that only he, or another who
 * waits, could make waits in vain. A range that could not fit if all was released but
 * what PIN keeps for longer than `wait_ms` is ENOSPC at once. Nobody waits for room for loans: too much lent is ENOSPC at once;
 * a wish for a loan that can't be granted is a fetch, which waits.
 *
 * What is in device memory is the file's as of a moment within the call: if it
 * has not said so for half a second, the target is asked. While it does not
 * answer, `flags` has HBMFS_FETCH_UNSETTLED and `why` is HBMFS_WHY_TARGET_AWAY:
 * the bytes are those of the version that was opened, and nobody can say whether
 * the file has changed since. `flags` has HBMFS_FETCH_UNSETTLED also if a writer
 * may have the file open; then nothing of it is cached.
 *
 * A handle named in `release` is released first, and stays released if the fetch
 * fails (with E2BIG, EINVAL or ENOENT, it is not released). So a caller that tries
 * again after EINTR or EAGAIN must not name it again.
 *
 * E2BIG      a member is set that this mount does not know
 * EAGAIN     the mount is strict, and the answer would be unsettled
 * EDQUOT     256 FETCHes of this user wait for room already, or as many as are left
 *            for others of the 1024 that may wait: 128, if three others have 256 each
 * EINTR      a signal came; nothing is pinned
 * EINVAL     flags, size, segment_count, offset + length over 2^63 - 1; wait_ms
 *            without HBMFS_FETCH_WAIT, or over HBMFS_WAIT_MS_MAX; zero
 * EIO        the target failed, or did not answer in time
 * EISDIR     not a regular file
 * ENODEV     no such device, or it was taken away
 * ENOENT     no such handle of this open file to release
 * ENOMEM     there is no memory for this user's pool (the daemon's log says why)
 * ENOSPC     too much is pinned for this range to fit, still so after wait_ms, or
 *            others wait for what room there is; the pool is as it was.
 *            Of a loan: too much is lent, or all NIC queues are other users'
 * EREMOTEIO  the bytes took a fallback, and the mount requires a direct path
 * ESTALE     the file changed since it was opened: open it again
 */

#define HBMFS_FETCH_UNSETTLED 0x1  /* flags, out: the file may have changed unnoticed */
#define HBMFS_FETCH_LOAN 0x2       /* flags, in: lend, if possible; out: it is a loan */
#define HBMFS_FETCH_RANDOM 0x4     /* flags, in: keep the range as it is */
#define HBMFS_FETCH_SEQUENTIAL 0x8 /* flags, in: keep whole extents; not with RANDOM */
#define HBMFS_FETCH_WAIT 0x10      /* flags, in: wait for room, up to wait_ms */

#define HBMFS_WAIT_MS_MAX 3600000 /* an hour */

struct hbmfs_fetch {
	__u32 size;
	__u32 flags; /* in: HBMFS_FETCH_LOAN, _WAIT, and _RANDOM or _SEQUENTIAL */
	__u64 offset;
	__u64 length;
	__u64 release; /* handle, or 0 */
	__u32 device;
	__u32 segment_count; /* in: 0 */
	__u64 handle;        /* out, as are all that follow, up to why */
	__u64 fetched;       /* bytes that the segments cover */
	__u64 cursor;
	__u64 file_size;
	__u32 path; /* the least direct of the segments' */
	__u32 why;
	__u32 wait_ms; /* with HBMFS_FETCH_WAIT, at most HBMFS_WAIT_MS_MAX; else 0 */
	__u32 zero;
};

#define HBMFS_SEGMENT_HIT 0x1 /* was in device memory already */

struct hbmfs_segment { /* has no size, and so stays as it is */
	__u64 region_offset;
	__u64 file_offset;
	__u64 length;
	__u32 region;
	__u16 path;
	__u16 flags;
};

/*
 * RELEASE: a handle of this open file or directory, or 0 for all of them. ENODEV: it is
 * released, but the device's memory was taken away while it was held, so that what was
 * pinned may be gone. ENOENT: no such handle. EISDIR: a directory where no BATCH is possible.
 */
struct hbmfs_release {
	__u32 size;
	__u32 flags; /* in: 0 */
	__u64 handle;
	__u64 released; /* out: how many */
};

/*
 * BATCH: as many FETCHes as there is room for, in one call. On a file, ranges of
 * it; on a directory, ranges of files beneath it, by name. The structure is
 * followed by `entry_count` entries, by room for `segment_room` segments, as of
 * FETCH, and by the bytes of the names: HBMFS_IOC_BATCH(bytes) has the sum of
 * them all, at most HBMFS_BATCH_MAX. An entry's name is the `name_length` bytes
 * from `name` on, without a NUL. Entries may share them.
 *
 * The entries are fetched at once, and each has its own result: `error` is what
 * FETCH, or open(2) of its name, would have failed with, and keeps no other from
 * being fetched. `handle` pins what all of them fetched; it belongs to the open
 * file or directory that the call was made on, as FETCH's does, and is 0 if
 * nothing was fetched. An entry has `segment_count` of the segments, from number
 * `segment` on. Where its range needs more than are left, `cursor` says where to
 * go on; that is its own `offset`, with `fetched` 0, where none was. The flags
 * HBMFS_FETCH_RANDOM and _SEQUENTIAL are of all entries; without one, each range
 * is kept as it is. Nothing is lent. An entry for which there is no room is ENOSPC
 * at once.
 *
 * On a directory, what an entry fetches is the file that its name leads to at some
 * moment within the call, in the version that it then has. A name is one or more
 * components, of 255 bytes at most, with one '/' between each two, 4095 bytes at
 * most in all. Who calls must be allowed to search each directory from the one
 * that the call is made on, and to read the file: by its file system's user and
 * group numbers, its supplementary groups and the mode bits, as open(2) decides;
 * modes and owners of directories, and where symbolic links lead, may be a second
 * old, or as old as --name-timeout says, as they may be to open(2). With that, what
 * a name leads to may be so old as well. CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
 * count in the initial user name space only. A symbolic link is followed if it
 * leads downwards only. EACCES is also the answer to what open(2) might allow: a
 * link that is absolute or has ".." in it, or one of another user in a directory
 * that all may write and is sticky; a caller in a PID name space that is not below
 * the daemon's, or a daemon in a user name space of its own. So where it matters,
 * open(2) the file then.
 *
 * What the kernel does beside that at an open(2) is passed by: security modules
 * (SELinux, AppArmor, Landlock), fanotify, audit, what is mounted on a name below,
 * and nosymfollow of a bind mount. POSIX ACLs are no part of a mount, for open(2)
 * neither.
 *
 * Errors of the call; a handle named in `release` is released first, as FETCH has
 * it:
 *
 * E2BIG      a member is set that this mount does not know
 * EACCES     on a directory: it can't be told who calls; see above
 * EINTR      a signal came; nothing is pinned
 * EIO        on a directory: the target does not answer what it is by now
 * EINVAL     flags; counts that don't add up to the command's size; a name that
 *            is not in the bytes of the names, or any on a file; no room for a
 *            segment
 * ENODEV     no such device
 * ENOENT     no such handle to release
 * EOPNOTSUPP the directory is above all datasets, or .hbmfs
 * ESTALE     the directory is another one by now: open it again
 *
 * Errors of an entry, beside FETCH's EAGAIN, EIO, ENODEV, ENOMEM, ENOSPC, EREMOTEIO
 * and ESTALE (here: it changed again and again):
 *
 * EACCES       may not be searched, or read, or it is not decidable: see above; also
 *              a name that begins with '/'
 * EINVAL       offset + length over 2^63 - 1; a name with a NUL, an empty
 *              component or "."
 * EISDIR       it is a directory
 * ELOOP        more than 40 symbolic links
 * ENAMETOOLONG a component, or the name
 * ENFILE       the target has no descriptors left for it, also when the other
 *              entries of the call had none any more
 * ENOENT       there is no such file, or the name is empty
 * ENOTDIR      a component that is not the last is no directory
 * ENXIO        it is a FIFO, a socket or a device
 */
#define HBMFS_BATCH_MORE 0x10 /* flags of an entry, out: go on at its cursor */
#define HBMFS_BATCH_INTO 0x20 /* flags, in: into a buffer, see FETCH_INTO */

struct hbmfs_batch {
	__u32 size;
	__u32 flags; /* in: HBMFS_FETCH_RANDOM, _SEQUENTIAL or HBMFS_BATCH_INTO; out: 0 */
	__u32 entry_count;
	__u32 segment_room;
	__u32 name_bytes; /* 0 on a file */
	__u32 device;     /* with HBMFS_BATCH_INTO, the buffer's number */
	__u64 release; /* handle, or 0 */
	__u64 handle;  /* out, as are all that follow */
	__u32 segment_count;
	__u32 failed; /* how many entries have an error */
};

struct hbmfs_batch_entry { /* has no size, and so stays as it is */
	__u64 offset;
	__u64 length;
	__u64 fetched; /* out, as are the next two */
	__u64 cursor;
	__u64 file_size;
	__u16 name;
	__u16 name_length; /* 0 on a file */
	__u16 flags;       /* in: 0; out: HBMFS_FETCH_UNSETTLED, HBMFS_BATCH_MORE */
	__u16 error;       /* out, as are all that follow: errno, or 0 */
	__u16 segment;
	__u16 segment_count;
	__u16 path;
	__u16 why;
};

/*
 * FETCH_INTO: bring a range of the file into memory of the program's own, from
 * `buffer_offset` of a buffer on that CTL_BUFFER made. Blocks until every byte is
 * visible to the buffer's device. Nothing is pinned, and there is no handle.
 *
 * What the user has of the range in device memory is copied from there, on the
 * device, and counted in `resident`. The rest comes straight into the buffer, and is
 * not kept for others. `path` is the least direct by which any byte came, or had come
 * into device memory. A range past the end of the file is cut short, as read does: the
 * bytes of the buffer behind it stay as they are. But where a file is opened by name,
 * as an entry of BATCH or by a ring, and changes, it is opened anew: of the range, what
 * is behind `fetched` may hold bytes of the version before.
 *
 * With an error, what the range of the buffer holds is not defined. After EINTR or EIO,
 * and of a ring ECANCELED, it may still be written, until what is under way has ended:
 * CTL_UNBUFFER is EBUSY for so long, and what is asked for next to the same range, such
 * as by a caller that tries again, waits for that. Ranges of a buffer that calls fill at the same time, and bytes that the
 * program writes meanwhile, are the program's affair.
 *
 * BATCH with HBMFS_BATCH_INTO is as many of them: `device` is the buffer's number,
 * `cursor` of an entry its buffer_offset, which comes back as it went in, and
 * `fetched` what came. `release` and `segment_room` must be 0; nothing is pinned.
 *
 * EACCES     the buffer is another user's
 * EFAULT     pages of the buffer were given back (a hole was punched)
 * EINVAL     flags, size, offset + length over 2^63 - 1, `zero`; a range, as asked for,
 *            that is not within the buffer
 * ENOENT     no such buffer: who made it has hung up
 * E2BIG, EAGAIN, EINTR, EIO, EISDIR, ENODEV, EREMOTEIO, ESTALE: as FETCH
 */
struct hbmfs_fetch_into {
	__u32 size;
	__u32 flags; /* in: 0; out: HBMFS_FETCH_UNSETTLED */
	__u64 offset;
	__u64 length;
	__u32 buffer;
	__u32 zero;
	__u64 buffer_offset;
	__u64 fetched; /* out, as are all that follow: bytes */
	__u64 file_size;
	__u64 resident; /* of the bytes fetched, those that were in device memory already */
	__u32 path;     /* the least direct, and the reason for it */
	__u32 why;
};

/*
 * DIGEST: SHA-256 of a range, computed by the target from its source. The range
 * must lie within the file, else EINVAL. EINTR, EIO, EISDIR, ESTALE: as FETCH.
 */
struct hbmfs_digest {
	__u32 size;
	__u32 flags; /* in: 0 */
	__u64 offset;
	__u64 length;
	__u8 sha256[32]; /* out */
};

/*
 * PIN: bring a range of the file into device memory, as FETCH with
 * HBMFS_FETCH_RANDOM does, and keep it there for the user (the caller's uid), not
 * for the open file: it survives close, and the end of the process. There is no
 * handle; a FETCH of the range finds it there. It stays until UNPIN or CTL_UNPIN,
 * for `for_ms` milliseconds (0: for ever), or until the mount ends. The pin is of
 * the version that is open: once the file changes it ends, and the memory is free. It
 * ends also, and nobody is told, when the file was removed and no program has it open
 * any more, some seconds later; when the target was away and does not find the file
 * again, which the mount's log says; and when the device is lost.
 *
 * Extents are pinned whole, and what is pinned counts as the memory that its
 * extents take. A user's pins hold half of his pool on a device at most, in 65536
 * extents at most. What is pinned already counts once, for the longer of the two
 * times. A file that has pins stays open at the target: of those there may be half as
 * many as the target lets the mount keep open, for all users, and one user has no more
 * than is left for others. CTL_STATS tells of each what there is and may be.
 *
 * If only a part could be pinned, because a signal came or no more may be, that is
 * no error: `pinned` bytes from `offset` on are, and `cursor` says where to go on;
 * the next PIN, from there on, has the error. A range past the end of the file is
 * cut short; wholly past it, `pinned` is 0. `cursor` is 0 once the range is done.
 *
 * With an error nothing was pinned by this call. Where the target does not answer, and
 * the mount is not strict, `flags` has HBMFS_PIN_UNSETTLED and `why` is
 * HBMFS_WHY_TARGET_AWAY, as of FETCH: what is pinned may be old, and is dropped once it
 * turns out to be.
 *
 * EAGAIN     a writer may have the file open, or its file system can't tell of
 *            changes: nothing of it is kept. Open it again when that is over. Or
 *            the mount is strict, and the target does not answer
 * EDQUOT     as many files have pins as may
 * EINTR      a signal came; nothing of the range was pinned
 * ENOSPC     the user's pins hold all that they may, or too much of the pool is
 *            leased. CTL_STATS tells how much the pins hold
 * ESTALE     the file changed; what was pinned of it by whomever is not any more
 * EREMOTEIO  the mount requires a direct path, and the next bytes took a fallback
 * E2BIG, EINVAL, EIO, EISDIR, ENODEV, ENOMEM: as FETCH
 */
#define HBMFS_PIN_UNSETTLED 0x1 /* flags, out: the file may have changed unnoticed */

struct hbmfs_pin {
	__u32 size;
	__u32 flags; /* in: 0; out: HBMFS_PIN_UNSETTLED */
	__u64 offset;
	__u64 length;
	__u64 for_ms;
	__u32 device;
	__u32 zero;
	__u64 pinned; /* out, as is what follows: bytes */
	__u64 cursor;
	__u32 path; /* the least direct that what is pinned came by, and the reason for it */
	__u32 why;
};

/*
 * UNPIN: end the user's pins of this file that have a byte of the range, on all
 * devices. All of the file is a length of 2^63 - 1. What was pinned stays in device
 * memory until that is needed. EINTR: a signal came, and only some have ended; the
 * next UNPIN does not count those. EISDIR: as FETCH.
 */
struct hbmfs_unpin {
	__u32 size;
	__u32 flags; /* in: 0 */
	__u64 offset;
	__u64 length;
	__u64 unpinned; /* out: bytes */
};

/*
 * EVICT: drop what the user has of the range in device memory, on all devices: the
 * extents that have a byte of it, but for those that are under way, leased by
 * anybody of that user, or pinned. EINTR: a signal came, and some are dropped; the
 * next EVICT does not count those. EISDIR: as FETCH.
 */
struct hbmfs_evict {
	__u32 size;
	__u32 flags; /* in: 0 */
	__u64 offset;
	__u64 length;
	__u64 evicted; /* out: bytes */
};

/*
 * RING_FILE: register the open file or directory with a ring of the same user (below),
 * whose submissions then name it by `file`. The registration ends with the open file
 * description, with the ring, or by HBMFS_RING_REMOVE; until then its number stays the
 * same, however often it is registered. A number is not used again by that ring. What of a submission is under way then still completes.
 *
 * EACCES     the ring is another user's
 * EINVAL     flags
 * ENFILE     the ring has as many files as may be: 65536
 * ENOENT     no such ring, or with HBMFS_RING_REMOVE: no such file of this open file
 * EOPNOTSUPP the directory is above all datasets, or .hbmfs
 */
#define HBMFS_RING_REMOVE 0x1 /* flags, in: end the registration `file` */

struct hbmfs_ring_file {
	__u32 size;
	__u32 flags; /* in: 0, or HBMFS_RING_REMOVE */
	__u32 ring;
	__u32 file; /* out; in with HBMFS_RING_REMOVE */
};

/* The least `size`. INFO may be asked for without its tables. */
#define HBMFS_INFO_SIZE_MIN 40
#define HBMFS_FETCH_SIZE_MIN 80
#define HBMFS_RELEASE_SIZE_MIN 24
#define HBMFS_DIGEST_SIZE_MIN 56
#define HBMFS_PIN_SIZE_MIN 64
#define HBMFS_UNPIN_SIZE_MIN 32
#define HBMFS_EVICT_SIZE_MIN 32
#define HBMFS_BATCH_SIZE_MIN 48
#define HBMFS_FETCH_INTO_SIZE_MIN 72
#define HBMFS_RING_FILE_SIZE_MIN 16

#define HBMFS_IOC_INFO _IOWR(HBMFS_IOC_MAGIC, 1, struct hbmfs_info)
#define HBMFS_IOC_FETCH(n)                                   \
	_IOC(_IOC_READ | _IOC_WRITE, HBMFS_IOC_MAGIC, 2,     \
	     sizeof(struct hbmfs_fetch) + (n) * sizeof(struct hbmfs_segment))
#define HBMFS_IOC_RELEASE _IOWR(HBMFS_IOC_MAGIC, 3, struct hbmfs_release)
#define HBMFS_IOC_DIGEST _IOWR(HBMFS_IOC_MAGIC, 4, struct hbmfs_digest)
#define HBMFS_IOC_PIN _IOWR(HBMFS_IOC_MAGIC, 5, struct hbmfs_pin)
#define HBMFS_IOC_UNPIN _IOWR(HBMFS_IOC_MAGIC, 6, struct hbmfs_unpin)
#define HBMFS_IOC_EVICT _IOWR(HBMFS_IOC_MAGIC, 7, struct hbmfs_evict)

#define HBMFS_IOC_RING_FILE _IOWR(HBMFS_IOC_MAGIC, 10, struct hbmfs_ring_file)

#define HBMFS_IOC_BATCH(bytes) _IOC(_IOC_READ | _IOC_WRITE, HBMFS_IOC_MAGIC, 8, bytes)
#define HBMFS_IOC_FETCH_INTO _IOWR(HBMFS_IOC_MAGIC, 9, struct hbmfs_fetch_into)

/* _IOC_SIZE has 14 bits. */
#define HBMFS_BATCH_MAX 16383
#define HBMFS_MAX_SEGMENTS \
	((16383 - sizeof(struct hbmfs_fetch)) / sizeof(struct hbmfs_segment))

/*
 * .hbmfs/ctl, in every directory of a mount, though not listed, is a
 * SOCK_SEQPACKET socket, or a symbolic link to one if a user other than root
 * mounted. Each request is answered by one reply, of HBMFS_CTL_MAX bytes at most.
 *
 * Who asks for descriptors before he has read the reply before is hung up on.
 *
 * CTL_REGION passes the region's descriptor, to be mapped read-only, by
 * SCM_RIGHTS; a region belongs to one user. A number is never used again, by the
 * next daemon that serves a mount neither, so what is mapped by number stays
 * right. CTL_STATS is followed, in the same message, by `length` bytes of JSON.
 * CTL_UNPIN ends all pins of the user who asks, also those of files that are gone.
 * A reply with an error is only the structure. The structures do not grow.
 *
 * CTL_REVOKE takes the memory of the device whose number is in `region` from all users:
 * `length` bytes in `region` regions. FETCHes that wait for what was on its way there are
 * ENODEV, and so is the RELEASE, of what was pinned there, by a program that has not
 * let go before. What programs have mapped of it is theirs until they unmap that; the mount's
 * own share goes once no transfer writes there. Who asks next gets other memory. Loans
 * stay until they are released. Only root and the daemon's user may.
 *
 * CTL_DMABUF passes the region's dma-buf instead, where there is one and the mount was
 * told to (--export-dmabuf): a device of the program's can import that, which it can't
 * a memfd. A dma-buf can't be sealed. Who has it can write to what the user, and nobody
 * else, has in device memory, and is answered what he wrote there.
 *
 * CTL_BUFFER makes a buffer for FETCH_INTO of memory of the program's: a memfd, or a
 * dma-buf of the host's memory, whose one descriptor comes with the request by
 * SCM_RIGHTS and may be closed then. It must be open for reading and writing. A memfd
 * must have F_SEAL_SHRINK, none of huge pages can be taken, and all pages of the range
 * must be there (fallocate(2), or a write, makes them so); they stay the program's
 * charge, and must not be given back while it is a buffer. `offset` may be any, also
 * within a page. `region` of the reply is the buffer's number, `length` its bytes. The
 * buffer is the connection's that made it: it ends when its last descriptor is closed,
 * or by CTL_UNBUFFER, of that or another connection of the user's; and then is let go
 * of when nothing writes to it any more. Until then, every process of the user can
 * name it.
 *
 * EACCES     the region, or the buffer, is another user's
 * EBUSY      CTL_UNBUFFER: something is being fetched into the buffer
 * EDQUOT     the user has as many buffers as may be: 1024, or as many as are left for
 *            others of the 4096 that all may have
 * EFAULT     CTL_BUFFER: pages of the range are not there
 * EINVAL     size, `zero`, flags, or a region where none belongs; a range that the
 *            descriptor does not hold; not one descriptor, or one where none belongs
 * EIO        CTL_BUFFER: no transport takes the memory (the daemon's log says why)
 * EMFILE     the user has as many connections to the socket as may be: the daemon
 *            says so unasked, and hangs up. It is to be read also after EPIPE or
 *            ECONNRESET
 * ENFILE     the daemon has no descriptor left to pass on
 * ENODEV     CTL_BUFFER, CTL_REVOKE: no such device
 * ENOTCONN   the mount ends; said as EMFILE is
 * ENOENT     no such region: that of memory for loans ends some time after the
 *            last of them is released, others with the daemon; no such buffer
 * ENOMEM     CTL_BUFFER: the memory can't be mapped
 * ENOTTY     unknown op
 * EOPNOTSUPP the region is of a device without HBMFS_DEVICE_CPU, and has no
 *            descriptor, or has no dma-buf; of CTL_BUFFER's, the descriptor is of nothing that the device
 *            can take
 * EPERM      CTL_DMABUF: the mount was not told to. CTL_REVOKE: another user's mount
 *            CTL_BUFFER: the descriptor is not open for reading and writing, or sealed
 *            against that, or the memfd lacks F_SEAL_SHRINK
 * EREMOTEIO  CTL_BUFFER: the mount requires a direct path, and there is none into it
 */

#define HBMFS_CTL_MAX 65536

#define HBMFS_CTL_REGION 1
#define HBMFS_CTL_STATS 2
#define HBMFS_CTL_UNPIN 3
#define HBMFS_CTL_BUFFER 4
#define HBMFS_CTL_UNBUFFER 5
#define HBMFS_CTL_DMABUF 7
#define HBMFS_CTL_RING 6
#define HBMFS_CTL_REVOKE 8

struct hbmfs_ctl_request {
	__u32 size;
	__u32 op;
	__u32 region; /* CTL_REGION, CTL_DMABUF: a segment's; CTL_UNBUFFER: a buffer's number; CTL_REVOKE: a device's; else 0 */
	__u32 zero;
};

struct hbmfs_ctl_buffer { /* the request of CTL_BUFFER */
	__u32 size;
	__u32 op;
	__u32 device; /* as FETCH names it */
	__u32 flags;  /* 0 */
	__u64 offset; /* of the descriptor, in bytes */
	__u64 length;
};

struct hbmfs_ctl_reply {
	__u32 size;
	__s32 error;     /* errno, 0 for success */
	__u64 length;    /* the region's or buffer's size; CTL_UNPIN: bytes that were pinned; CTL_REVOKE: bytes; CTL_RING: bytes to map */
	__u64 fd_offset; /* CTL_REGION: where in the descriptor it starts */
	__u32 region;    /* CTL_REGION: as asked for, and the device it is on; CTL_BUFFER, CTL_RING: its number; CTL_REVOKE: how many */
	__u32 device;
};

/*
 * CTL_RING makes a ring: memory that the program and the mount both map, by which
 * operations are asked for and answered without a system call each. The reply comes
 * with three descriptors: the memory, of `length` bytes, to be mapped shared and
 * writable; an eventfd by which the program wakes the mount; and one by which the mount
 * wakes the program, both blocking as they come. The ring ends with the connection that
 * it was made on, when the last descriptor of the program's end is closed, also by death:
 * then what is under way is cancelled, and what it had fetched is released. Every process
 * of the user may register files with it. A child that inherits the connection keeps the
 * ring alive.
 *
 * EDQUOT     the user's rings have as many entries as may be: 65536, where a ring counts
 *            as 256 at least, or as many as are left for others of the 262144 that all
 *            may have
 * EINVAL     `entries` is no power of two up to HBMFS_RING_ENTRIES_MAX, or
 *            `name_bytes` over HBMFS_RING_NAME_BYTES_MAX
 * ENFILE, ENOMEM: the daemon has no descriptor, or no memory, for it
 */
#define HBMFS_RING_ENTRIES_MAX 4096
#define HBMFS_RING_NAME_BYTES_MAX 1048576

struct hbmfs_ctl_ring {
	__u32 size;
	__u32 op;         /* HBMFS_CTL_RING */
	__u32 entries;    /* of submissions: a power of two */
	__u32 name_bytes; /* may be 0 */
	__u32 flags;      /* 0 */
	__u32 zero;
};

/*
 * The memory of a ring begins with struct hbmfs_ring. `entries` submissions (struct
 * hbmfs_ring_op) lie at submissions_offset, `completion_entries` completions (struct
 * hbmfs_ring_done) at completions_offset, and `name_bytes` bytes for names at
 * names_offset. What comes before submission_tail does not change. The numbers that
 * follow run freely: number n is of the entry n & (entries - 1).
 *
 * The program writes submissions from submission_tail on, at most `entries` beyond
 * submission_head, and then submission_tail, with release semantics. The mount takes
 * them in that order, each before it writes submission_head. Until then, a submission
 * and its name must not be changed; what a program does to them, or to any of this
 * memory, it does to itself. Operations complete in any order: the mount writes
 * completions, and then completion_tail; the program reads them, and then writes
 * completion_head. There is a completion for each submission, with its `user_data`. The
 * mount takes no more submissions while as many as there are completion_entries are
 * under way or not yet read, so no completion is lost.
 *
 * Who has nothing to do sets HBMFS_RING_NEED_WAKEUP in its flags (the mount in
 * submission_flags, the program in completion_flags), looks once more, and then sleeps
 * until its eventfd is readable. So after it has written submission_tail, or
 * completion_head while the mount has not taken all submissions, the program looks at
 * submission_flags, with a full memory barrier between (atomic_thread_fence
 * (memory_order_seq_cst)), and writes 1 to the first eventfd if the flag is set. Before
 * it sleeps it sets its own, passes a full barrier, and looks at completion_tail; once
 * awake it clears its flag, and reads the second eventfd. The mount does likewise.
 * There may be one thread that submits, and one that reads completions, or locks.
 *
 * `revocations` changes when memory of the user's on a device was taken away
 * (CTL_REVOKE, or the device is gone), and a program that sleeps is woken: what is in the
 * regions that CTL_REGION answers with ENOENT by then is of no use, and to be released.
 *
 * HBMFS_RING_BROKEN in submission_flags: one of the program's numbers was impossible,
 * and the mount has ended the ring; what it had fetched is released. Nobody is told so
 * of a daemon that was killed: then the ctl connection hangs up.
 */
#define HBMFS_RING_NEED_WAKEUP 0x1 /* of both: I sleep; write my eventfd */
#define HBMFS_RING_BROKEN 0x2      /* of the mount's: the ring has ended */

struct hbmfs_ring {
	__u32 size; /* of this structure */
	__u32 entries;
	__u32 completion_entries; /* twice as many */
	__u32 submissions_offset; /* bytes, as are the next three */
	__u32 completions_offset;
	__u32 names_offset;
	__u32 name_bytes;
	__u32 ring; /* its number, which RING_FILE names */
	__u32 zero[8];

	__u32 submission_tail; /* the program's */
	__u32 pad0[15];

	__u32 submission_head; /* the mount's, as is what follows */
	__u32 submission_flags;
	__u32 revocations; /* how often memory of the user's was taken away */
	__u32 pad1[13];

	__u32 completion_tail; /* the mount's */
	__u32 pad2[15];

	__u32 completion_head; /* the program's, as is what follows */
	__u32 completion_flags;
	__u32 pad3[14];
};

/*
 * What a ring can be asked. `file` is what RING_FILE told. Of RING_NOP, RING_RELEASE and
 * RING_CANCEL all members are 0, but `user_data` and what is named here.
 *
 * RING_FETCH is FETCH of one segment, kept as with HBMFS_FETCH_RANDOM if `flags` is 0.
 * It pins what the completion tells: `length` bytes at `region_offset` of `region`. If
 * the range needs another segment, `flags` has HBMFS_BATCH_MORE, and `cursor` says where
 * to go on. `handle`, if not 0, is released first, and stays so if the fetch fails, unless
 * a member makes no sense or there is no such handle: to release it again is ENOENT, and
 * does no harm. `handle` of the completion is
 * what to release; it belongs to the ring, whatever becomes of the file. With a name,
 * `file` is a directory, and the file that the name leads to beneath it is fetched,
 * by the rules of BATCH: who calls is whoever made the connection that the ring was
 * made on, with the groups that he had at that time. A later setuid(2) takes nothing
 * away. CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH count of uid 0 only, where the kernel
 * tells the process behind a socket (Linux 6.5) and that still runs when it asks for
 * the ring.
 *
 * RING_FETCH_INTO is FETCH_INTO, with `buffer` and `buffer_offset`; `length` of the
 * completion is how many bytes are there. A name is as of RING_FETCH.
 *
 * RING_RELEASE releases `handle`. RING_CANCEL has the operation whose `user_data` is
 * `handle` end soon, if there is one under way that can: it completes with ECANCELED, or
 * with what it has got. If there is none, the RING_CANCEL completes with ENOENT.
 *
 * Errors of a completion, beside those of FETCH, of FETCH_INTO and of an entry of a BATCH:
 *
 * EBADF      no such file is registered, or not any more
 * ECANCELED  by RING_CANCEL
 * EINVAL     a member that is not 0; a name that is not in the bytes of the names, or
 *            longer than 4095, or one of a file that is no directory
 * EISDIR     a directory, without a name
 * ENOENT     no such handle, or nothing to cancel
 * ENOSPC     also: the ring has 65536 handles
 * ENOTTY     an op that is not known
 * EOPNOTSUPP an op that this mount does not serve
 */
#define HBMFS_RING_NOP 0
#define HBMFS_RING_FETCH 1
#define HBMFS_RING_FETCH_INTO 2
#define HBMFS_RING_RELEASE 3
#define HBMFS_RING_CANCEL 4

struct hbmfs_ring_op { /* has no size, and so stays as it is */
	__u64 user_data; /* anything */
	__u16 op;
	__u16 flags; /* RING_FETCH: 0, or HBMFS_FETCH_RANDOM or _SEQUENTIAL */
	__u32 file;
	__u64 offset;
	__u64 length;
	__u64 handle;
	__u32 name; /* offset from names_offset */
	__u16 name_length;
	__u16 zero;
	__u32 buffer;
	__u32 device; /* RING_FETCH */
	__u64 buffer_offset;
};

#define HBMFS_RING_HIT 0x100 /* flags, out: all of it was in device memory already */

struct hbmfs_ring_done { /* has no size, and so stays as it is */
	__u64 user_data;
	__u16 error; /* errno, or 0; then nothing that follows has a meaning */
	__u16 flags; /* HBMFS_FETCH_UNSETTLED, HBMFS_BATCH_MORE, HBMFS_RING_HIT */
	__u16 path;
	__u16 why;
	__u64 handle; /* 0: nothing is pinned */
	__u64 length;
	__u64 cursor;
	__u64 file_size;
	__u64 region_offset;
	__u32 region;
	__u32 zero;
};

#endif
