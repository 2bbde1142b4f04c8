"""`attn params` against what people count with today: a 70B configuration, the same again, and a sharded checkpoint."""

from __future__ import annotations

import json
import struct
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from math import prod
from pathlib import Path

from attncli.models.builtin.presets import read_preset
from tests.benchmarks.processes import Ratio, compare, seconds
from tests.benchmarks.startup import attn

#: Builds the module without memory for weights, and counts.
ACCELERATE = """
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM
with init_empty_weights():
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained({folder!r}))
print(sum(parameter.numel() for parameter in model.parameters()))
"""
TORCHINFO = """
import torch, torchinfo
from transformers import AutoConfig, AutoModelForCausalLM
with torch.device("meta"):
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained({folder!r}))
print(torchinfo.summary(model, depth=3, verbose=0))
"""
#: Reads the same headers with the library alone.
HEADERS = """
from pathlib import Path
from math import prod
from safetensors import safe_open
total = 0
for path in sorted(Path({folder!r}).glob("*.safetensors")):
    with safe_open(path, "numpy") as file:
        total += sum(prod(file.get_slice(name).get_shape()) for name in file.keys())
print(total)
"""

_SHARDS = 30


def run(runs: int) -> Iterator[Ratio]:
    """Every figure in turn."""
    with tempfile.TemporaryDirectory() as above:
        folder = _configuration(Path(above) / "config")
        yield from _first_time(folder, max(runs // 4, 3))
        yield from _again(folder, Path(above) / "cache", max(runs // 4, 3))
        yield from _headers(_checkpoint(Path(above) / "shards"), runs)


def _configuration(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(read_preset("llama3.1-70b").fields)))
    return folder


def _first_time(folder: Path, runs: int) -> Iterator[Ratio]:
    """Nothing is kept from one run to the next."""
    ours, name = [attn(), "params", str(folder)], "attn params, a 70B config.json"
    for package, program, aim in (("accelerate", ACCELERATE, 1.0), ("torchinfo", TORCHINFO, 1.0)):
        if find_spec(package) is None:
            print(f"  {name}: {package} isn't installed, and left out (pip install -e '.[benchmarks]')")
            continue
        peer = [sys.executable, "-c", program.format(folder=str(folder))]
        fresh = partial(seconds, variables={"ATTN_CACHE": ""})
        yield compare(name, ours, f"{package}, empty model", peer, aim=aim, runs=runs, measure=fresh, warm_ups=1)


def _again(folder: Path, cache: Path, runs: int) -> Iterator[Ratio]:
    """The warm-up builds the module, the runs that count find its shapes."""
    ours, kept = [attn(), "params", str(folder)], partial(seconds, variables={"ATTN_CACHE": str(cache)})
    peer = [sys.executable, "-c", "import torch"]
    yield compare("the same configuration again", ours, "import torch", peer, aim=0.5, runs=runs, measure=kept)


def _headers(folder: Path, runs: int) -> Iterator[Ratio]:
    ours = [attn(), "params", str(folder), "--source", "header"]
    peer = [sys.executable, "-c", HEADERS.format(folder=str(folder))]
    yield compare(f"headers of {_SHARDS} shards", ours, "safe_open, counted only", peer, aim=2, runs=runs)


def _checkpoint(folder: Path) -> Path:
    """The same model as its files would be, in shards whose weights take no room on the disk."""
    fields = read_preset("llama3.1-70b").fields
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(fields)))
    shapes = list(_shapes(*(int(fields[name]) for name in ("num_hidden_layers", "hidden_size", "intermediate_size",
                                                           "num_key_value_heads", "vocab_size"))))  # fmt: skip
    places: dict[str, str] = {}
    for shard in range(_SHARDS):
        file = f"model-{shard + 1:05}-of-{_SHARDS:05}.safetensors"
        members = dict(shapes[shard::_SHARDS])
        _write(folder / file, members)
        places |= dict.fromkeys(members, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def _shapes(layers: int, width: int, inner: int, key_heads: int, vocabulary: int) -> Iterator[tuple[str, list[int]]]:
    keys = key_heads * 128
    for layer in range(layers):
        stem = f"model.layers.{layer}"
        for name, out in (("q", width), ("k", keys), ("v", keys), ("o", width)):
            yield f"{stem}.self_attn.{name}_proj.weight", [out, width]
        for name, shape in (("gate", [inner, width]), ("up", [inner, width]), ("down", [width, inner])):
            yield f"{stem}.mlp.{name}_proj.weight", shape
        for name in ("input", "post_attention"):
            yield f"{stem}.{name}_layernorm.weight", [width]
    yield from (("model.norm.weight", [width]), ("lm_head.weight", [vocabulary, width]))
    yield "model.embed_tokens.weight", [vocabulary, width]


def _write(path: Path, shapes: dict[str, list[int]]) -> None:
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    content = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(content)) + content)
        file.truncate(8 + len(content) + end)
