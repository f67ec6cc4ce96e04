"""Memory does not grow with the input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from corpus_texts import BPE, corpus, files_domain

MEGABYTE = 10**6

TOKENIZE_AND_MEASURE = """
import resource, sys
from pathlib import Path
from glidepath.stages import tokenize

if __name__ == "__main__":
    tokenize.run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[2]) / "store", int(sys.argv[3]))
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    # Kibibytes, but bytes on macOS.
    print(max(peaks) * (1 if sys.platform == "darwin" else 1024))
"""


def write_text(path: Path, size: int) -> None:
    """About `size` bytes of .jsonl in documents of 1 kB, all different."""
    rng = np.random.default_rng(0)
    words = np.array([f"{word} " for word in ("stone", "river", "garden", "over", "a", "the", "small", "house")])
    with path.open("w") as file:
        for number in range(size // 1000):
            text = "".join(words[rng.integers(len(words), size=200)])
            file.write(json.dumps({"text": f"{number}\n{text}"[:980]}) + "\n")


def peak_memory(directory: Path, size: int, workers: int) -> int:
    """Largest resident memory of any process that tokenizes `size` bytes [bytes]."""
    directory.mkdir()
    write_text(directory / "a.jsonl", size)
    (directory / "measure.py").write_text(TOKENIZE_AND_MEASURE)
    asked = corpus(files_domain("*.jsonl"), tokenizer=BPE | {"train_bytes": MEGABYTE})
    command = [sys.executable, str(directory / "measure.py"), json.dumps(asked), str(directory), str(workers)]
    measured = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(measured.stdout)


def test_memory_does_not_grow_with_the_input(tmp_path: Path):
    """From 4 MB to 36 MB of text the peak grows by less than 8 MB, a fourth of what is added."""
    growth = peak_memory(tmp_path / "large", 36 * MEGABYTE, 2) - peak_memory(tmp_path / "small", 4 * MEGABYTE, 2)
    assert growth < 8 * MEGABYTE
