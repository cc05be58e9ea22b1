package lustre

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTargetFiles(t *testing.T) {
	m := MountData{Flags: TargetMDT | TargetVirgin, Index: 1, MountType: 1, FSName: "t32fs", Service: "t32fs:MDT0001", MountOptions: "errors=remount-ro", Params: " sys.timeout=20"}
	if got, err := DecodeMountData(m.Encode()); err != nil || got != m {
		t.Errorf("%+v, %v", got, err)
	}
	long := MountData{FSName: strings.Repeat("x", 100), Service: strings.Repeat("y", 100)}
	if got, err := DecodeMountData(long.Encode()); err != nil || len(got.FSName) != 63 || len(got.Service) != 63 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, b := range [][]byte{nil, m.Encode()[:159], make([]byte, MountDataSize)} {
		if _, err := DecodeMountData(b); err == nil {
			t.Errorf("%d bytes are accepted", len(b))
		}
	}
	l := LastRcvd{UUID: "t32fs-MDT0001_UUID", LastTransno: 1 << 33, MountCount: 3, Compat: 8, ROCompat: 1, Incompat: 0x21c, ServerSize: 512, ClientStart: 8192, ClientSize: 128, Subdirs: 32, Index: 1}
	if got, err := DecodeLastRcvd(l.Encode()); err != nil || got != l {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := DecodeLastRcvd(make([]byte, 511)); err == nil {
		t.Error("511 bytes are accepted")
	}
}

func TestLFSCKBookmark(t *testing.T) {
	m := LFSCKBookmark{Version: 2, Param: LFSCKDryRun | 8, SpeedLimit: 100, Window: 1024, LostFound: FID{0x200000402, 9, 0}, LastFID: FID{0x200000403, 1, 0}}
	b := m.Encode()
	if got, err := DecodeLFSCKBookmark(b); err != nil || got != m || len(b) != LFSCKBookmarkSize {
		t.Errorf("%+v, %v", got, err)
	}
	if lfsckParams(m.Param) != "dryrun,all_targets" {
		t.Error(lfsckParams(m.Param))
	}
	b[0]++
	if _, err := DecodeLFSCKBookmark(b); err == nil {
		t.Error("a wrong magic is accepted")
	}
}

// Every field survives, which needs every field to be set to something of its own.
func TestLFSCKNamespace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var n LFSCKNamespace
		v := reflect.ValueOf(&n).Elem()
		for i := range v.NumField() {
			switch f := v.Field(i); f.Kind() {
			case reflect.Uint32:
				f.SetUint(uint64(rapid.Uint32().Draw(t, "u32")))
			case reflect.Uint64:
				f.SetUint(rapid.Uint64().Draw(t, "u64"))
			case reflect.Int64:
				f.SetInt(rapid.Int64().Draw(t, "i64"))
			case reflect.Struct:
				if f.Type() == reflect.TypeFor[FID]() {
					f.Set(reflect.ValueOf(anyFID().Draw(t, "fid")))
				} else {
					f.Set(reflect.ValueOf(LFSCKPosition{rapid.Uint64().Draw(t, "oit"), anyFID().Draw(t, "dir"), rapid.Uint64().Draw(t, "cookie")}))
				}
			default:
				t.Fatalf("field %s is of a kind the test does not fill", v.Type().Field(i).Name)
			}
		}
		n.Magic = LFSCKNamespaceMagic
		b := n.Encode()
		if got, err := DecodeLFSCKNamespace(b); err != nil || got != n || len(b) != LFSCKNamespaceSize {
			t.Fatalf("%+v, %v", got, err)
		}
	})
	for _, b := range [][]byte{nil, make([]byte, 544), LFSCKNamespace{Magic: LFSCKNamespaceMagic}.Encode()[:151]} {
		if _, err := DecodeLFSCKNamespace(b); err == nil {
			t.Errorf("%d bytes are accepted", len(b))
		}
	}
}

func TestLFSCKText(t *testing.T) {
	n := LFSCKNamespace{Magic: LFSCKNamespaceMagic, Status: LFSCKCompleted, Flags: 3, SuccessCount: 2, RunTime1: 10, RunTime2: 5, LastCompleted: 1000,
		LatestStartPos: LFSCKPosition{Object: 13}, FirstBadPos: LFSCKPosition{77, FIDRoot, 0x10}, Checked1: 100, Checked2: 50, Dangling: 3, LinkEAOverflow: 1}
	for _, c := range []struct {
		status uint32
		param  uint16
		live   LFSCKLive
		want   []string
	}{
		{LFSCKCompleted, 0, LFSCKLive{}, []string{"magic: 0xa06249ff", "status: completed", "flags: scanned-once,inconsistent", "param:", "last_completed_time: 1000", "time_since_last_completed: 500 seconds",
			"latest_start_time: N/A", "latest_start_position: 13, N/A, N/A", "last_checkpoint_position: N/A, N/A, N/A", "first_failure_position: 77, [0x200000007:0x1:0x0], 0x10",
			"dangling_repaired: 3", "updated_phase1: 0", "linkea_overflow_cleared: 1", "success_count: 2", "run_time_phase1: 10 seconds",
			"average_speed_phase1: 10 items/sec", "average_speed_phase2: 10 objs/sec", "average_speed_total: 10 items/sec", "current_position: N/A"}},
		{LFSCKCompleted, LFSCKDryRun, LFSCKLive{}, []string{"param: dryrun", "dangling_inconsistent: 3", "inconsistent_phase1: 0", "linkea_overflow_inconsistent: 1"}},
		{LFSCKPhase1, 0, LFSCKLive{Current: LFSCKPosition{Object: 4711}, New: 90, Seconds: 3}, []string{"status: scanning-phase1", "average_speed_phase1: 10 items/sec",
			"average_speed_phase2: N/A", "average_speed_total: 10 items/sec", "real_time_speed_phase1: 30 items/sec", "real_time_speed_phase2: N/A", "current_position: 4711, N/A, N/A"}},
		{LFSCKPhase2, 0, LFSCKLive{New: 7}, []string{"status: scanning-phase2", "average_speed_phase2: 10 objs/sec", "real_time_speed_phase1: N/A",
			"real_time_speed_phase2: 7 objs/sec", "current_position: [0x200000400:0x1:0x0]"}},
		{LFSCKCrashed, 0, LFSCKLive{New: 7}, []string{"status: crashed", "real_time_speed_phase1: N/A", "real_time_speed_phase2: N/A", "current_position: N/A"}},
	} {
		n.Status, n.LastScanned2 = c.status, FID{Seq: 0x200000400, OID: 1}
		text := "\n" + n.Text(LFSCKBookmark{Version: 2, Param: c.param}, c.live, 1500)
		for _, w := range c.want {
			if !strings.Contains(text, "\n"+w+"\n") {
				t.Errorf("no line %q in%s", w, text)
			}
		}
	}
	if lfsckStatus(99) != "unknown" || lfsckStatus(11) != "co-paused" {
		t.Error("status names")
	}
}
