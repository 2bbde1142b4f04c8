"""`attn params` against what people count with today: a 70B configuration, the same again, and sharded checkpoints.

The hub is a server in this process, so that no network is in the figures.
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from math import prod
from pathlib import Path

from attncli.models.builtin.presets import read_preset
from tests.benchmarks.processes import Ratio, compare, seconds
from tests.benchmarks.startup import attn
from tests.hub_server import HubServer

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

#: Read the headers from a hub by ranges, as we do and as the hub's own library does.
HUB_HEADERS = """
from attncli.models.files.checkpoint import read_checkpoint
from attncli.models.files.model_files import open_files
from attncli.models.files.reference import parse_reference
print(len(read_checkpoint(open_files(parse_reference({name!r}))).tensors))
"""
HUB_LIBRARY = """
from huggingface_hub import HfApi
print(len(HfApi().get_safetensors_metadata({name!r}).weight_map))
"""

_SHARDS, _HUB_NAME = 30, "org/sharded"


def run(runs: int) -> Iterator[Ratio]:
    """Every figure in turn."""
    with tempfile.TemporaryDirectory() as above:
        folder = _configuration(Path(above) / "config")
        yield from _first_time(folder, max(runs // 4, 3))
        yield from _again(folder, Path(above) / "cache", max(runs // 4, 3))
        yield from _headers(_checkpoint(Path(above) / "shards"), runs)
        yield from _hub_headers(_checkpoint(Path(above) / "hub", narrow=True), max(runs // 2, 3))


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


def _hub_headers(folder: Path, runs: int) -> Iterator[Ratio]:
    """Nothing is cached from one run to the next."""
    ours, peer = ([sys.executable, "-c", each.format(name=_HUB_NAME)] for each in (HUB_HEADERS, HUB_LIBRARY))
    with HubServer() as hub:
        hub.add(_HUB_NAME, {path.name: path.read_bytes() for path in folder.iterdir()})

        def without_cache(command: Sequence[str]) -> float:
            with tempfile.TemporaryDirectory() as home:
                online = dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "ATTN_CACHE"), "")
                return seconds(command, variables={**online, "HF_HOME": home, "HF_ENDPOINT": hub.url})

        yield compare(
            f"headers of {_SHARDS} shards on a hub, read alone",
            ours,
            "huggingface_hub",
            peer,
            # Ours are checked against themselves and the size of the file too.
            aim=1.25,
            runs=runs,
            measure=without_cache,
        )


def _checkpoint(folder: Path, *, narrow: bool = False) -> Path:
    """The same model as its files would be, in shards whose weights take no room on the disk.

    narrow: with the same tensors, but small ones.
    """
    fields = dict(read_preset("llama3.1-70b").fields)
    if narrow:
        fields |= {"hidden_size": 64, "intermediate_size": 96, "vocab_size": 128, "num_key_value_heads": 1}
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
