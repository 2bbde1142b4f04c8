"""Register an attention function with transformers, and pass every attention of a forward pass to one observer.

transformers routes nearly every modern model through one function with (module, query, key, value, mask, scaling, …),
looked up in `AttentionInterface` by name. `capture_attention` is registered there, and `lazy_mask` in
`AttentionMaskInterface` (without it sliding windows and padding would be lost without an error). Families with
attention code of their own run it (eager), and their weights are captured inside their attention modules
(`softmax_capture`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from attncli.errors import ModelError
from attncli.models.capture.attention_types import (
    CROSS_SUFFIX,
    Attention,
    AttentionSlice,
    ChunkedAttention,
    QueryKeyAttention,
    batch_size,
    sequences_of,
)
from attncli.models.capture.hooks import hooked
from attncli.models.capture.lazy_mask import lazy_mask, restrict_to_selected
from attncli.models.capture.local_attention import ShiftedWindows, patch_attention
from attncli.models.capture.mixing_watch import MixingWatch, ShapeRecorder, is_own_code, second_arguments
from attncli.models.capture.sequence_parts import TowerCalls
from attncli.models.capture.softmax_capture import SoftmaxCapture
from attncli.models.capture.sparse_blocks import SparseBlockCapture
from attncli.models.capture.step_attention import StepCapture, step_patterns
from attncli.models.capture.structure import block_lists, is_attention, is_tower, mixer_names
from attncli.models.loading.adapters import Adapter
from attncli.models.loading.borrowing import model_configs
from attncli.models.loading.forward import MEDIA_ARGUMENTS, accepted_arguments, forward_method, report_run_errors
from attncli.models.loading.own_module import OwnModule, OwnRun

#: The name under which `capture_attention` and `lazy_mask` are registered with transformers.
IMPLEMENTATION = "attncli_probe"

#: Called with the dotted path of the attention module and its attention.
Observer = Callable[[str, Attention], None]

#: Called with an attention module, the weighted values of its heads, and the axes of these that count heads. What it
#: returns takes their place.
OutputChange = Callable[[nn.Module, Tensor, tuple[int, ...]], Tensor]

#: Names of arguments for a bias that is added to the scores, and for the logits of sinks.
_BIAS_NAMES = ("position_bias", "attention_bias")
_SINK_NAMES = ("s_aux", "sinks")

#: Tensor arguments for other kernels, whose information is in the mask or the states already; `logits_to_keep` is for
#: the head of the model, and some models pass on all that they are given.
_IGNORED_TENSORS = frozenset({
    "position_ids", "cache_position", "cu_seq_lens_q", "cu_seq_lens_k", "cu_seqlens", "input_ids",
    "encoder_hidden_states", "encoder_attention_mask", "position_embeddings", "logits_to_keep",
})  # fmt: skip

#: What the graph of a scripted module has, if it attends.
_SCRIPTED_ATTENTION = re.compile(r"aten::(_?softmax|scaled_dot_product|_native_multi_head)")


@dataclass
class _CaptureSession:
    """One captured forward pass of a batch.

    observer: None in a pass that isn't observed.  watch: of the pass.
    lengths: of the text and, in an encoder–decoder, of the decoder's input.
    batch: of texts.  prompt: the learned positions before each text, which are left out.
    virtual: an adapter's, which are not.  has_media: whether a picture or a sound goes with the text.
    crops: the most that a tower reads of the pictures, one after another.
    change: of the heads' weighted values, if any.
    own: how a module runs on inputs of its author, if it does.
    captured: how many attention computations were passed to the observer.
    unread: modules that ran and whose attention can't be read.
    """

    model: PreTrainedModel
    observer: Observer | None
    watch: MixingWatch
    lengths: tuple[int, ...]
    batch: int
    prompt: int
    virtual: int
    has_media: bool
    crops: int
    change: OutputChange | None = None
    own: OwnRun | None = None
    captured: int = 0
    unread: list[nn.Module] = field(default_factory=list)
    #: Query and key of the last call, as weak references: they would take memory during the layer's feed-forward.
    last: tuple[ReferenceType[Tensor], ...] = ()

    @classmethod
    def of_run(
        cls, model: PreTrainedModel, arguments: Mapping[str, Any], observer: Observer, adapter: Adapter | None
    ) -> _CaptureSession:
        own = OwnRun.of_inputs(model, arguments)
        lengths = [arguments[name].shape[1] for name in ("input_ids", "decoder_input_ids") if name in arguments]
        lengths = lengths or list(own.lengths if own else ()) or [0]
        virtual = 0 if adapter is None else adapter.virtual_tokens
        if adapter is not None and adapter.has_virtual_queries:
            lengths[0] += virtual
        pixels = arguments.get("pixel_values", arguments.get("pixel_values_videos"))
        return cls(
            model,
            observer,
            MixingWatch(model),
            tuple(lengths),
            batch=1 if own else len(next(value for value in arguments.values() if isinstance(value, Tensor))),
            prompt=getattr(model.config, "prompt_length", 0),
            virtual=virtual,
            # A vision or audio tower alone has no text.
            has_media="input_ids" in arguments and len(arguments.keys() & MEDIA_ARGUMENTS) > 0,
            crops=math.prod(pixels.shape[:-3]) if isinstance(pixels, Tensor) else 1,
            own=own,
        )

    def __post_init__(self) -> None:
        self.paths = {id(module): name for name, module in self.model.named_modules()}
        self.windows = ShiftedWindows(self.model)
        self.towers = TowerCalls(self.model, self.emit)

    @contextmanager
    def active(self) -> Iterator[None]:
        """The body with the attention that comes through transformers' interface passed to this session."""
        token = _current_session.set(self)
        try:
            yield
        finally:
            _current_session.reset(token)

    def emit(self, module: nn.Module, attention: Attention) -> None:
        """Pass an attention computation to the observer."""
        if self.observer is None:
            return
        path = self.paths[id(module)]
        if self.has_media and is_tower(path) and (sequences := batch_size(attention)) > self.batch:
            if sequences > self.crops:
                # Windows of unknown order, each as a sequence of its own.
                self.unread.append(module)
                return
            attention = ChunkedAttention(sequences_of(attention))
        for suffix, part in self._split(path, attention):
            self.captured += 1
            self.observer(path + suffix, part)

    def emit_from_interface(self, module: nn.Module, attention: QueryKeyAttention) -> None:
        """Pass on an attention computation that came through transformers' interface."""
        self.watch.mark_captured()
        states = (attention.query, attention.key)
        if self.last and all(last() is now for last, now in zip(self.last, states, strict=True)):
            return  # the same attention to other values (DiffLlama)
        self.last = tuple(ref(state) for state in states)
        patches = self.windows.window_patches(module)
        inside = None if patches is None else patch_attention(attention, patches)
        if not self.towers.take(module, inside or attention):
            self.emit(module, inside or attention)

    def _split(self, path: str, attention: Attention) -> list[tuple[str, Attention]]:
        """The attention between tokens of the given sequences, in one part or two, with a suffix for each path."""
        size, text, target = (attention.queries, attention.keys), self.lengths[0], self.lengths[-1]
        if self.prompt and size == (self.prompt + text, self.prompt + text):
            of_text = (self.prompt, self.prompt + text)
            return [("", AttentionSlice(attention, of_text, of_text))]
        media = attention.queries - text
        if self.has_media and not is_tower(path) and media > 0 and _is_media_prefix(attention, media):
            of_text = (media, attention.queries)
            between, to_media = (AttentionSlice(attention, of_text, columns) for columns in (of_text, (0, media)))
            return [("", between), (CROSS_SUFFIX, to_media)]
        if len(self.lengths) == 2 and size == (target, target + text) and not self.virtual:
            # The decoder's tokens and the encoder's states side by side (T5Gemma 2).
            spans = ((0, target), (target, target + text))
            between, to_encoder = (AttentionSlice(attention, columns=columns) for columns in spans)
            return [("", between), (CROSS_SUFFIX, to_encoder)]
        return [("", attention)]


