# What the rules of laws ask for, of a study or of imported runs.
from glidepath.study.law_list import LAW_TABLES


def law_tables(wildcards):
    return [LAYOUT.table(name) for name in LAW_TABLES[wildcards.law]]


def law_code(wildcards):
    """Changing one law fits that law again."""
    return digest([code("fit"), source_digest(f"glidepath.laws.{wildcards.law}")])
