"""What a configuration class of transformers declares, read from its source: importing it takes seconds."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path


def declares_value(model_type: str, fields: Iterable[str]) -> bool | None:
    """Whether the class of a model type gives one of these fields a value of its own, which files may leave out.

    None where its source isn't found.
    """
    source = _source(model_type)
    if source is None:
        return None
    wanted = set(fields)
    return any(
        isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id in wanted
        and node.value is not None
        and not (isinstance(node.value, ast.Constant) and not node.value.value)
        for node in ast.walk(ast.parse(source))
    )


def _source(model_type: str) -> str | None:
    spec = find_spec("transformers")
    name = model_type.replace("-", "_")
    if spec is None or spec.origin is None or not name.isidentifier():
        return None
    path = Path(spec.origin).parent / "models" / name / f"configuration_{name}.py"
    return path.read_text("utf-8") if path.is_file() else None


#: How classes are called that write text, and so cache.
_WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForSeq2SeqLM")
#: Words in the model types of those that don't, where no class is named, as in GGUF.
_READERS = ("bert", "encoder", "clip", "vit")


def declares_writing(fields: Mapping[str, object]) -> bool:
    """Whether a configuration is that of a model that writes: by the class that it names, else by its model type."""
    architectures = fields.get("architectures")
    if isinstance(architectures, list) and architectures:
        return str(architectures[0]).endswith(_WRITERS)
    kind = str(fields.get("model_type") or "")
    return bool(kind) and not any(word in kind for word in _READERS)