def _is_media_prefix(attention: Attention, media: int) -> bool:
    """Whether the first `media` rows are a picture's or sound's, before the text and without a view of it (GIT)."""
    if attention.queries != attention.keys:
        return False
    return not any(bool(block.visible[..., media:].any()) for block in attention.blocks(rows=(0, media)))


_current_session: ContextVar[_CaptureSession] = ContextVar("attncli_probe_session")


def capture_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    **extra: Any,
) -> tuple[Tensor, None]:
    """The attention function that is registered with transformers' `AttentionInterface`.

    Shapes as in transformers: query (batch, heads, queries, d), key and value (batch, key heads, keys, d); returns
    (batch, queries, heads, d) and no weights. Raises ModelError for a tensor argument of unknown meaning: ignoring it
    could give wrong weights.
    """
    session = _current_session.get()
    bias, sinks = _pop_first(extra, _BIAS_NAMES), _pop_first(extra, _SINK_NAMES)
    # The keys that an indexer selects for each query (DeepSeek's sparse attention): (batch, queries, selected).
    selected = extra.pop("indices", None)
    unknown = [name for name, value in extra.items() if isinstance(value, Tensor) and name not in _IGNORED_TENSORS]
    if unknown:
        raise ModelError(
            f"{type(module).__name__} passes {unknown[0]!r} to its attention, and attn doesn't know what it means",
            hint="the pattern could be wrong; use another model (-m), or report this architecture",
        )
    if selected is not None:
        attention_mask = restrict_to_selected(attention_mask, selected, keys=key.shape[2])
    # The call's own flag overrides the module's, as in transformers' own functions.
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    attention = QueryKeyAttention(
        query=query,
        key=key,
        value=value,
        mask=attention_mask,
        is_causal=bool(causal) and query.shape[2] > 1,
        scaling=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
        bias=bias,
        softcap=softcap,
        sinks=sinks,
    )
    with session.watch.paused():
        session.emit_from_interface(module, attention)
        output = attention.output()
        return (output if session.change is None else session.change(module, output, (2,))), None


