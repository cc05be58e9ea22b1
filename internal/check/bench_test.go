package check

import (
	"context"
	"fmt"
	"testing"

	"fettle/internal/finding"
	"fettle/internal/store"
)

// benchPass runs do b.N times inside a pass.
func benchPass(b *testing.B, cfg Config, do func(ctx context.Context, env store.Env, i int) error) {
	cfg.Run, cfg.Classes = newRun(b), fakeClasses
	cfg.Store = fakeStore{&fakeUnit{id: "u", passes: []store.Pass{{Name: "p", Run: func(ctx context.Context, env store.Env) error {
		b.ResetTimer()
		defer b.StopTimer()
		for i := range b.N {
			if err := do(ctx, env, i); err != nil {
				return err
			}
		}
		return nil
	}}}}}
	if _, err := Run(context.Background(), cfg); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkDid is what the engine costs per record when no limit is set.
func BenchmarkDid(b *testing.B) {
	benchPass(b, Config{}, func(ctx context.Context, env store.Env, _ int) error { return env.Did(ctx, 1, 100) })
}

// BenchmarkDidLimited is the same with a limit that is never reached.
func BenchmarkDidLimited(b *testing.B) {
	benchPass(b, Config{Rate: 1 << 50}, func(ctx context.Context, env store.Env, _ int) error { return env.Did(ctx, 1, 100) })
}

// BenchmarkDue is the price of asking for a checkpoint at every record.
func BenchmarkDue(b *testing.B) {
	benchPass(b, Config{}, func(_ context.Context, env store.Env, _ int) error { env.Due(); return nil })
}

// BenchmarkEmit is what a finding costs.
func BenchmarkEmit(b *testing.B) {
	benchPass(b, Config{}, func(_ context.Context, env store.Env, i int) error {
		path := fmt.Sprintf("job.0000.0016.0400.%04d.eventlog", i%10000)
		_, err := env.Emit(finding.Finding{Class: "fake/lost", Subject: "sha1-deadbeef", Path: &path,
			Evidence: []finding.Evidence{{Witness: "directory", Says: "blob 3 is here"}, {Witness: "objects", Says: "no such row"}}})
		return err
	})
}
