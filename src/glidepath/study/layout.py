"""Where a study's files are. Names are for people; programs read the tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath as Path

SEGMENT_TABLES = ("updates", "evaluations", "block_losses", "gradient_statistics")
LAW_TABLE_NAMES = ("parameters", "predictions", "scores")


@dataclass(frozen=True)
class Layout:
    """Paths relative to the working directory. The store is shared by all studies."""

    study: str
    corpus_id: str = ""
    """None for imported runs."""

    @property
    def results(self) -> Path:
        return Path("results") / self.study

    @property
    def corpus(self) -> Path:
        return Path("store/corpora") / self.corpus_id

    def table(self, name: str) -> str:
        return str(self.results / f"{name}.parquet")

    def law_table(self, law: str, name: str) -> str:
        return str(self.results / "laws" / law / f"{name}.parquet")

    def law_tables(self, law: str) -> list[str]:
        return [self.law_table(law, name) for name in LAW_TABLE_NAMES]

    def figure(self, name: str) -> list[str]:
        return [str(self.results / "figures" / f"{name}.{ending}") for ending in ("svg", "pdf", "parquet")]

    def figures(self, names: Iterable[str]) -> list[str]:
        return [file for name in names for file in self.figure(name)]


def segment_directory(segment_id: str) -> str:
    """Directory of a segment's records."""
    return f"store/segments/{segment_id}"


def position_directory(position_id: str) -> str:
    """Directory of the losses by position at the points of one segment."""
    return f"store/position_losses/{position_id}"


def average_directory(average_id: str) -> str:
    """Directory of the averages at the points of one segment."""
    return f"store/averages/{average_id}"
