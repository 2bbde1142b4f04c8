"""What a checkpoint stores -> the weights that it stands for: packed tensors unfolded, their scales folded in.

A quantised matrix is stored as several tensors (packed integers, scales, zero points, tables). One line of `SCHEMES`
says for each way of packing which those are, and how the shape of the weights follows from theirs. What belongs
together is told by names and types; shapes decide between layouts, and the configuration only where shapes can't.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from math import prod
from typing import Any, NamedTuple, Protocol

Shape = tuple[int, ...]


class Stored(Protocol):
    """A tensor as a file holds it: the name that a module would have, its type, its stored shape and its bytes."""

    @property
    def path(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> Shape: ...
    @property
    def stored_bytes(self) -> int: ...


class Weights(NamedTuple):
    """A tensor of weights, however it is stored.

    name: as a module would call it.  shape: of the weights.  stored_bytes: scales and all that belongs to it included.
    dtype: of what is stored.  companions: names of the tensors that belong to it.
    """

    name: str
    shape: Shape
    dtype: str
    stored_bytes: int
    companions: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        return prod(self.shape)

    @property
    def bits(self) -> float:
        """Stored bits a weight, scales included."""
        return 8 * self.stored_bytes / self.parameters if self.parameters else 0.0


class Unpacked(NamedTuple):
    """schemes: how many tensors are packed in which way.

    doubtful: names of packed tensors whose shape what is stored doesn't tell.
    unknown: the way of packing that the configuration names, where no tensor is packed in a way known here.
    """

    weights: tuple[Weights, ...]
    schemes: Mapping[str, int]
    doubtful: tuple[str, ...] = ()
    unknown: str | None = None

    @property
    def shapes(self) -> dict[str, Shape]:
        return {weights.name: weights.shape for weights in self.weights}

    @property
    def stored_bytes(self) -> int:
        return sum(weights.stored_bytes for weights in self.weights)


class Group(NamedTuple):
    """The tensors of one packed matrix by their endings, and what the configuration says of packing."""

    parts: Mapping[str, Stored]
    settings: Mapping[str, Any]

    def shape(self, ending: str) -> Shape:
        return self.parts[ending].shape

    def number(self, *names: str) -> int | None:
        return next((self.settings[name] for name in names if type(self.settings.get(name)) is int), None)


class Scheme(NamedTuple):
    """A way of packing.

    main: the ending of the tensor with the packed weights, and dtypes: its possible types.
    needs: endings that must stand beside it.  takes: endings that may, a `*` at the end for any continuation.
    named: what takes the place of `main` in the name of the weights.
    shape: the shape of the weights; None where what is stored doesn't tell.
    """

    name: str
    main: str
    dtypes: frozenset[str]
    needs: tuple[str, ...]
    takes: tuple[str, ...]
    named: str
    shape: Callable[[Group], Shape | None]


def unpack(
    tensors: Iterable[Stored], config: Mapping[str, Any] | None = None, known: Mapping[str, Shape] | None = None
) -> Unpacked:
    """The weights that stored tensors stand for, in their order.

    config: the model's configuration, for what shapes don't tell (the bits of compressed-tensors, MLX's group size).
    known: shapes by name, such as a module's, for what is stored flat (bitsandbytes' four bits).
    """
    stored = {tensor.path: tensor for tensor in tensors}
    settings = _settings(config or {})
    found, used = _packed(stored, settings)
    weights, doubtful = [], []
    for path, tensor in stored.items():
        if path in found:
            one, told = _shaped(found[path], known or {})
            weights.append(one)
            doubtful += [] if told else [one.name]
        elif path not in used:
            weights.append(Weights(path, tensor.shape, tensor.dtype, tensor.stored_bytes))
    unknown = None if found else settings.get("quant_method")
    return Unpacked(tuple(weights), Counter(one.scheme for one in found.values()), tuple(doubtful), unknown)


class _Found(NamedTuple):
    scheme: str
    weights: Weights
    told: bool


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says of quantisation, with the bits of a weight where all groups have the same."""
    for part in (config, config.get("text_config")):
        for name in ("quantization_config", "quantization", "compression_config"):
            found = part.get(name) if isinstance(part, Mapping) else None
            if isinstance(found, Mapping):
                bits = {weights.get("num_bits") for weights in _group_weights(found)}
                return {**found, "num_bits": bits.pop()} if len(bits) == 1 else dict(found)
    return {}


