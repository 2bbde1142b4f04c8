"""Which layers of a model see a window only, where its GGUF metadata or config.json doesn't list them one by one.

transformers' classes and llama.cpp's loader hold such patterns in code. Those of llama.cpp are `DEFAULT_PATTERNS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

#: The words of transformers' `layer_types`.
FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
#: The fields with the size of the window, by these words.
WINDOW_FIELDS = {SLIDING: "sliding_window", CHUNKED: "attention_chunk_size"}


class WindowPattern(NamedTuple):
    """A pattern of layers that repeats.

    period: one layer of so many is full, the last, or with `full_first` the first.  1: all are full.
    window: the size that holds whatever the metadata says; None for that of the metadata.  fallback: the size where the
    metadata gives none.  kind: what the other layers are.
    """

    period: int
    full_first: bool = False
    window: int | None = None
    fallback: int | None = None
    kind: str = SLIDING

    def layer_types(self, layers: int) -> list[str]:
        full = 0 if self.full_first else self.period - 1
        return [FULL if layer % self.period == full else self.kind for layer in range(layers)]


#: The pattern of each architecture that llama.cpp's loader sets itself where the file has none (`set_swa_pattern` in
#: src/models/*.cpp; `attention.sliding_window_pattern` in the file goes before it).
DEFAULT_PATTERNS: Mapping[str, WindowPattern] = {
    "afmoe": WindowPattern(4),
    "cohere2": WindowPattern(4),
    "cohere2moe": WindowPattern(4, full_first=True),
    "exaone-moe": WindowPattern(4),
    "exaone4": WindowPattern(4),
    "gemma-embedding": WindowPattern(6),
    "gemma2": WindowPattern(2, fallback=4096),
    "gemma3": WindowPattern(6),
    "gemma3n": WindowPattern(5),
    "gpt-oss": WindowPattern(2),
    "laguna": WindowPattern(4, full_first=True),
    # Chunks of 8,192 tokens, which the file doesn't mention; a window of 0 switches them off.
    "llama4": WindowPattern(4, window=8192, fallback=8192, kind=CHUNKED),
    "mellum": WindowPattern(4),
    "modern-bert": WindowPattern(3, full_first=True),
    "olmo2": WindowPattern(4),  # Olmo 3, which is converted under this name
    "phi3": WindowPattern(1),  # its window is switched off
    "plamo3": WindowPattern(8),
    "smallthinker": WindowPattern(4, full_first=True, window=4096),
}


def gguf_layer_types(
    architecture: object, layers: int, window: object, pattern: object
) -> tuple[dict[str, object], str | None]:
    """The fields `layer_types` and the window of a GGUF file, and a note where it doesn't say which layers have one.

    window, pattern: the values of `attention.sliding_window` and `attention.sliding_window_pattern`; None where there
    is none. A layer that isn't known to have a window counts as full, so that its cache is never too small.
    """
    default = DEFAULT_PATTERNS.get(str(architecture))
    size = _window_size(window, default)
    if not size:
        return {}, None
    kind = SLIDING if default is None else default.kind
    fields = {WINDOW_FIELDS[kind]: size}
    if isinstance(pattern, list):
        listed = [kind if windowed else FULL for windowed in pattern[:layers]]
        return {**fields, "layer_types": listed + [FULL] * (layers - len(listed))}, None
    if type(pattern) is int:
        # A period of 0 is a window in every layer.
        repeated = (default or WindowPattern(1))._replace(period=pattern) if pattern > 0 else None
        return {**fields, "layer_types": repeated.layer_types(layers) if repeated else [kind] * layers}, None
    if default is not None:
        return {**fields, "layer_types": default.layer_types(layers)}, None
    note = f"it has an attention window of {size:,} tokens but doesn't say in which layers: all are counted as full"
    return {**fields, "layer_types": [FULL] * layers}, note


def _window_size(window: object, default: WindowPattern | None) -> int:
    if type(window) is not int:
        return (default.fallback if default is not None else None) or 0
    return (default.window if default is not None and window else None) or window


def with_layer_types(config: Mapping[str, object]) -> dict[str, object]:
    """A config.json with `layer_types` where it has the pattern of its windows only, its parts included.

    Older files leave the list to transformers' classes, which aren't there when only headers are read.
    """
    found = {
        name: with_layer_types(value) if isinstance(value, Mapping) and name.endswith("_config") else value
        for name, value in config.items()
    }
    layers = config.get("num_hidden_layers")
    if type(layers) is not int or config.get("layer_types") or not config.get("sliding_window"):
        return found
    types = _config_layer_types(config, layers)
    return found if types is None else {**found, "layer_types": types}


def _config_layer_types(config: Mapping[str, object], layers: int) -> Sequence[str] | None:
    """The kinds of layers by a repeating pattern, or by the number of first layers without a window (Qwen 2)."""
    period, first = config.get("sliding_window_pattern"), config.get("max_window_layers")
    if type(period) is int and period > 0:
        return WindowPattern(period).layer_types(layers)
    if type(first) is int and first >= 0 and config.get("use_sliding_window"):
        return [FULL if layer < first else SLIDING for layer in range(layers)]
    # Other names than llama.cpp's, and parts of a model: gpt_oss, gemma3_text.
    name = str(config.get("model_type")).removesuffix("_text").replace("_", "-")
    default = DEFAULT_PATTERNS.get(name)
    return None if default is None or default.period == 1 or default.kind != SLIDING else default.layer_types(layers)
