"""What the warm server saves where nothing is trained: the import example, from logs to report, with and without it.

    python benchmarks/imports.py [--rounds 2]

The whole workflow on two cores in an empty directory, every job a plain process or a child of the warm server, in
turns; medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
WAYS = {"plain": {"GLIDEPATH_PLAIN": "1"}, "warm": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(parser.parse_args().rounds):
        for way, variables in WAYS.items():
            seconds[way].append(concluded(variables))
    plain, warm = (statistics.median(seconds[way]) for way in WAYS)
    print(f"import example [s]: plain {plain:.1f}, warm {warm:.1f}, {plain / warm:.2f} times as fast")


def concluded(variables: dict[str, str]) -> float:
    """Seconds of the workflow."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "examples").symlink_to(ROOT / "examples")
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", folder]
        command += ["--configfile", str(ROOT / "config/import-example.yaml"), "--cores", "2", "--quiet", "all"]
        environment = {name: value for name, value in os.environ.items() if name != "GLIDEPATH_PLAIN"}
        began = time.perf_counter()
        subprocess.run(command, env=environment | variables, check=True)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