def _group_weights(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """compressed-tensors: how each group of tensors has its weights packed."""
    groups = settings.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            yield weights


def _packed(stored: Mapping[str, Stored], settings: Mapping[str, Any]) -> tuple[dict[str, _Found], set[str]]:
    """Packed matrices by the path of their main tensor, and the paths of everything that belongs to them."""
    ordered = sorted(stored)
    found: dict[str, _Found] = {}
    used: set[str] = set()
    for path, tensor in stored.items():
        for scheme in SCHEMES:
            if path in used or tensor.dtype not in scheme.dtypes or not _is_main(path, scheme.main):
                continue
            stem = path.removesuffix(scheme.main)
            companions = _companions(scheme, stem, ordered)
            if companions is not None and not any(other in used or other in found for other in companions):
                parts = {other.removeprefix(stem): stored[other] for other in (path, *companions)}
                found[path] = _weights(scheme, stem, Group(parts, settings), companions)
                used.update(companions)
                break
    return found, used


def _is_main(path: str, main: str) -> bool:
    """Whether a name ends so, at a dot where the ending is a name of its own."""
    return path.endswith(main) and (main.startswith("_") or path == main or path[-len(main) - 1] == ".")


def _companions(scheme: Scheme, stem: str, ordered: Sequence[str]) -> tuple[str, ...] | None:
    """The names of what belongs to a matrix; None where something that must be there isn't."""
    # Names that start alike stand together.
    places = range(bisect_left(ordered, stem), len(ordered))
    near = list(takewhile(lambda path: path.startswith(stem), (ordered[place] for place in places)))
    if not all(any(_fits(path, stem, need) for path in near) for need in scheme.needs):
        return None
    main = f"{stem}{scheme.main}"
    wanted = (*scheme.needs, *scheme.takes)
    return tuple(path for path in near if path != main and any(_fits(path, stem, want) for want in wanted))


def _fits(path: str, stem: str, pattern: str) -> bool:
    ending = path[len(stem) :]
    return ending.startswith(pattern[:-1]) if pattern.endswith("*") else ending == pattern


def _weights(scheme: Scheme, stem: str, group: Group, companions: tuple[str, ...]) -> _Found:
    main = group.parts[scheme.main]
    shape = _laid_out(scheme, group)
    stored_bytes = sum(part.stored_bytes for part in group.parts.values())
    # Where a layout tells nothing, the stored elements are all that is certain.
    weights = Weights(f"{stem}{scheme.named}", shape or main.shape, main.dtype, stored_bytes, companions)
    return _Found(scheme.name, weights, shape is not None and not _is_flat(shape))


def _laid_out(scheme: Scheme, group: Group) -> Shape | None:
    try:
        return scheme.shape(group)
    except (ValueError, IndexError, ArithmeticError):
        return None  # other axes than the layout has, or none of a size: something else by the same names


def _shaped(found: _Found, known: Mapping[str, Shape]) -> tuple[Weights, bool]:
    """With the known shape of that name, if it may be its own; and whether the shape is certain."""
    weights, told = found.weights, found.told
    shape = known.get(weights.name)
    if told or shape is None or (_is_flat(weights.shape) and prod(shape) != weights.parameters):
        return weights, told
    return weights._replace(shape=shape), True


def _is_flat(shape: Shape) -> bool:
    return len(shape) == 2 and shape[1] == 1 and shape[0] > 1


def _same(main: str) -> Callable[[Group], Shape]:
    """One element, one weight."""
    return lambda group: group.shape(main)


def _times(main: str, factor: int, axis: int = -1) -> Callable[[Group], Shape]:
    """Several weights an element, side by side along an axis."""

    def shape(group: Group) -> Shape:
        sizes = list(group.shape(main))
        sizes[axis] *= factor
        return tuple(sizes)

    return shape


def _words(group: Group) -> Shape | None:
    """GPTQ and AWQ: int32 words. The zero points are packed along the outputs, so beside the scales they tell the bits.

    GPTQ packs the weights along the inputs, (in·bits/32, out), and AWQ along the outputs, (in, out·bits/32).
    """
    (rows, columns), outputs = group.shape("qweight")[-2:], group.shape("scales")[-1]
    bits, uneven = divmod(32 * group.shape("qzeros")[-1], outputs) if outputs else (0, 1)
    if uneven or not bits:
        bits = group.number("bits", "w_bit") or 0
    if not bits:
        return None
    return (outputs, rows * 32 // bits) if columns == outputs else (32 * columns // bits, rows)


def _compressed_words(group: Group) -> Shape | None:
    """compressed-tensors: int32 words along the inputs; how many bits a weight has, only the configuration says."""
    *outer, words = group.shape("weight_packed")
    bits = group.number("num_bits")
    return None if bits is None else (*outer, words * 32 // bits)


def _grouped_words(group: Group) -> Shape | None:
    """MLX: uint32 words along the inputs, and a scale for each `group_size` of the inputs."""
    *outer, words = group.shape("weight")
    size, bits = group.number("group_size"), group.number("bits")
    if size is not None:
        return (*outer, group.shape("scales")[-1] * size)
    return None if bits is None else (*outer, words * 32 // bits)


def _blocks(group: Group) -> Shape | None:
    """MXFP4: blocks of 16 bytes with 32 weights, (experts, out, blocks, 16)."""
    sizes = group.shape("_blocks")
    return (*sizes[:-2], sizes[-2] * sizes[-1] * 2) if len(sizes) > 2 else None


def _bytes_of_several(group: Group) -> Shape:
    """Four bits a weight, where there is a scale for every 16 of a row; two bits along the outputs for BitNet."""
    if prod(group.shape("weight_scale")) <= 1 and group.settings.get("quant_method") == "bitnet":
        return _times("weight", 4, axis=0)(group)
    return _times("weight", 2)(group)


def _scheme(name: str, main: str, dtypes: str, needs: str, takes: str, named: str, shape: Any) -> Scheme:
    return Scheme(name, main, frozenset(dtypes.split()), tuple(needs.split()), tuple(takes.split()), named, shape)


_FLOATS_8 = "F8_E4M3 F8_E5M2 F8_E4M3FNUZ F8_E5M2FNUZ"
_SCALES = "weight_scale* weight_zero_point* weight_global_scale input_scale* input_zero_point input_global_scale"

#: Ways of packing, as the libraries that write them name their tensors; the first that fits.
SCHEMES: tuple[Scheme, ...] = (
    _scheme("GPTQ or AWQ", "qweight", "I32", "scales qzeros", "g_idx perm", "weight", _words),
    _scheme("compressed-tensors", "weight_packed", "I32", "weight_scale", f"weight_shape weight_g_idx {_SCALES}",
            "weight", _compressed_words),
    _scheme("NVFP4", "weight_packed", "U8", "weight_scale", _SCALES, "weight", _times("weight_packed", 2)),
    # transformers' own file of gpt-oss: (experts, out, blocks, 16) bytes, of two weights each.
    _scheme("MXFP4", "_blocks", "U8", "_scales", "", "", _blocks),
    # bitsandbytes stores four bits flat, (n/2, 1), and beside it tables that are named behind the weight.
    _scheme("bitsandbytes 4-bit", "weight", "U8", "weight.absmax", "weight.*", "weight", _times("weight", 2, axis=0)),
    _scheme("bitsandbytes 8-bit", "weight", "I8", "SCB", "weight_format", "weight", _same("weight")),
    _scheme("MLX", "weight", "U32", "scales", "biases", "weight", _grouped_words),
    _scheme("4-bit floats", "weight", "U8", "weight_scale", _SCALES, "weight", _bytes_of_several),
    _scheme("FP8", "weight", _FLOATS_8, "weight_scale*", _SCALES, "weight", _same("weight")),
    _scheme("FP8", "weight", _FLOATS_8, "scale", "input_scale", "weight", _same("weight")),
    _scheme("8-bit integers", "weight", "I8", "weight_scale*", _SCALES, "weight", _same("weight")),
    # Experts in one tensor: no dot between the matrix and its scale.
    _scheme("FP8", "_proj", _FLOATS_8, "_proj_scale*", "", "_proj", _same("_proj")),
)  # fmt: skip
