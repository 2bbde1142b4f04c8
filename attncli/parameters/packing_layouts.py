"""The layouts of packed weights: which tensors store a matrix, and how the shape of its weights follows from theirs.

Each line of LAYOUTS is a layout as libraries write it. Shapes decide; the configuration is read only where they can't,
and where both tell the same thing, they must agree.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import prod
from typing import NamedTuple, Protocol

Shape = tuple[int, ...]


class ModuleSettings(NamedTuple):
    """The settings for one module.

    method: the quantization method.  bits: of a weight.  group_size: how many weights of a row share a scale; None
    where a whole row does.  mode: MLX's name of the format.  expert_dtype: of the experts' weights, where it differs.
    """

    method: str | None = None
    bits: int | None = None
    group_size: int | None = None
    mode: str | None = None
    expert_dtype: str | None = None


class StoredTensor(Protocol):
    """A tensor of a file: its name in the module (`path`), dtype, stored shape and size in bytes."""

    @property
    def path(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> Shape: ...
    @property
    def stored_bytes(self) -> int: ...


class PackedTensors(NamedTuple):
    """The tensors of one packed matrix.

    main: the packed tensor.  parts: the others, by what their names have after the beginning that they share with it.
    """

    main: StoredTensor
    parts: Mapping[str, StoredTensor]
    settings: ModuleSettings

    @property
    def scale(self) -> StoredTensor:
        """The scales of the weights: of several tensors (for inputs, for the whole matrix), the one with the most.

        Raises ValueError where there are none.
        """
        return max((part for ending, part in self.parts.items() if names_scale(ending)), key=lambda p: prod(p.shape))


class Layout(NamedTuple):
    """How packed weights are stored.

    name: of the format; empty where that is told by the types of the tensors.
    main: the ending of the packed tensor's name, empty for any name.  dtypes: its possible types; empty for any.
    required: the names of tensors that must be there too, after the part of the name before `main`, or one of
    EXTENDING_SCALE and ANY_SCALE. Of both, several are parted by spaces.
    weights: replaces `main` in the name of the weights.
    shape: computes the shape of the weights; None where it can't be told.
    """

    name: str
    main: str
    dtypes: str
    required: str
    weights: str
    shape: Callable[[PackedTensors], Shape | None]

    def fits(self, leaf: str, tensors: Mapping[str, StoredTensor], scales: Sequence[str]) -> bool:
        """Whether the tensor called `leaf` in a module, of one of the layout's types, is one of its packed ones.

        scales: the names of the module's scales (`names_scale`), sorted.
        """
        # A tensor without axes is a scale, not a matrix.
        if not leaf.endswith(self.main) or not tensors[leaf].shape or names_scale(leaf):
            return False
        stem = self.stem(leaf)
        if self.required == ANY_SCALE:
            return bool(scales)
        if self.required == EXTENDING_SCALE:
            place = bisect_left(scales, f"{stem}_")
            return place < len(scales) and scales[place].startswith(f"{stem}_")
        return all(f"{stem}{required}" in tensors for required in self.required.split())

    def stem(self, leaf: str) -> str:
        """What a matrix's tensors have in common at the beginning of their names in the module."""
        return leaf.removesuffix(self.main)

    def format(self, group: PackedTensors, shape: Shape | None) -> str:
        """The name of the format of a matrix whose weights have this shape."""
        if self.name or shape is None or not prod(shape):
            return self.name or "integers"
        bits = round(prod(group.main.shape) * storage_bits(group.main.dtype) / prod(shape))
        if bits == 8:
            return "FP8" if group.main.dtype in FLOATS_8 else "8-bit integers"
        dtype = group.scale.dtype if bits == 4 else ""
        return {"F8_E8M0": "MXFP4", "U8": "MXFP4"}.get(dtype, "NVFP4" if dtype in FLOATS_8 else f"{bits}-bit integers")

    def unpack(self, group: PackedTensors) -> Shape | None:
        """The shape of the weights; None where the stored tensors don't tell it, or contradict themselves."""
        try:
            shape = self.shape(group)
        except (ValueError, IndexError, KeyError, ArithmeticError):
            return None  # not the axes of this layout: other tensors with the same names
        return shape if shape is not None and min(shape, default=1) >= 0 else None


