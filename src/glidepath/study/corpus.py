"""The `corpus:` section of a study, and the content address of the text it names.

Both are needed while a Snakefile is parsed, so nothing here reads a corpus: files are known by name, size and
a few sampled blocks, the running environment by its versions. The text itself is read by `glidepath.corpus`.
"""

from __future__ import annotations

import glob
import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from glidepath.study.identity import digest
from glidepath.study.section import Count, Name, Number, Section, Text

CORPUS_VERSION = 1
"""Raised by hand when the same configuration and the same text would give other tokens."""

RUNTIME_PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "torch",
    "pyarrow",
    "matplotlib",
    "pydantic",
    "jinja2",
    "snakemake",
)
"""The packages that make up the environment corpora. A fixed list, so that installing an extra changes no
corpus.
"""

FILE_ENDINGS = (".txt", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")

BYTE_VOCABULARY = 257
"""The 256 bytes and the end-of-document token: the smallest byte-level BPE."""

VocabSize = Annotated[Count, Field(le=2**32)]
"""Tokens are stored in at most 32 bits."""

FINGERPRINT_BLOCKS = 8
FINGERPRINT_BLOCK_BYTES = 65_536


class PythonEnvironment(Section):
    """Python source of the standard library and of the packages that Glidepath runs on, as installed here;
    offline, on every machine.
    """

    kind: Literal["python_environment"]


class CHeaders(Section):
    """C, C++ and CUDA headers that the packages that Glidepath runs on install; offline."""

    kind: Literal["c_headers"]


class Files(Section):
    """The user's own files, by glob, relative to the working directory."""

    kind: Literal["files"]
    paths: tuple[str, ...]
    """Globs (`**` descends) of .txt, .jsonl, .jsonl.gz, .jsonl.zst and .parquet files."""
    validation_paths: tuple[str, ...] = ()
    """Globs of a validation set of the user's own; empty: documents of `paths` are held out by
    `validation_fraction`.
    """
    text_column: Text = "text"
    """Key of a .jsonl object, or column of a .parquet file, that holds the text of one document."""
    document_separator: str | None = None
    """Text that stands between two documents of a .txt file; null: a file is one document."""

    @field_validator("paths")
    @classmethod
    def _paths_are_given(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        if not paths:
            raise ValueError(
                "paths is empty: a files source needs at least one glob. Add one, for example paths: ['data/*.txt']"
            )
        return paths

    @field_validator("document_separator")
    @classmethod
    def _separator_has_a_character(cls, separator: str | None) -> str | None:
        if separator == "":
            raise ValueError(
                "document_separator is the empty string: it must have at least one character; write null if "
                "every .txt "
                'file is one document, or the separator in double quotes, for example "\\n\\n\\n"'
            )
        return separator


class HuggingFace(Section):
    """A dataset of the Hugging Face Hub, streamed, or a local dataset directory; needs the extra `hf`."""

    kind: Literal["huggingface"]
    name: Text
    """A directory, relative to the working directory, or else a name on the Hub."""
    config: Text | None = None
    """Configuration of the dataset; null: its only one."""
    split: Text = "train"
    """Split that documents are taken from."""
    validation_split: Text | None = None
    """Split that is the validation set; null: documents of `split` are held out by `validation_fraction`."""
    text_column: Text = "text"
    """Column that holds the text of one document."""
    revision: Text | None = None
    """Commit of a Hub dataset. Without it a change on the Hub goes unnoticed: the corpus keeps its identity.
    """


Source = Annotated[PythonEnvironment | CHeaders | Files | HuggingFace, Field(discriminator="kind")]


class Domain(Section):
    """One kind of text, with a validation loss of its own."""

    name: Name
    """Name in tables and figures; every domain has its own."""
    use: Literal["training", "validation"] = "training"
    """training: documents are trained on and some are held out; validation: all documents are held out."""
    source: Source
    """Where its documents come from."""
    max_bytes: Count | None = None
    """Bound on the text that is used [bytes]: documents in the order of their hash (of the stream, for
    huggingface).
    """
    validation_fraction: Number | None = None
    """Share of the documents held out, chosen by the hash of their content: more than 0 and at most 0.5.
    Required of a training domain whose source names no validation set, refused elsewhere.
    """
    validation_tokens: Count = 131_072
    """Exactly so many tokens are evaluated; at least two sequences."""

    @property
    def has_own_validation_set(self) -> bool:
        """Whether the source itself names the validation documents of this training domain."""
        if isinstance(self.source, Files):
            return bool(self.source.validation_paths)
        return isinstance(self.source, HuggingFace) and self.source.validation_split is not None

    @model_validator(mode="after")
    def _held_out_in_one_way(self) -> Domain:
        fraction = self.validation_fraction
        if self.use == "validation":
            if fraction is not None:
                raise ValueError(
                    f"domain '{self.name}': validation_fraction {fraction} has no meaning with use: "
                    "validation, where every document is held out; remove the key"
                )
            if self.has_own_validation_set:
                raise ValueError(
                    f"domain '{self.name}': with use: validation every document is held out, so the source "
                    "cannot name a validation set besides; move its validation_paths to paths, or its "
                    "validation_split to split"
                )
        elif self.has_own_validation_set:
            if fraction is not None:
                raise ValueError(
                    f"domain '{self.name}': validation_fraction {fraction} and a validation set of the "
                    "source are both given; the validation documents are chosen in one way only: remove one "
                    "of the two"
                )
        elif fraction is None or not 0.0 < fraction <= 0.5:
            raise ValueError(
                f"domain '{self.name}': validation_fraction is {fraction}; a training domain holds out more "
                "than 0 and at most 0.5 of its documents. Give for example 0.05, or name a validation set "
                "(validation_paths of files, validation_split of huggingface)"
            )
        return self


class TrainBPE(Section):
    """A byte-level BPE, trained on training documents."""

    kind: Literal["train_bpe"]
    vocab_size: VocabSize
    """Tokens, the 256 bytes and the end-of-document token included: at least 257."""
    train_bytes: Count = 10_000_000
    """Text it is trained on [bytes], a fair sample of the training documents."""

    @field_validator("vocab_size")
    @classmethod
    def _holds_every_byte(cls, vocab_size: int) -> int:
        if vocab_size < BYTE_VOCABULARY:
            raise ValueError(
                f"vocab_size {vocab_size} cannot hold the 256 bytes and the end-of-document token; give at "
                f"least {BYTE_VOCABULARY}"
            )
        return vocab_size


class TokenizerFile(Section):
    """An existing `tokenizer.json` of the library `tokenizers`."""

    kind: Literal["file"]
    path: Text
    """Relative to the working directory."""
    end_of_document: Text | None = None
    """Token that ends a document; null: the one of the usual names that the vocabulary has."""


class TokenizerHub(Section):
    """The `tokenizer.json` of a Hugging Face Hub repository."""

    kind: Literal["hub"]
    id: Text
    """Repository, as owner/name."""
    vocab_size: VocabSize
    """Largest token id plus one; declared, since the model's shape is needed before anything is downloaded.
    """
    revision: Text | None = None
    """Commit of the repository; null: its newest."""
    end_of_document: Text | None = None
    """Token that ends a document; null: the one of the usual names that the vocabulary has."""


TokenizerChoice = Annotated[TrainBPE | TokenizerFile | TokenizerHub, Field(discriminator="kind")]


class Texts(Section):
    """Kinds of text, and how they are cut into tokens."""

    domains: tuple[Domain, ...]
    """Kinds of text. The validation loss of the first one selects."""
    tokenizer: TokenizerChoice
    """How text is cut into tokens."""

    @field_validator("domains")
    @classmethod
    def _domains_have_names(cls, domains: tuple[Domain, ...]) -> tuple[Domain, ...]:
        names = [domain.name for domain in domains]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"domain names {twice} occur more than once; every domain needs a name of its own: rename one"
            )
        return domains


class CorpusConfig(Texts):
    """What is trained and evaluated on, and how it is cut into tokens."""

    domains: tuple[Domain, ...]
    """Kinds of text, at least one of them for training. The validation loss of the first one selects."""

    @field_validator("domains")
    @classmethod
    def _domains_are_a_corpus(cls, domains: tuple[Domain, ...]) -> tuple[Domain, ...]:
        if not any(domain.use == "training" for domain in domains):
            raise ValueError(
                f"no domain among {[domain.name for domain in domains]} has use: training; there would be nothing to "
                "train on: give at least one"
            )
        return domains


class ValidationCorpus(Texts):
    """Text that models are evaluated on that were trained elsewhere, cut into tokens as theirs was."""

    domains: tuple[Domain, ...]
    """Kinds of text, all with `use: validation`. The first one selects. Evaluated are blocks of equal length, cut from
    documents that follow each other with the end-of-document token between them; no other token is added."""
    tokenizer: Annotated[TokenizerFile | TokenizerHub, Field(discriminator="kind")]
    """The tokenizer that the models were trained with."""

    @field_validator("domains")
    @classmethod
    def _domains_are_held_out(cls, domains: tuple[Domain, ...]) -> tuple[Domain, ...]:
        training = [domain.name for domain in domains if domain.use == "training"]
        if training or not domains:
            raise ValueError(
                f"domains {training} have use: training, but nothing is trained here: evaluated is at least one "
                "domain, and each has use: validation. Write it so"
            )
        return domains


def corpus_id(corpus: Texts, base: Path) -> str:
    """Content address of the tokens that `corpus` asks for; `base` is the directory relative paths start
    from.

    Files are known by name, size and sampled content, so a touched file keeps the address. An edit that keeps
    the size of a file above half a megabyte and falls between the sampled blocks goes unnoticed.

    Raises ValueError for a glob that matches nothing, an ending that cannot be read, a missing directory or
    tokenizer, or a runtime package that is not installed.
    """
    return digest(
        {
            "corpus_version": CORPUS_VERSION,
            "corpus": corpus.model_dump(mode="json"),
            "sources": [_source_identity(domain, base) for domain in corpus.domains],
            "tokenizer": _tokenizer_identity(corpus.tokenizer, base),
        }
    )


def vocab_size_of(corpus: Texts, base: Path) -> int:
    """Rows that the model's embedding needs: the largest token id plus one.

    Raises ValueError if the tokenizer file is missing or is not one.
    """
    tokenizer = corpus.tokenizer
    if not isinstance(tokenizer, TokenizerFile):
        return tokenizer.vocab_size
    content = _tokenizer_bytes(tokenizer, base)
    try:
        written = json.loads(content)
        vocabulary = written["model"]["vocab"]
        # BPE, WordPiece and WordLevel write a mapping to ids; Unigram writes a list whose places are the ids.
        ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
        added = (token["id"] for token in written.get("added_tokens", ()))
        return 1 + max(int(token_id) for token_id in itertools.chain(ids, added))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"corpus.tokenizer.path '{tokenizer.path}' is not a tokenizer.json ({type(error).__name__}: "
            f"{error}); it must be a file written by the library `tokenizers`: correct the path, "
            "or write the file again with Tokenizer.save(path)"
        ) from error


