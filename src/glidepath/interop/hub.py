"""Checkpoints of the Hugging Face Hub: downloaded as files, without running anything of theirs."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

CONFIGS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
SAFETENSORS = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
PICKLES = ("pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json")


def download(repository: str, revision: str, store: Path) -> tuple[Path, str]:
    """Fetch one revision to a directory of `store` that is named by repository and commit; returns it and the commit.

    Weights come as safetensors, or as `pytorch_model*.bin` if the revision has no safetensors. What is already there is
    not fetched again, and a broken download goes on where it was.

    Raises ValueError if the revision cannot be had.
    """
    from huggingface_hub import HfApi, snapshot_download

    try:
        found = HfApi().model_info(repository, revision=revision)
        # A folder can hold the weights of something else.
        at_root = [sibling.rfilename for sibling in found.siblings or () if "/" not in sibling.rfilename]
        commit = str(found.sha)
        weights = SAFETENSORS if any(fnmatchcase(name, one) for name in at_root for one in SAFETENSORS) else PICKLES
        folder = store / f"{repository.replace('/', '--')}@{commit}"
        snapshot_download(
            repository,
            revision=commit,
            local_dir=folder,
            allow_patterns=[*CONFIGS, *weights],
            ignore_patterns="*/*",
        )
    except Exception as error:  # of the hub client, of the network or of the disk, with no common type
        raise ValueError(
            f"repository {repository!r}, revision {revision!r}, cannot be had from the Hub ({type(error).__name__}: "
            f"{error}): both must exist and be open to you. Correct them, or download the checkpoints yourself and "
            "give them as source: {kind: directories, …}"
        ) from error
    return folder, commit
