"""Benchmarks: `bench.http` and `bench.websocket` load servers, `bench/micro` times the core, `bench.instructions`
counts."""

from pathlib import Path

#: The checkout.
ROOT = Path(__file__).resolve().parents[1]
