"""What a training job costs beside training: a plain process against a child of the warm server.

    python benchmarks/startup.py [--rounds 7]

Real jobs of the command line, one update each of a model of 25,000 parameters, plain and warm in turns; medians. The
first update of a process includes what libraries do once. Everything else is start-up: Python, imports, reading the
tokens, building the model, writing records.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from glidepath.stages.calibrate import Jobs, service
from glidepath.study.config import read_study
from glidepath.study.corpus_identity import corpus_id, vocab_size_of
from glidepath.study.segments import plan
from glidepath.study.speed import Conditions, workloads

STUDY = Path(__file__).parents[1] / "config/quick.yaml"
PARTS = {
    "whole job": lambda part: part["job_seconds"] + part["update_seconds"] + 2 * part["save_seconds"],
    "start-up": lambda part: part["job_seconds"],
    "first update": lambda part: part["update_seconds"],
    "state and snapshot": lambda part: 2 * part["save_seconds"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    study = read_study(STUDY)
    planned = plan(study, corpus_id(study.corpus, Path.cwd()), vocab_size_of(study.corpus, Path.cwd()))
    found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        jobs = {}
        for warm in found:
            conditions = Conditions(cores=1, threads=1, warm=warm, gpu=False)
            workload = next(iter(workloads(planned, conditions).values()))[0]
            jobs[warm] = Jobs(workload, workload.batch_sequences, folder, stack.enter_context(service(warm, folder)))
            jobs[warm].run(1)  # The server's imports, and the machine's matmul peak, which is measured once.
        for _ in range(rounds):
            for warm, several in found.items():
                several.append(jobs[warm].run(1))
    print(f"{'[s]':20} {'plain':>7} {'warm':>7}")
    for name, of in PARTS.items():
        plain, warm_ = (statistics.median(of(part) for part in found[warm]) for warm in (False, True))
        print(f"{name:20} {plain:7.3f} {warm_:7.3f}")


if __name__ == "__main__":
    main()