AttentionInterface.register(IMPLEMENTATION, capture_attention)
AttentionMaskInterface.register(IMPLEMENTATION, lazy_mask)


def run_captured(
    model: PreTrainedModel,
    arguments: Mapping[str, Any],
    observe: Observer,
    adapter: Adapter | None = None,
) -> tuple[str, ...]:
    """Run `model` once and pass every attention computation to `observe`, in the order in which they happen.

    It changes the model's attention implementation: call it while the model is borrowed (`borrow`).
    adapter: what runs it instead of its own forward pass.
    Returns the paths of the attention modules that ran but can't be read.

    Raises ModelError where no module of the model attends, where TorchScript hides it, where its weights are changed to
    what is no attention before they reach the values, and where the model can't run on a text alone.
    """
    session = _prepared_session(model, arguments, observe, adapter)
    _run_forward(model, arguments, session, adapter)
    takes_flag = bool(accepted_arguments(model) & {"output_attentions", "kwargs"})
    if not session.captured and takes_flag and any(is_attention(module) for module in model.modules()):
        # A model's own code may hide its softmax, but return the weights.
        _set_implementation(model, "eager")
        _run_forward(model, {**arguments, "output_attentions": True}, session, adapter)
    if not session.captured and isinstance(model, OwnModule):
        _capture_steps(model, arguments, session)
    if not session.captured:
        raise _no_attention_error(model)
    return tuple(session.paths[id(module)] for module in session.unread)


def run_changed(
    model: PreTrainedModel,
    arguments: Mapping[str, Any],
    change: OutputChange,
    adapter: Adapter | None = None,
    observe: Observer = lambda *_: None,
) -> Any:
    """Run `model` once with what `change` makes of the weighted values of heads, and return what it returns.

    Call it as `run_captured`; each attention computation is passed to `observe` before its values are changed.
    Modules whose attention can't be read run unchanged.
    """
    session = replace(_prepared_session(model, arguments, observe, adapter), change=change)
    return _run_forward(model, arguments, session, adapter)


def _prepared_session(
    model: PreTrainedModel, arguments: Mapping[str, Any], observe: Observer, adapter: Adapter | None
) -> _CaptureSession:
    """The session of a run, with attention functions set that pass through it."""
    _refuse_scripts(model)
    # The configurations are set one by one: several families copy them for their stacks, and transformers' own setter
    # doesn't reach every copy.
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            _set_implementation(part, IMPLEMENTATION if part._can_set_attn_implementation() else "eager")
    return _CaptureSession.of_run(model, arguments, observe, adapter)


