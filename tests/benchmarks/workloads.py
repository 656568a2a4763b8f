"""Workloads as a command line names them."""

from __future__ import annotations

import argparse

from benchmarks.workload import Workload


def parse_workload(line: str = "") -> Workload:
    """On the CPU; the debug preset unless `line` names another."""
    parser = argparse.ArgumentParser()
    Workload.add_flags(parser, preset="debug")
    return Workload.of(parser.parse_args([*line.split(), "--device", "cpu"]))