@dataclass(frozen=True)
class MatchedFile:
    """A file of a `files` source."""

    name: str
    """Path relative to `base`, or, for a glob that leaves it, to the parent of the glob's fixed directory."""
    location: Path
    declared_validation: bool


def matched_files(domain: Domain, source: Files, base: Path) -> list[MatchedFile]:
    """The files that the globs of `source` match, by name; those of `validation_paths` after those of
    `paths`.

    Raises ValueError for a glob that matches no file, a file whose ending cannot be read, a file that is
    matched for training and for validation, or a document separator without a .txt file.
    """
    training = _expand(domain, "paths", source.paths, base)
    validation = _expand(domain, "validation_paths", source.validation_paths, base)
    both = sorted(training.keys() & validation.keys())
    if both:
        raise ValueError(
            f"corpus domain '{domain.name}': file '{training[both[0]]}' is matched by source.paths and by "
            "source.validation_paths; a validation document must not be in training: narrow one of the globs"
        )
    names = [*training.values(), *validation.values()]
    if source.document_separator is not None and not any(name.endswith(".txt") for name in names):
        raise ValueError(
            f"corpus domain '{domain.name}': source.document_separator {source.document_separator!r} is "
            "given but no .txt file is matched; a separator divides .txt files only: remove the key"
        )
    return [
        MatchedFile(name, location, declared)
        for files, declared in ((training, False), (validation, True))
        for location, name in sorted(files.items(), key=lambda item: item[1])
    ]


