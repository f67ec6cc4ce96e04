"""Every command of the README is run: in a copy of the project, with the smoke study in the place of the default."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import REPOSITORY, Workplace

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
ONLY_PLANNED = ("h200.yaml", "profiles/slurm")
"""Commands that need another machine are planned to the last job, but not run."""
SMALL = {
    "grid": [
        {
            "models": ["d16"],
            "schedules": ["constant", "linear_0"],
            "peak_lrs": [0.01, 0.02],
            "tokens_per_parameter": [10],
            "batch_sequences": [4],
        }
    ],
    **dict.fromkeys(("averaging", "spikes", "noise_scale", "temporal")),
    # All laws that a study has by default.
    "analysis": {"reference_schedule": "constant", "bootstrap_samples": 100},
}
"""What the study on one's own text changes in the smoke study, besides what the README shows."""


def commands() -> list[str]:
    """Lines of the README's bash blocks, without comments."""
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    return [line for block in blocks for raw in block.splitlines() if (line := raw.split("  #")[0].strip())]


@pytest.fixture(scope="module")
def project(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with the smoke study as the default one, this environment as .venv, and the README's own study."""
    root = finished.copy(tmp_path_factory.mktemp("readme") / "project").root
    smoke = yaml.safe_load((root / "config/smoke.yaml").read_text())
    (root / "config/quick.yaml").write_text(yaml.safe_dump(smoke | {"study": "quick"}, sort_keys=False))
    mine = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert mine
    (root / "config/mine.yaml").write_text(yaml.safe_dump(smoke | SMALL | yaml.safe_load(mine[1]), sort_keys=False))
    # Real text, enough for the README's vocabulary and validation tokens: modules of the standard library.
    (root / "data/shelf").mkdir(parents=True)
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        shutil.copyfile(path, root / f"data/shelf/{path.stem}.txt")
    # It is read when it is tokenised, which a dry run does not come to.
    (root / "data/pile").mkdir()
    (root / "data/pile/val.jsonl.zst").touch()
    # This environment, as one that `make` finds installed: it must not be touched from here.
    (root / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != "installed":
            (root / ".venv" / entry.name).symlink_to(entry)
    (root / ".venv/installed").touch()
    return root


def test_the_commands_of_the_readme_run_in_order(project: Path) -> None:
    """As a newcomer types them: later ones use what earlier ones have made."""
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(project / ".cache"),
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(project / "src"),
    }
    for command in commands():
        collecting = {"PYTEST_ADDOPTS": "--collect-only --quiet"} if command == "make test" else {}
        done = subprocess.run(
            ["bash", "-euc", f"{command} --dry-run" if any(name in command for name in ONLY_PLANNED) else command],
            cwd=project,
            env=environment | collecting,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    for study in ("quick", "mine", "import_example"):
        assert (project / f"results/{study}/report.html").is_file()


def test_there_are_commands_for_each_promise() -> None:
    """What the README is for: the two commands, own text, a GPU box, Slurm, a partial result."""
    text = "\n".join(commands())
    promised = (
        "make study",
        "make test",
        "--configfile config/mine.yaml",
        "config/h200.yaml",
        "profiles/slurm",
        "average",
    )
    assert [promise for promise in promised if promise not in text] == []


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert [target for target in targets if not target.startswith("http") and not (REPOSITORY / target).exists()] == []
