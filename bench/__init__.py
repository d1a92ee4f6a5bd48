"""Benchmarks: `bench.http` loads servers, `bench/micro` times the core, `bench.instructions` counts instructions."""
