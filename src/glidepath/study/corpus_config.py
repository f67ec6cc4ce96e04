"""The `corpus:` section of a study: its domains, their sources and the tokenizer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from glidepath.study.section import Count, Name, Number, Section, Text

BYTE_VOCABULARY = 257
"""The 256 bytes and the end-of-document token: the smallest byte-level BPE."""

VocabSize = Annotated[Count, Field(le=2**32)]
"""Tokens are stored in at most 32 bits."""


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
