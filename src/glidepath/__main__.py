"""The command line: one command per rule. A command imports only what it needs."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from glidepath.study import journal

COMMANDS = {
    "plan": "validate a study and say what it will cost, before anything runs",
    "tokenize": "corpus to token files",
    "cells": "write plan.parquet: a row per cell",
    "train": "train one segment",
    "average": "average the snapshots up to the points of one segment and evaluate them",
    "position-losses": "evaluate the snapshots of one segment by position in the sequence",
    "collect": "gather segments into the study's tables",
    "collect-averages": "put averages beside raw weights and cooldowns",
    "collect-positions": "gather losses by position along the cells",
    "steps-saved": "how much longer raw weights train until they are as good as their averages",
    "cooldown-oracle": "predict cooldowns from stable-phase snapshots, and score that",
    "cooldown": "say what a cooldown from a checkpoint of the study would come to",
    "fetch-checkpoint": "download or look through one checkpoint that was trained elsewhere",
    "average-checkpoints": "evaluate one average of checkpoints that were trained elsewhere",
    "collect-checkpoints": "gather averages of checkpoints into tables and a summary",
    "import-runs": "read logs of runs that were trained elsewhere into tables, and say what is wrong with them",
    "inspect-log": "show what is in a log, and a configuration to import it with",
    "noise-scale": "gradient noise scale from gradient statistics",
    "noise-scale-regression": "noise scale of all layers against that of the norm layers, for several smoothings",
    "coordinate-check": "train a few updates at many sizes and say what grows with them",
    "ema-view": "what the final weights are an average of",
    "compare": "paired comparisons of schedules",
    "large-lr": "regimes of constant learning rates, and the optimum against the convergence threshold",
    "spike-removal": "what averaging does to provoked loss spikes",
    "fit": "fit one law",
    "predict": "final losses of runs that were hidden, or not made, as the laws say them",
    "compare-laws": "laws by what they missed on runs hidden from them",
    "recommend": "write recommendation.json",
    "score": "hold a real run against what was recommended and predicted",
    "figure": "draw one figure",
    "spending": "put what the study did cost beside its budget",
    "report": "write report.html",
    "report-imports": "write report.html of imported runs",
    "predict-curves": "loss curves of schedules that were not trained, by the best law",
    "optimise-schedule": "the schedule that the best law of loss curves calls best, and a study that trains it",
    "verify": "score the prediction of an optimised schedule",
    "refine": "a schedule from the gradient norms of a trained cell",
    "batch-path": "a batch path from the measured gradient noise scale",
    "critical-batch": "updates and examples to a loss at every batch, and the critical batch",
    "batch-saving": "what a batch path saves against a fixed batch at equal loss",
    "export": "write trained weights as a Hugging Face directory",
    "document": "write the generated documentation",
    "progress": "show how far a running study is",
}

REFUSING = (
    "plan",
    "score",
    "cells",
    "tokenize",
    "refine",
    "predict-curves",
    "optimise-schedule",
    "verify",
    "batch-path",
    "cooldown",
    "predict",
    "export",
    "document",
    "fetch-checkpoint",
    "average-checkpoints",
    "import-runs",
    "inspect-log",
)
"""Commands that read what others have written: what they refuse is no fault of the program, and needs no traceback."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    A refused input is printed as one paragraph, without a traceback. A job that ends well is noted in the journal, if
    the environment names one.
    """
    began, cpu_began = time.time(), sum(os.times()[:4])
    parser = argparse.ArgumentParser(prog="glidepath", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = arguments[0] if arguments and arguments[0] in COMMANDS else None
    module = None
    # Making the parsers of all commands would take longer than the smallest jobs' own work.
    for name, meaning in {chosen: COMMANDS[chosen]}.items() if chosen else COMMANDS.items():
        command = commands.add_parser(name, help=meaning, description=meaning)
        if name == chosen:
            # What an import makes stays: looking for garbage meanwhile finds none.
            gc.disable()
            try:
                module = importlib.import_module(f"glidepath.stages.{name.replace('-', '_')}")
            except ModuleNotFoundError as missing:
                return _without_torch(name, missing)
            gc.enable()
            module.add_arguments(command)
    parsed = parser.parse_args(arguments)
    assert module is not None
    try:
        status = module.main(parsed)
    except ModuleNotFoundError as missing:
        return _without_torch(parsed.command, missing)
    except ValueError as refusal:
        if parsed.command in REFUSING:
            print(f"glidepath {parsed.command}: {refusal}", file=sys.stderr)
            return 2
        raise
    if not status and (file := os.environ.get(journal.VARIABLE)):
        journal.note(Path(file), _entry(parsed, began, sum(os.times()[:4]) - cpu_began))
    return int(status or 0)


def _without_torch(command: str, missing: ModuleNotFoundError) -> int:
    """Says what to install; raises what is missing if it is another package."""
    if missing.name != "torch":
        raise missing
    print(
        f"glidepath {command}: PyTorch is not installed, and this command needs it for models or weights. "
        "Install it: pip install 'glidepath[training]', or `make setup` in a checkout.",
        file=sys.stderr,
    )
    return 2


def _entry(parsed: argparse.Namespace, began: float, cpu_seconds: float) -> journal.Entry:
    given = vars(parsed)
    output = next((given[name] for name in ("output", "output_prefix", "output_directory") if given.get(name)), "")
    threads = given.get("threads") or given.get("workers") or 1
    return journal.Entry(parsed.command, str(output), began, time.time(), cpu_seconds, threads)


if __name__ == "__main__":
    sys.exit(main())
