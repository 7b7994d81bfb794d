package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"hbmfs/fs/uapi"
)

// grown is command nr, of size bytes, as a program makes it whose structure is
// known bytes of ours, says that it has member bytes, and has tail as its last.
func grown(name string, nr uint32, size int, known []byte, member int, tail byte, want unix.Errno) badCall {
	arg := make([]byte, size)
	copy(arg, known)
	binary.NativeEndian.PutUint32(arg, uint32(member))
	arg[size-1] |= tail
	return badCall{fmt.Sprintf("%s, command of %d bytes, size %d", name, size, member), sized(nr, size), arg, want}
}

// growths are calls of programs with structures of other sizes than the mount's.
func growths() (all []badCall) {
	for _, c := range []struct {
		name      string
		nr        uint32
		min, ours int
		known     []byte
	}{
		{"INFO", uapi.NrInfo, uapi.MinInfoSize, uapi.InfoSize, nil},
		{"RELEASE", uapi.NrRelease, uapi.MinReleaseSize, uapi.ReleaseSize, nil},
		{"DIGEST", uapi.NrDigest, uapi.MinDigestSize, uapi.DigestSize, nil},
		{"PIN", uapi.NrPin, uapi.MinPinSize, uapi.PinSize, nil},
		{"UNPIN", uapi.NrUnpin, uapi.MinUnpinSize, uapi.UnpinSize, nil},
		{"EVICT", uapi.NrEvict, uapi.MinEvictSize, uapi.EvictSize, nil},
		{"FETCH", uapi.NrFetch, uapi.MinFetchSize, uapi.FetchSize, fetchArg(uapi.Fetch{Length: extent}, 0)},
	} {
		room := 0
		if c.nr == uapi.NrFetch {
			room = uapi.SegmentSize
		}
		add := func(size, member int, tail byte, want unix.Errno) {
			all = append(all, grown(c.name, c.nr, size, c.known, member, tail, want))
		}
		add(c.min+room, c.min, 0, 0)
		add(c.min-1+room, c.min-1, 0, unix.EINVAL)
		add(4, 4, 0, unix.EINVAL)
		add(c.ours+8+room, c.ours+8, 0, 0)
		add(c.ours+8+room, c.ours+4, 0, unix.EINVAL)
		add(c.ours+room, c.ours+room+8, 0, unix.EINVAL)
		if room == 0 {
			add(c.ours+8, c.ours+8, 1, unix.E2BIG)
			add(16383, 16383, 0, 0)
			add(16383, 16383, 1, unix.E2BIG)
		}
	}
	return all
}

// TestStructSizes: a structure of another size is read as far as the mount and
// the program both know it; the rest must be 0, and stays so.
func TestStructSizes(t *testing.T) {
	src := t.TempDir()
	writeNumbered(t, src, 1, extent)
	m := startMount(t, src, small(8)...)
	f := mustOpen(t, m.path("1"), os.O_RDONLY)
	defer f.Close()
	for _, c := range growths() {
		if err := ioctlBytes(f, c.cmd, c.arg); c.want == 0 && err != nil || c.want != 0 && err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	whole := infoBytes(t, f, uapi.InfoSize)
	for _, size := range []int{uapi.MinInfoSize, uapi.MinInfoSize + 9, uapi.InfoSize + 8, 16383} {
		got := infoBytes(t, f, size)
		known := min(size, uapi.InfoSize)
		if binary.NativeEndian.Uint32(got) != uint32(size) || !bytes.Equal(got[4:known], whole[4:known]) || len(bytes.TrimLeft(got[known:], "\x00")) > 0 {
			t.Errorf("INFO of %d bytes answers % x", size, got)
		}
	}
}

// infoBytes is what INFO answers to a structure of that size.
func infoBytes(t *testing.T, f *os.File, size int) []byte {
	t.Helper()
	arg := make([]byte, size)
	uapi.EncodeInfo(arg, &uapi.Info{Size: uint32(size)})
	must(t, ioctlBytes(f, sized(uapi.NrInfo, size), arg))
	return arg
}

// TestOtherVersions compiles a C program, as a 64- and a 32-bit one, with this
// version's hbmfs.h, with one whose INFO ends before its tables and whose FETCH can't
// wait, and with one whose structures have members that no mount knows yet.
func TestOtherVersions(t *testing.T) {
	const size = extent + extent/2
	src := t.TempDir()
	writeNumbered(t, src, 1, size)
	m := startMount(t, src, small(8)...)
	f := mustOpen(t, m.path("1"), os.O_RDONLY)
	defer f.Close()
	info, err := uapi.DecodeInfoReply(infoBytes(t, f, uapi.InfoSize))
	must(t, err)
	content, err := os.ReadFile(filepath.Join(src, "1"))
	must(t, err)
	want := fmt.Sprintf("size 1 version 1 devices %d transports %d extent %d\n%x\n",
		info.DeviceCount, info.TransportCount, info.ExtentSize, sha256.Sum256(content))
	for version, args := range headers(t) {
		for bits, more := range map[string][]string{"64": nil, "32": {"-m32"}} {
			t.Run(version+"/"+bits, func(t *testing.T) {
				program := compileC(t, "testdata/growth.c", slices.Concat(more, args)...)
				if out, err := exec.Command(program, m.path("1")).CombinedOutput(); err != nil || string(out) != want {
					t.Errorf("%v: %s\nwant %s", err, out, want)
				}
			})
		}
	}
	m.awaitLeases(0)
}

// headers are versions of hbmfs.h, as what the compiler needs to find them first.
func headers(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../fs/uapi/hbmfs.h")
	must(t, err)
	edited := func(pattern, replacement string, times int) []string {
		re := regexp.MustCompile(pattern)
		if n := len(re.FindAll(text, -1)); n != times {
			t.Fatalf("%s is %d times in hbmfs.h, want %d", pattern, n, times)
		}
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "hbmfs.h"), re.ReplaceAll(text, []byte(replacement)), 0o600))
		return []string{"-I", dir}
	}
	return map[string][]string{
		"this":  nil,
		"older": append(edited(`(?m)^\tstruct hbmfs_(device devices|transport transports)\[.*\n|^\t__u32 wait_ms;.*\n\t__u32 zero;\n`, "", 3), "-DOLDER"),
		"newer": append(edited(`(?m)^struct hbmfs_(info|fetch|release|digest) (\{[^}]*)\}`, "struct hbmfs_$1 $2\t__u64 later[2];\n}", 4), "-DNEWER"),
	}
}
