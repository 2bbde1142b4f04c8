"""Which versions of which libraries took part in a result."""

from __future__ import annotations

import sys

import attncli
from attncli.results.base import MadeBy


def made_by(*packages: str, model_class: str | None = None, revision: str | None = None) -> MadeBy:
    """Our version, and those of the named packages as far as they took part, that is, were imported."""
    imported = {package: sys.modules[package] for package in packages if package in sys.modules}
    versions = {package: str(module.__version__) for package, module in imported.items()}
    return MadeBy(attncli.__version__, **versions, model_class=model_class, revision=revision)
