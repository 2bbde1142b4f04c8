"""Facts about a model type without importing transformers, which takes seconds.

A configuration class and the defaults of its fields are read from its source file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

#: The class attributes that name the configurations within a configuration, in transformers' versions.
_PARTS_ATTRIBUTES = ("sub_configs", "sub_configs_defaults")
#: The base of all configuration classes, and its source file.
_BASE_CLASS, _BASE_FILE = "PreTrainedConfig", "configuration_utils.py"


class DeclaredFields(NamedTuple):
    """What a configuration class declares.

    defaults: of its own fields; `...` where the source shows none or none that is a literal.  aliases: other names of
    its fields.  parts: the fields that hold configurations.
    """

    class_name: str
    defaults: Mapping[str, Any]
    aliases: Mapping[str, str]
    parts: frozenset[str]

    def has(self, name: str) -> bool:
        """Whether a configuration has a field of this name."""
        own = name in self.defaults or name in self.aliases or name in self.parts
        return own or name in _base_fields()

    @property
    def names(self) -> frozenset[str]:
        """The names of all fields."""
        return frozenset((*self.defaults, *_base_fields(), *self.aliases, *self.parts))


def declared_fields(model_type: str) -> DeclaredFields | None:
    """The fields of the configuration class of a model type.

    None where the source file isn't found, has no class of this type, or one that inherits from another model's.
    """
    source = _read_source(model_type)
    if source is None:
        return None
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    values = {node.name: dict(_assignments(node)) for node in classes}
    found = next((node for node in classes if values[node.name].get("model_type") == model_type), None)
    if found is None or any(not isinstance(base, ast.Name) or base.id != _BASE_CLASS for base in found.bases):
        return None
    parts = {key for name in _PARTS_ATTRIBUTES for key in _keys(found, name)}
    aliases = values[found.name].get("attribute_map")
    fields = dict(_fields(found))
    known = {str(alias): str(name) for alias, name in aliases.items()} if isinstance(aliases, dict) else {}
    return DeclaredFields(found.name, fields, known, frozenset(parts))


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


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    """The annotated fields of a class, and what it sets on itself."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
            yield inner.target.id, _literal(inner.value)
        elif isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store) and _is_self(inner.value):
            yield inner.attr, ...
        elif isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            yield from ((argument.arg, ...) for argument in inner.args.args[1:])


@cache
def _base_fields() -> frozenset[str]:
    """The fields of every configuration. Its source file is long: parsing it takes as long as a small model's layer."""
    spec = find_spec("transformers")
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / _BASE_FILE
    if path is None or not path.is_file():
        return frozenset()
    classes = (node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ClassDef))
    return frozenset(name for node in classes if node.name == _BASE_CLASS for name, _ in _fields(node))


def _assignments(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    """The class attributes without an annotation."""
    for inner in node.body:
        if isinstance(inner, ast.Assign) and isinstance(inner.targets[0], ast.Name):
            yield inner.targets[0].id, _literal(inner.value)


def _keys(node: ast.ClassDef, attribute: str) -> Iterator[str]:
    """The keys of a class attribute that is a dictionary of classes."""
    for inner in node.body:
        targets = inner.targets if isinstance(inner, ast.Assign) else []
        value = inner.value if isinstance(inner, ast.Assign) else None
        if isinstance(value, ast.Dict) and any(isinstance(it, ast.Name) and it.id == attribute for it in targets):
            yield from (key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str))


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _literal(node: ast.expr | None) -> Any:
    """The value of a literal; `...` for anything else."""
    try:
        return ... if node is None else ast.literal_eval(node)
    except (ValueError, TypeError):
        return ...


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
