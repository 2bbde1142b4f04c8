"""Facts about a model type without importing transformers, which takes seconds.

The defaults of a configuration class are read from its source file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path


def declares_value(model_type: str, fields: Iterable[str]) -> bool | None:
    """Whether the configuration class of a model type has a non-empty default for one of these fields.

    config.json may then omit the field. None if the source file isn't found.
    """
    source = _read_source(model_type)
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


def _read_source(model_type: str) -> str | None:
    spec = find_spec("transformers")
    name = model_type.replace("-", "_")
    if spec is None or spec.origin is None or not name.isidentifier():
        return None
    path = Path(spec.origin).parent / "models" / name / f"configuration_{name}.py"
    return path.read_text("utf-8") if path.is_file() else None


#: Endings of the names of classes that generate text, and so have a KV cache.
_GENERATING_CLASSES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForSeq2SeqLM")
#: Words in model types of encoders, for configurations that name no class, as in GGUF.
_ENCODER_TYPES = ("bert", "encoder", "clip", "vit")


def declares_generation(fields: Mapping[str, object]) -> bool:
    """Whether a configuration is of a model that generates text: by its `architectures`, or else by its model type."""
    architectures = fields.get("architectures")
    if isinstance(architectures, list) and architectures:
        return str(architectures[0]).endswith(_GENERATING_CLASSES)
    kind = str(fields.get("model_type") or "")
    return bool(kind) and not any(word in kind for word in _ENCODER_TYPES)