def _refuse_scripts(model: PreTrainedModel) -> None:
    """Raise ModelError for a part that TorchScript runs and that may attend: nothing is seen of what it computes."""
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule) and _SCRIPTED_ATTENTION.search(str(module.inlined_graph)):
            raise ModelError(
                f"the attention of {path} can't be read: it was compiled by TorchScript",
                hint="build the model from its Python code, without torch.jit.script and torch.jit.trace",
            )


def _run_forward(
    model: PreTrainedModel, arguments: Mapping[str, Any], session: _CaptureSession, adapter: Adapter | None
) -> Any:
    """One forward pass with all ways of capturing active. Returns what the model returns."""
    method = forward_method(model, arguments)
    run: Callable[..., Any] = method
    if adapter is not None and method is model:
        run = adapter if session.change is None else adapter.with_logits
    with report_run_errors(model, arguments), ExitStack() as stack:
        second, own = None, session.own
        reads_text = "input_ids" in arguments and not arguments.keys() & MEDIA_ARGUMENTS
        is_resized = own is not None and own.resized is not None
        if is_resized or (reads_text and any(is_own_code(module) for module in model.modules())):
            # Over a text of another length, of which nothing is observed but shapes.
            recorder = ShapeRecorder(model, session.batch)
            with replace(session, observer=None, watch=recorder).active():
                second = recorder.run(run, arguments, own.resized if own else None)
        watch = SoftmaxCapture(
            *(model, session.batch, session.lengths, session.emit, session.windows, second, session.change),
            fixed_length=own is not None and own.resized is None,
        )
        blocks = SparseBlockCapture(model, session.lengths[0], watch.mark_captured, session.emit)
        session.watch = watch
        stack.enter_context(session.active())
        for hooks in (session.windows.hooks(), session.towers.hooks()):
            stack.enter_context(hooked(hooks))
        stack.enter_context(watch.watching())
        # After those of the softmaxes.
        stack.enter_context(hooked(blocks.hooks()))
        output = run(**arguments)
    session.unread += [*watch.unreadable, *blocks.unreadable]
    return output


def _capture_steps(model: PreTrainedModel, arguments: Mapping[str, Any], session: _CaptureSession) -> None:
    """Pass on the attention of a recurrent decoder, a row a step, where no module attends to a whole text at once."""

    def rows(given: Mapping[str, Any]) -> dict[nn.Module, list[Tensor]]:
        steps = StepCapture(model)
        with steps.watching():
            model(**given)
        return steps.rows

    other = session.own.resized and session.own.resized.arguments if session.own else None
    if session.own is None:
        other, _ = second_arguments(arguments, session.batch)
    for module, attention in step_patterns(rows(arguments), None if other is None else rows(other)).items():
        session.captured += 1
        if session.observer is not None:
            session.observer(session.paths[id(module)] + CROSS_SUFFIX, attention)


def _set_implementation(model: PreTrainedModel, implementation: str) -> None:
    for config in model_configs(model):
        config._attn_implementation_internal = implementation


def _pop_first(arguments: dict[str, Any], names: tuple[str, ...]) -> Tensor | None:
    values = [arguments.pop(name, None) for name in names]
    return next((value for value in values if value is not None), None)


def _no_attention_error(model: PreTrainedModel) -> ModelError:
    """The error for a model without attention, and for one whose attention can't be captured."""
    name, lists = type(model).__name__, block_lists(model)
    names = ", ".join(mixer_names(lists)) or "its own code"
    if any(block.attends for block_list in lists for block in block_list.describe_layers()):
        return ModelError(
            f"the attention of {name} can't be read: {names} doesn't expose a weight for each query and key",
            hint="use another model (-m)",
        )
    mixed = f"its tokens are mixed by {names}" if mixer_names(lists) else "none of its layers mixes tokens"
    return ModelError(f"{name} has no attention", hint=f"{mixed}; use a model with attention (-m)")
