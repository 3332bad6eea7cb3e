"""Benchmarks: ``python -m tests.bench [NAME ...] [--json FILE]``. They measure and never fail."""
