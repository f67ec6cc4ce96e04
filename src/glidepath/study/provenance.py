"""What ran: versions, and digests of sources that ignore comments and docstrings."""

from __future__ import annotations

import ast
import hashlib
import platform
import socket
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import glidepath

PACKAGE = Path(glidepath.__file__).parent


def source_digest(module: str, package: Path = PACKAGE) -> str:
    """Digest of a module of a package and of all modules of it that it imports, anywhere in its text.

    Comments, docstrings and layout do not count, so that editing them runs nothing again; templates and style
    sheets of an imported package count as they are. Raises ValueError for a module that does not exist.
    """
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        path = _path(name, package)
        if path is None:
            raise ValueError(f"{name} is no module of {package.name}")
        seen[name], imported = _read(path, package)
        waiting.extend(imported)
    return hashlib.sha256("".join(f"{name}{seen[name]}" for name in sorted(seen)).encode()).hexdigest()[:12]


def _path(name: str, package: Path) -> Path | None:
    relative = package.joinpath(*name.split(".")[1:])
    for path in (relative.with_suffix(".py"), relative / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _read(path: Path, package: Path) -> tuple[str, tuple[str, ...]]:
    """Digest of one file's meaning, and the modules of the package that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == package.name:
            imported.add(node.module)
            imported.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names if alias.name.split(".")[0] == package.name)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [n for n in node.body if not _is_bare_string(n)] or [ast.Pass()]
    digest = hashlib.sha256(ast.dump(tree).encode())
    if path.name == "__init__.py":
        for extra in sorted(p for p in path.parent.iterdir() if p.suffix in (".j2", ".css")):
            digest.update(extra.read_bytes())
    parents = {name.rsplit(".", 1)[0] for name in imported if name.count(".") > 1}
    modules = tuple(
        sorted(name for name in imported | parents if _path(name, package) is not None and name != package.name)
    )
    return digest.hexdigest(), modules


def _is_bare_string(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def versions() -> dict[str, str]:
    """Versions that a result should carry; torch's only where it is installed."""
    installed = {name: version(name) for name in ("numpy", "tokenizers", "pyarrow")}
    with suppress(PackageNotFoundError):
        installed["torch"] = version("torch")
    return {"python": platform.python_version(), "glidepath": glidepath.__version__, **installed}


def host() -> str:
    """Name of this machine, for the cache of its measured speed."""
    return socket.gethostname()
