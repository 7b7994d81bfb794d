package uapi

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// structures are the C names of all structures of hbmfs.h.
var structures = map[string]any{
	"hbmfs_info":        Info{},
	"hbmfs_device":      Device{},
	"hbmfs_transport":   Transport{},
	"hbmfs_fetch":       Fetch{},
	"hbmfs_segment":     Segment{},
	"hbmfs_release":     Release{},
	"hbmfs_digest":      Digest{},
	"hbmfs_pin":         Pin{},
	"hbmfs_unpin":       Unpin{},
	"hbmfs_evict":       Evict{},
	"hbmfs_batch":       Batch{},
	"hbmfs_batch_entry": BatchEntry{},
	"hbmfs_ctl_request": CtlRequest{},
	"hbmfs_ctl_reply":   CtlReply{},
	"hbmfs_ctl_ring":    CtlRingRequest{},
	"hbmfs_ring_file":   RingFile{},
	"hbmfs_ring":        Ring{},
	"hbmfs_ring_op":     RingOp{},
	"hbmfs_ring_done":   RingDone{},
}

// constants are the names and Go's values of all macros of hbmfs.h.
var constants = map[string]any{
	"HBMFS_ABI_VERSION":            ABIVersion,
	"HBMFS_IOC_MAGIC":              Magic,
	"HBMFS_PATH_NONE":              PathNone,
	"HBMFS_PATH_HOST":              PathHost,
	"HBMFS_PATH_STAGED":            PathStaged,
	"HBMFS_PATH_DEVMEM_TCP":        PathDevmemTCP,
	"HBMFS_PATH_RDMA":              PathRDMA,
	"HBMFS_WHY_BEST":               WhyBest,
	"HBMFS_WHY_REQUESTED":          WhyRequested,
	"HBMFS_WHY_NO_DIRECT":          WhyNoDirect,
	"HBMFS_WHY_LOCAL_SOURCE":       WhyLocalSource,
	"HBMFS_WHY_PLAIN_READ":         WhyPlainRead,
	"HBMFS_WHY_NOT_REGISTERED":     WhyNotRegistered,
	"HBMFS_WHY_NOT_STEERED":        WhyNotSteered,
	"HBMFS_WHY_TARGET_AWAY":        WhyTargetAway,
	"HBMFS_DEVICE_CPU":             DeviceCPU,
	"HBMFS_TRANSPORT_USABLE":       TransportUsable,
	"HBMFS_TRANSPORT_CHOSEN":       TransportChosen,
	"HBMFS_TRANSPORT_ENCRYPTED":    TransportEncrypted,
	"HBMFS_FEATURE_CHECKSUMS":      FeatureChecksums,
	"HBMFS_FEATURE_STRICT":         FeatureStrict,
	"HBMFS_FEATURE_REQUIRE_DIRECT": FeatureRequireDirect,
	"HBMFS_MAX_DEVICES":            MaxDevices,
	"HBMFS_MAX_TRANSPORTS":         MaxTransports,
	"HBMFS_FETCH_UNSETTLED":        FetchUnsettled,
	"HBMFS_FETCH_LOAN":             FetchLoan,
	"HBMFS_FETCH_RANDOM":           FetchRandom,
	"HBMFS_FETCH_SEQUENTIAL":       FetchSequential,
	"HBMFS_FETCH_WAIT":             FetchWait,
	"HBMFS_WAIT_MS_MAX":            WaitMSMax,
	"HBMFS_SEGMENT_HIT":            SegmentHit,
	"HBMFS_MAX_SEGMENTS":           uint32(MaxSegments),
	"HBMFS_INFO_SIZE_MIN":          MinInfoSize,
	"HBMFS_FETCH_SIZE_MIN":         MinFetchSize,
	"HBMFS_RELEASE_SIZE_MIN":       MinReleaseSize,
	"HBMFS_DIGEST_SIZE_MIN":        MinDigestSize,
	"HBMFS_PIN_UNSETTLED":          PinUnsettled,
	"HBMFS_PIN_SIZE_MIN":           MinPinSize,
	"HBMFS_UNPIN_SIZE_MIN":         MinUnpinSize,
	"HBMFS_EVICT_SIZE_MIN":         MinEvictSize,
	"HBMFS_IOC_INFO":               IocInfo,
	"HBMFS_IOC_FETCH(1)":           IocFetch(1),
	"HBMFS_IOC_FETCH(64)":          IocFetch(64),
	"HBMFS_IOC_FETCH(509)":         IocFetch(MaxSegments),
	"HBMFS_IOC_RELEASE":            IocRelease,
	"HBMFS_IOC_DIGEST":             IocDigest,
	"HBMFS_IOC_PIN":                IocPin,
	"HBMFS_IOC_UNPIN":              IocUnpin,
	"HBMFS_IOC_EVICT":              IocEvict,
	"HBMFS_BATCH_SIZE_MIN":         MinBatchSize,
	"HBMFS_BATCH_MORE":             BatchMore,
	"HBMFS_BATCH_MAX":              BatchMax,
	"HBMFS_IOC_BATCH(1)":           IocBatch(1),
	"HBMFS_IOC_BATCH(136)":         IocBatch(BatchLen(1, 1, 0)),
	"HBMFS_IOC_BATCH(16383)":       IocBatch(BatchMax),
	"_IOC_NR(HBMFS_IOC_BATCH(1))":  NrBatch,
	"_IOC_NR(HBMFS_IOC_INFO)":      NrInfo,
	"_IOC_NR(HBMFS_IOC_FETCH(1))":  NrFetch,
	"_IOC_NR(HBMFS_IOC_RELEASE)":   NrRelease,
	"_IOC_NR(HBMFS_IOC_DIGEST)":    NrDigest,
	"_IOC_NR(HBMFS_IOC_PIN)":       NrPin,
	"_IOC_NR(HBMFS_IOC_UNPIN)":     NrUnpin,
	"_IOC_NR(HBMFS_IOC_EVICT)":     NrEvict,
	"HBMFS_CTL_REGION":             CtlRegion,
	"HBMFS_CTL_STATS":              CtlStats,
	"HBMFS_CTL_UNPIN":              CtlUnpin,
	"HBMFS_CTL_MAX":                CtlMax,
	"HBMFS_CTL_RING":               CtlRing,
	"HBMFS_RING_ENTRIES_MAX":       RingEntriesMax,
	"HBMFS_RING_NAME_BYTES_MAX":    RingNameBytesMax,
	"HBMFS_RING_NEED_WAKEUP":       RingNeedWakeup,
	"HBMFS_RING_BROKEN":            RingBroken,
	"HBMFS_RING_NOP":               RingNop,
	"HBMFS_RING_FETCH":             RingFetch,
	"HBMFS_RING_FETCH_INTO":        RingFetchInto,
	"HBMFS_RING_RELEASE":           RingRelease,
	"HBMFS_RING_CANCEL":            RingCancel,
	"HBMFS_RING_HIT":               RingHit,
	"HBMFS_RING_REMOVE":            RingRemove,
	"HBMFS_RING_FILE_SIZE_MIN":     MinRingFileSize,
	"HBMFS_IOC_RING_FILE":          IocRingFile,
	"_IOC_NR(HBMFS_IOC_RING_FILE)": NrRingFile,
}

