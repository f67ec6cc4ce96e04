"""Validate a study and say what it would cost, without running anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from glidepath.study.budget import summary
from glidepath.study.config import read_study
from glidepath.study.corpus import corpus_id, vocab_size_of
from glidepath.study.segments import plan
from glidepath.study.target import target_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="YAML file of the study")


def main(args: argparse.Namespace) -> None:
    study = read_study(args.study)
    base = Path.cwd()
    vocab_size = vocab_size_of(study.corpus, base)
    planned = plan(study, corpus_id(study.corpus, base), vocab_size)
    target_of(study, vocab_size)
    print(summary(study, planned))