#: Scales whose names extend that of the matrix, such as weight_scale_inv or gate_up_proj_weight_scale; any scales.
EXTENDING_SCALE, ANY_SCALE = "_*scale*", "*scale*"


def names_scale(leaf: str) -> bool:
    """Whether a tensor of this name scales others."""
    return "scale" in leaf


FLOATS_8 = frozenset(("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"))
#: Types that can't be those of plain weights; I64 is left out, as indices have it.
INTEGERS = frozenset(("I8", "U8", "I16", "U16", "I32", "U32"))
#: The bits that weights are packed in.
BITS = (2, 3, 4, 5, 6, 8)
#: Microscaling formats have a scale for every 32 weights.
_MX_GROUP = 32
_MLX_GROUPS = (32, 64, 128)
#: MLX: the group size and bits of each mode; affine ones are free.
_MLX_MODES = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}


@cache
def storage_bits(dtype: str) -> int:
    """The bits of a stored element, from the name of its type (`BF16`, `F8_E4M3`)."""
    digits = "".join(sign for sign in dtype.partition("_")[0] if sign.isdigit())
    return int(digits) if digits else 8


def is_possible(shape: Shape, main: StoredTensor, bits: int | None) -> bool:
    """Whether weights of this shape fill a stored tensor, with so many bits each or, if unknown, any of BITS."""
    stored, count = prod(main.shape) * storage_bits(main.dtype), prod(shape)
    if not count or not stored:
        return count == stored
    if any(count * each == stored for each in (BITS if bits is None else (bits,))):
        return True
    if bits is None or not shape:
        return False
    # The last element of each row, or of each column, may be partly empty.
    rows, storage = prod(shape[:-1]), storage_bits(main.dtype)
    if any(rows * each == prod(main.shape) for each in _words(shape[-1], bits, storage)):
        return True
    height, *columns = main.shape
    return count % prod(columns) == 0 and height in _words(count // prod(columns), bits, storage)


def _words(weights: int, bits: int, storage: int) -> tuple[int, int]:
    """The elements that hold so many weights: filled, or with whole weights in each."""
    return -(-weights * bits // storage), -(-weights // max(storage // bits, 1))


def _widened(shape: Shape, factor: int, axis: int = -1) -> Shape:
    sizes = list(shape)
    sizes[axis] *= factor
    return tuple(sizes)


def _scaled_shape(group: PackedTensors) -> Shape | None:
    """Elements of one or several weights beside scales for rows, blocks of a row, or the whole matrix."""
    bits = _bits_by_scale(group)
    factor, rest = divmod(storage_bits(group.main.dtype), bits or 0)
    return None if rest else _widened(group.main.shape, factor, _packed_axis(group, factor))


def _bits_by_scale(group: PackedTensors) -> int | None:
    """The bits of a weight, from the types of the elements and scales, or from the settings."""
    main, scale, settings = group.main, group.scale, group.settings
    if main.dtype in FLOATS_8:
        return 8
    elements = _elements_in_group(main.shape, scale.shape)
    if scale.dtype == "F8_E8M0" or (scale.dtype == "U8" and elements) or settings.expert_dtype == "fp4":
        usual = 8 if main.dtype == "I8" else 4
        return {4 * _MX_GROUP: 4, 8 * _MX_GROUP: 8}.get(elements * storage_bits(main.dtype), usual)
    if main.dtype == "I8":
        return 8
    if scale.dtype in FLOATS_8:
        return 4
    bits = 2 if settings.method == "bitnet" else settings.bits
    if bits is None or not elements or settings.group_size is None:
        return bits
    return bits if elements * storage_bits(main.dtype) == bits * settings.group_size else None


def _elements_in_group(shape: Shape, scales: Shape) -> int:
    """The stored elements of a row that share a scale; 0 where the scales are for other parts than that."""
    if len(scales) < 2 or scales[:-1] != shape[:-1] or scales[-1] < 2 or shape[-1] % scales[-1]:
        return 0
    return shape[-1] // scales[-1]


def _packed_axis(group: PackedTensors, factor: int) -> int:
    """The axis along which weights share an element: the one where there are fewer elements than scales."""
    shape, scales = group.main.shape, group.scale.shape
    if group.settings.method == "bitnet":
        return 0
    if len(shape) < 2 or not scales or factor == 1:
        return -1
    outputs = scales[-2] if len(scales) > 1 else scales[0]
    return -2 if outputs == shape[-2] * factor else -1


def _qweight_shape(group: PackedTensors) -> Shape | None:
    """GPTQ packs along the inputs, (in·bits/32, out), AWQ along the outputs, (in, out·bits/32); scales (groups, out).

    Zero points are packed along the outputs; g_idx has an entry for each input.
    """
    (rows, columns), outputs = group.main.shape[-2:], group.parts["scales"].shape[-1]
    if group.parts["scales"].shape[0] == rows and outputs < columns:
        return _scaled_shape(group)  # (out, in·bits/8), as FP-Quant
    storage = storage_bits(group.main.dtype)
    told = set()
    if "qzeros" in group.parts:
        told.add(_whole_bits(storage * group.parts["qzeros"].shape[-1], outputs))
    if columns != outputs:
        told.add(_whole_bits(storage * columns, outputs))
        return (outputs, rows) if len(told) == 1 and None not in told else None
    if "g_idx" in group.parts:
        told.add(_whole_bits(storage * rows, group.parts["g_idx"].shape[0]))
    bits = told.pop() if told else group.settings.bits
    return None if bits is None or told else (outputs, rows * storage // bits)


def _whole_bits(stored: int, weights: int) -> int | None:
    bits, rest = divmod(stored, weights) if weights else (0, 1)
    return bits if not rest and bits in BITS else None


def _packed_shape(group: PackedTensors) -> Shape | None:
    """compressed-tensors: words along the inputs, the last one maybe partly empty; scales (out, groups)."""
    *outer, words = group.main.shape
    bits, size = group.settings.bits, group.settings.group_size
    storage, scales = storage_bits(group.main.dtype), group.scale.shape
    if size is not None and len(scales) > 1 and scales[-1] > 1:
        inputs = scales[-1] * size
        fitting = [each for each in ((bits,) if bits else BITS) if words in _words(inputs, each, storage)]
        return (*outer, inputs) if len(fitting) == 1 else None
    return None if bits is None or storage % bits else (*outer, words * storage // bits)


def _mlx_shape(group: PackedTensors) -> Shape | None:
    """MLX: uint32 words along the inputs, filled, and a scale for each group of the inputs."""
    *outer, words = group.main.shape
    groups, settings = group.parts["scales"].shape[-1], group.settings
    size, bits = _MLX_MODES.get(settings.mode or "", (settings.group_size, settings.bits))
    if size and bits:
        return (*outer, groups * size) if groups * size * bits == 32 * words else None
    # What MLX knows for scales of a type: microscaling ones are bytes.
    affine = [(each, width) for each in _MLX_GROUPS for width in BITS]
    known = _MLX_MODES.values() if group.parts["scales"].dtype == "U8" else affine
    widths = {
        groups * each
        for each, width in known
        if groups * each * width == 32 * words and size in (None, each) and bits in (None, width)
    }
    return (*outer, widths.pop()) if len(widths) == 1 else None


def _mxfp4_shape(group: PackedTensors) -> Shape | None:
    """MXFP4: blocks of 16 bytes for 32 weights, (experts, out, blocks, 16)."""
    sizes = group.main.shape
    return (*sizes[:-2], sizes[-2] * sizes[-1] * 2) if len(sizes) > 2 else None


def _codebook_shape(group: PackedTensors) -> Shape:
    """AQLM: codes (out/a, in/b, books) of vectors in codebooks (books, entries, a, b)."""
    outputs, inputs, _ = group.main.shape
    *_, height, width = group.parts["codebooks"].shape
    return (outputs * height, inputs * width)


def _higgs_shape(group: PackedTensors) -> Shape | None:
    """HIGGS: int16 words along the outputs, (out·bits/16, in); scales (out, groups)."""
    outputs, (rows, inputs) = group.parts["scales"].shape[0], group.main.shape
    return (outputs, inputs) if _whole_bits(16 * rows, outputs) else None


def _exl2_shape(group: PackedTensors) -> Shape | None:
    """EXL2: words along the inputs, of several bits in one matrix; scales (groups, out/8), a place for each input."""
    outputs, (inputs,) = 8 * group.parts["q_scale"].shape[-1], group.parts["q_invperm"].shape
    return (outputs, inputs) if group.main.shape[-1] == outputs else None


def _exl3_shape(group: PackedTensors) -> Shape | None:
    """EXL3: tiles (in/16, out/16, 16 · bits) of 16 × 16 weights, and a sign for each input and output."""
    (inputs,), (outputs,) = group.parts["suh"].shape, group.parts["svh"].shape
    return (outputs, inputs) if group.main.shape[:2] == (inputs // 16, outputs // 16) else None


def _hqq_shape(group: PackedTensors) -> Shape | None:
    """HQQ: groups as rows, with scales (groups, 1), or as columns, (1, groups), packed along the columns: flat."""
    (rows, columns), scales, settings = group.main.shape, group.parts["scale"].shape, group.settings
    if scales[1:] == (1,):
        return (scales[0] * columns, 1)
    size = settings.group_size or rows * storage_bits(group.main.dtype) // (settings.bits or 0)
    return (columns * size, 1) if scales == (1, columns) else None


def _quanto_shape(group: PackedTensors) -> Shape | None:
    """quanto: groups as rows, with scales (groups, 1), packed along the columns: flat."""
    scales = group.parts["weight._scale"].shape
    return (scales[0] * group.main.shape[1], 1) if scales[1:] == (1,) else None


def _torchao_shape(group: PackedTensors) -> Shape:
    """torchao: an element a weight, or bytes of two each."""
    return _widened(group.main.shape, 2 if group.main.dtype == "U8" else 1)


_BYTES = f"U8 I8 {' '.join(sorted(FLOATS_8))}"

#: The layouts, with the tensor names of the libraries that write them; the first that fits counts.
LAYOUTS: tuple[Layout, ...] = (
    Layout("GPTQ or AWQ", "qweight", "I32 I16 I8", "scales", "weight", _qweight_shape),
    Layout("", "qweight", "U8", "scales", "weight", _scaled_shape),
    Layout("EXL2", "q_weight", "I32", "q_scale q_invperm", "weight", _exl2_shape),
    Layout("EXL3", "trellis", "I16", "suh svh", "weight", _exl3_shape),
    Layout("quanto", "weight._data", "I8 F8_E4M3", "weight._scale", "weight", lambda group: group.main.shape),
    Layout("quanto", "weight._data._data", "U8", "weight._scale weight._shift", "weight", _quanto_shape),
    Layout("HQQ", "W_q", "U8 I32", "scale zero", "weight", _hqq_shape),
    Layout("torchao", "_weight_qdata", "I8 U8 F8_E4M3", "_weight_scale", "weight", _torchao_shape),
    Layout("AQLM", "codes", "", "codebooks", "weight", _codebook_shape),
    Layout("compressed-tensors", "_packed", "I32", "_scale", "", _packed_shape),
    Layout("", "_packed", "U8", "_scale", "", lambda group: _widened(group.main.shape, 2)),
    # gpt-oss: (experts, out, blocks, 16) bytes of two weights each.
    Layout("MXFP4", "_blocks", "U8", "_scales", "", _mxfp4_shape),
    # Four bits a weight in elements of any type, flat, (elements, 1); the tables' names extend that of the weight.
    Layout("bitsandbytes 4-bit", "", "", ".absmax", "",
           lambda group: _widened(group.main.shape, storage_bits(group.main.dtype) // 4, axis=0)),
    Layout("bitsandbytes 8-bit", "weight", "I8", "SCB", "weight", lambda group: group.main.shape),
    Layout("HIGGS", "weight", "I16", "scales tables", "weight", _higgs_shape),
    Layout("MLX", "weight", "U32", "scales", "weight", _mlx_shape),
    Layout("", "embedding_quantized", "U8 I8", "embedding_scale", "weight", _scaled_shape),
    Layout("", "", _BYTES, EXTENDING_SCALE, "", _scaled_shape),
    Layout("", "weight", _BYTES, ANY_SCALE, "weight", _scaled_shape),
)  # fmt: skip


@cache
def layouts_of(dtype: str) -> tuple[int, ...]:
    """The places in LAYOUTS of those whose packed tensors may have this type."""
    return tuple(place for place, layout in enumerate(LAYOUTS) if not layout.dtypes or dtype in layout.dtypes.split())
