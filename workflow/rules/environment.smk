# How a command is called, and what tells that its code has changed: the same for studies and for checkpoints.
import os
import sys
from pathlib import Path

SOURCE = str(Path(workflow.basedir) / "src")
sys.path.insert(0, SOURCE)

from glidepath.study.identity import canonical_json, digest
from glidepath.study.layout import LAW_TABLE_NAMES, Layout
from glidepath.study.provenance import source_digest

# Rules call `glidepath`, which is workflow/bin/glidepath.
os.environ.update(
    PATH=os.pathsep.join([str(Path(workflow.basedir) / "workflow/bin"), os.environ.get("PATH", "")]),
    GLIDEPATH_PYTHON=sys.executable,
    GLIDEPATH_JOURNAL="scratch/journal.jsonl",
)


def code(stage):
    """Digest of a stage's sources: editing them runs the stage again, editing their comments does not."""
    return source_digest(f"glidepath.stages.{stage}")