def dataset_directory(domain: Domain, source: HuggingFace, base: Path) -> Path | None:
    """The local directory that `source.name` names, or None if it is a name on the Hub.

    Raises ValueError for a name that can only be a directory and is none, and for a revision of a directory.
    """
    directory = base / source.name
    if directory.is_dir():
        if source.revision is not None:
            raise ValueError(
                f"corpus domain '{domain.name}': source.revision '{source.revision}' is given but "
                f"source.name '{source.name}' is a directory, which has no revisions: remove the key"
            )
        return directory
    if source.name.startswith((".", "/", "~")) or source.name.count("/") > 1:
        raise ValueError(
            f"corpus domain '{domain.name}': source.name '{source.name}' is not a directory; a huggingface "
            "source is a dataset directory, relative to the working directory, or a Hub name such as "
            "'owner/dataset': correct the name"
        )
    return None


def runtime_version(package: str) -> str:
    """Installed version of a runtime package without its local part (`2.13.0+cpu` is 2.13.0).

    Raises ValueError if it is not installed.
    """
    try:
        return importlib.metadata.version(package).split("+")[0]
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(
            f"the package '{package}' is not installed, but a corpus of kind python_environment or c_headers "
            f"is made of the files of {', '.join(RUNTIME_PACKAGES)}: install glidepath with its "
            "dependencies, or use a files source"
        ) from error