func readHeader(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("hbmfs.h")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTablesNameAllOfTheHeader(t *testing.T) {
	header := readHeader(t)
	for _, m := range regexp.MustCompile(`(?m)^struct (\w+) \{`).FindAllStringSubmatch(header, -1) {
		if _, ok := structures[m[1]]; !ok {
			t.Errorf("struct %s has no Go type here", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^#define (\w+)(\((?:n|bytes)\))?[ \t]+\S`).FindAllStringSubmatch(header, -1) {
		name := m[1]
		if m[2] != "" {
			name += "(1)"
		}
		if _, ok := constants[name]; !ok {
			t.Errorf("%s has no Go value here", name)
		}
	}
}

// TestNoHoles makes the comparison of all Go members with C complete: where
// they leave no room, the C structure can have no other.
func TestNoHoles(t *testing.T) {
	for name, v := range structures {
		typ := reflect.TypeOf(v)
		end := uintptr(0)
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Offset != end {
				t.Errorf("%s: %d bytes before %s", name, f.Offset-end, f.Name)
			}
			end = f.Offset + f.Type.Size()
		}
		if end != typ.Size() {
			t.Errorf("%s: %d bytes at its end", name, typ.Size()-end)
		}
		if typ.Size()%8 != 0 {
			t.Errorf("%s: %d bytes long, and arrays of it lose alignment", name, typ.Size())
		}
	}
}

func TestLayoutMatchesC(t *testing.T) {
	source := assertions()
	t.Run("native", func(t *testing.T) { mustCompile(t, "c", source, "-std=gnu11") })
	t.Run("m64", func(t *testing.T) { mustCompile(t, "c", source, "-std=gnu11", "-m64") })
	t.Run("m32", func(t *testing.T) { mustCompile(t, "c", source, "-std=gnu11", "-m32") })
}

// TestLayoutCheckFinds proves that the comparison can fail.
func TestLayoutCheckFinds(t *testing.T) {
	mustCompile(t, "c", `#include "hbmfs.h"`)
	for _, wrong := range []string{
		assert("sizeof(struct hbmfs_fetch)", FetchSize+8),
		assert("__builtin_offsetof(struct hbmfs_fetch, handle)", 0),
		assert("HBMFS_PATH_RDMA", PathStaged),
	} {
		if said, err := compile("c", "#include \"hbmfs.h\"\n"+wrong); err == nil || !strings.Contains(said, "static assertion failed") {
			t.Errorf("%q was not refused: %v %s", wrong, err, said)
		}
	}
}

// assertions is a C program that compiles if hbmfs.h is what Go thinks it is.
func assertions() string {
	var b strings.Builder
	b.WriteString("#include \"hbmfs.h\"\n")
	for name, v := range structures {
		typ := reflect.TypeOf(v)
		b.WriteString(assert(fmt.Sprintf("sizeof(struct %s)", name), typ.Size()))
		for i := range typ.NumField() {
			if f := typ.Field(i); f.Name != "_" {
				b.WriteString(assertMember(name, f))
			}
		}
	}
	for name, v := range constants {
		b.WriteString(assert(name, v))
	}
	return b.String()
}

func assertMember(structure string, f reflect.StructField) string {
	member := memberName(f.Name)
	value := fmt.Sprintf("((struct %s *)0)->%s", structure, member)
	s := assert(fmt.Sprintf("__builtin_offsetof(struct %s, %s)", structure, member), f.Offset) +
		assert(fmt.Sprintf("sizeof(%s)", value), f.Type.Size())
	switch f.Type.Kind() {
	case reflect.Int32:
		s += assert(fmt.Sprintf("((__typeof__(%s))-1 < 0)", value), 1)
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		s += assert(fmt.Sprintf("((__typeof__(%s))-1 > 0)", value), 1)
	}
	return s
}

func assert(expression string, value any) string {
	return fmt.Sprintf("_Static_assert(%s == %du, \"%s is not %d\");\n", expression, value, expression, value)
}

var wordStart = regexp.MustCompile(`([a-z])([A-Z])`)

// memberName is the C name of a Go member.
func memberName(field string) string {
	switch field {
	case "ABIVersion":
		return "abi_version"
	case "FDOffset":
		return "fd_offset"
	}
	return strings.ToLower(wordStart.ReplaceAllString(field, "${1}_${2}"))
}

func TestHeaderAlone(t *testing.T) {
	header := readHeader(t)
	twice := header + "\n#include \"hbmfs.h\"\nextern int hbmfs_fetch_one[HBMFS_MAX_SEGMENTS];\n"
	strict := []string{"-pedantic", "-Wall", "-Wextra", "-Werror"}
	t.Run("C", func(t *testing.T) { mustCompile(t, "c", twice, append(strict, "-std=c99")...) })
	t.Run("C++", func(t *testing.T) { mustCompile(t, "c++", twice, append(strict, "-std=c++11")...) })
}
