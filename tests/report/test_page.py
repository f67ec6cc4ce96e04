"""The page is self-contained, complete, and shows the numbers of the tables."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from argparse import ArgumentParser
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from glidepath.figures import layout, style
from glidepath.report.answers import QUESTIONS
from glidepath.report.overview import best_tables, lost_cells
from glidepath.stages import report as report_stage
from glidepath.study import figure_list, tables
from glidepath.study.config import read_study
from glidepath.study.identity import canonical_json
from tests.figures import planted
from tests.report.conftest import recommended

Tables = dict[str, pd.DataFrame]
ROOT = Path(__file__).parents[2]
MANIFEST = {
    "n_train_tokens": 1_200_000,
    "domains": {
        "python": {
            "use": "training",
            "licences": ["PSF-2.0", "BSD-3-Clause"],
            "files": 321,
            "train_tokens": 1_200_000,
            "validation_tokens": 16_384,
            "bytes_per_token": 2.5,
        }
    },
    "files": {"train.bin": {"bytes": 2_400_000, "sha256": "ab" * 32}},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, whole: Tables) -> Path:
    """A results folder as the workflow leaves it, and the report in it."""
    folder = tmp_path_factory.mktemp("results")
    runs = whole["runs"].assign(vocab_size=320, corpus_id="c0ffee")
    for name, frame in {**whole, "runs": runs}.items():
        tables.write(figure_list.table_schema(name), frame, figure_list.table_path(name, folder))
    (folder / "recommendation.json").write_text(recommended().model_dump_json())
    (folder / "manifest.json").write_text(json.dumps(MANIFEST))
    with style.look():
        picture = layout.nothing_to_draw("A figure", "It is drawn elsewhere.", "See tests/figures.")
    for name in figure_list.FIGURE_NAMES:
        style.save(picture, folder / "figures" / name)
    study = read_study(ROOT / "config" / "smoke.yaml").model_copy(
        update={"description": "Angles <script>alert(1)</script> & all."}
    )
    study = study.model_copy(
        update={"analysis": study.analysis.model_copy(update={"reference_schedule": planted.REFERENCE})}
    )
    parser = ArgumentParser()
    report_stage.add_arguments(parser)
    arguments = ["--config", canonical_json(study.model_dump(mode="json")), "--results", str(folder)]
    arguments += ["--manifest", str(folder / "manifest.json"), "--output", str(folder / "report.html")]
    # The schedule names of the smoke study are not the planted ones; only its cost is planned from it.
    report_stage.main(parser.parse_args(arguments))
    return folder


@pytest.fixture(scope="module")
def page(results: Path) -> str:
    return (results / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def words(page: str) -> str:
    """What a reader sees."""
    without = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", without)))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def attributes(page: str, name: str) -> Iterator[str]:
    tags = Tags()
    tags.feed(page)
    return (str(attrs[name]) for _, attrs in tags.found if name in attrs)


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert not {tag for tag, _ in tags.found} & {"script", "link", "iframe", "object", "embed", "base"}
    assert all(source.startswith("data:image/svg+xml;base64,") for source in attributes(page, "src"))
    visible = re.sub(r'src="data:[^"]*"', "", page)
    assert "http:" not in visible
    assert "https:" not in visible
    assert "url(" not in visible
    assert "@import" not in visible


def test_links_lead_to_files_or_places_that_exist(page: str, results: Path) -> None:
    places = set(attributes(page, "id"))
    assert len(places) == len(list(attributes(page, "id")))
    for link in attributes(page, "href"):
        if link.startswith("#"):
            assert link[1:] in places
        elif not link.startswith("figures/") or not link.endswith(".parquet"):
            assert (results / link).is_file(), link


def test_every_question_is_answered_and_every_figure_shown(page: str, words: str) -> None:
    for question in QUESTIONS:
        assert question.QUESTION in words
    assert words.count("How sure:") == len(QUESTIONS) + 1
    names = figure_list.figures_of(read_study(ROOT / "config" / "smoke.yaml"))
    assert len(names) >= 20
    for name in names:
        assert f'id="figure-{name}"' in page
        assert f"figures/{name}.parquet" in page


def test_not_resolved_is_printed_plainly(words: str) -> None:
    assert "not resolved from cosine_zero" in words
    assert re.search(r"wsd_linear − cosine_10: \S+ ± \S+ nat/token, not resolved", words)


def test_recommendation_is_at_the_top(words: str) -> None:
    top = words[: words.index(QUESTIONS[0].QUESTION)]
    for text in ("linear_zero", "2.2e-3", "512 tokens", "extrapolated", "2 × beyond"):
        assert text in top
    assert "50 % interval [3.034" in top.replace("\N{NO-BREAK SPACE}", " ")


def test_the_card_tells_reach_laws_and_further_runs(words: str) -> None:
    top = words[: words.index(QUESTIONS[0].QUESTION)].replace("\N{NO-BREAK SPACE}", " ")
    for text in (
        "Horizon 1.6M tokens 100k to 800k tokens 2 × beyond",
        "loss horizon, believed 2.500 0.012 3 predictions, up to 4 × beyond 0.01",
        "power law in horizon 2.600 not known too few points to hide one not known",
        "another horizon small, 600k tokens, linear_zero, peak 4e-3, replicate 0 1.5·10¹¹ FLOP (30 min) 30 % 5 %",
        "the law's form 0.01, its parameters 0.008, one run's noise 0.004",
        "Written 2026-01-01T00:00:00+00:00",
    ):
        assert text in top


def test_differences_of_the_best_cells_are_those_of_the_table(whole: Tables, words: str) -> None:
    comparisons = whole["comparisons"]
    tables_found = best_tables(whole["runs"], comparisons, planted.REFERENCE)
    assert [table.horizon for table in tables_found] == ["5", "10", "20"]
    for table in tables_found:
        for row in table.rows:
            assert row.difference in words
            if row.verdict != "reference":
                query = f"schedule == '{row.schedule}' and tokens_per_parameter == {table.horizon}"
                pair = comparisons.query(query).iloc[0]
                shown = float(row.difference.split(" ± ")[0].replace("−", "-"))
                assert shown == pytest.approx(pair["difference"], abs=5.1e-5)
                assert row.verdict == pair["verdict"]


def test_diverged_cells_are_listed(whole: Tables, words: str) -> None:
    (line, *others) = lost_cells(whole["runs"])
    assert {cell.schedule for cell in (line, *others)} == {"constant"}
    assert line.replicates == "0, 1"
    assert line.peak_lr == "1.6e-2"
    assert "the training loss is not finite" in words


def test_text_from_outside_is_escaped(page: str) -> None:
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;angle brackets&gt; &amp; an ampersand" in page


def test_provenance_is_complete(words: str) -> None:
    for text in ("c0ffee", "PSF-2.0", "SHA-256 " + "ab" * 32, "engine version", "digest"):
        assert text in words


def test_it_renders_in_a_browser(results: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium on this machine: the page is checked as text only")
    picture = tmp_path / "report.png"
    switches = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --hide-scrollbars --window-size=900,1200"
    )
    subprocess.run(
        [
            browser,
            *switches.split(),
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={picture}",
            (results / "report.html").as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert picture.stat().st_size > 20_000, "an empty page compresses to almost nothing"