def _source_identity(domain: Domain, base: Path) -> Any:
    source = domain.source
    match source:
        case Files():
            return [
                [file.name, file.declared_validation, fingerprint(file.location)]
                for file in matched_files(domain, source, base)
            ]
        case HuggingFace():
            directory = dataset_directory(domain, source, base)
            if directory is None:
                return "hub"
            files = sorted(path for path in directory.rglob("*") if path.is_file() and not path.name.startswith("."))
            return [[path.relative_to(directory).as_posix(), fingerprint(path)] for path in files]
        case _:
            return [platform.python_version(), *(runtime_version(package) for package in RUNTIME_PACKAGES)]


def _tokenizer_identity(tokenizer: TokenizerChoice, base: Path) -> str | None:
    if isinstance(tokenizer, TokenizerFile):
        return hashlib.sha256(_tokenizer_bytes(tokenizer, base)).hexdigest()
    return None


def _tokenizer_bytes(tokenizer: TokenizerFile, base: Path) -> bytes:
    path = base / tokenizer.path
    if not path.is_file():
        raise ValueError(
            f"corpus.tokenizer.path '{tokenizer.path}' is not a file; it must name a tokenizer.json, "
            "relative to the working directory: correct the path, or train a tokenizer with kind: "
            "train_bpe"
        )
    return path.read_bytes()


def _expand(domain: Domain, key: str, patterns: tuple[str, ...], base: Path) -> dict[Path, str]:
    """Location and name of every file that one of the patterns matches."""
    found: dict[Path, str] = {}
    for pattern in patterns:
        literal = base / pattern
        # Path.glob would refuse an absolute pattern.
        found_names = glob.glob(pattern, root_dir=base, recursive=True)  # noqa: PTH207
        matches = [literal] if literal.is_file() else [base / name for name in found_names]
        files = [path for path in matches if path.is_file()]
        if not files:
            raise ValueError(
                f"corpus domain '{domain.name}': source.{key} '{pattern}' matches no file; globs are "
                "relative to the working directory: correct the path, or remove it"
            )
        root = _root(pattern, base)
        for path in files:
            if not path.name.endswith(FILE_ENDINGS):
                raise ValueError(
                    f"corpus domain '{domain.name}': source.{key} '{pattern}' matches '{path.name}', whose "
                    f"ending cannot be read; the endings are {', '.join(FILE_ENDINGS)}: narrow the glob or "
                    "convert the file"
                )
            absolute = Path(os.path.normpath(path.absolute()))
            found[absolute] = absolute.relative_to(root).as_posix()
    return found


def _root(pattern: str, base: Path) -> Path:
    """The directory that names start from: `base`, or the parent of the fixed directory of a pattern that
    leaves it.
    """
    inside = Path(os.path.normpath(base.absolute()))
    parts = Path(pattern).parts
    fixed_parts = itertools.takewhile(lambda part: not glob.has_magic(part), parts[:-1])
    fixed = Path(os.path.normpath(inside.joinpath(*fixed_parts)))
    return inside if fixed.is_relative_to(inside) else fixed.parent


def fingerprint(path: Path) -> list[int | str]:
    """Size [bytes] and SHA-256 of evenly spaced blocks, the first and the last among them; of all of a small
    file.
    """
    size = path.stat().st_size
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        if size <= FINGERPRINT_BLOCKS * FINGERPRINT_BLOCK_BYTES:
            sha256.update(file.read())
        else:
            for block in range(FINGERPRINT_BLOCKS):
                file.seek(block * (size - FINGERPRINT_BLOCK_BYTES) // (FINGERPRINT_BLOCKS - 1))
                sha256.update(file.read(FINGERPRINT_BLOCK_BYTES))
    return [size, sha256.hexdigest()]
