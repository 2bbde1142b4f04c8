"""Values that options take and that verbs, help, completion and results share: each list stands here alone.

Imports nothing, so that help and completion start at once.
"""

from __future__ import annotations

#: `params --by` and `--source`.
BY = ("component", "layer", "part", "module", "tensor", "cost")
SOURCES = ("config", "header")
#: `params --kv-dtype`, `--kv-allocation`, `--optimizer` and `--recompute`.
KV_DTYPES = ("float32", "float16", "bfloat16", "fp8", "int8", "q8_0", "q4_0")
ALLOCATIONS = ("window", "full")
OPTIMIZERS = ("adamw", "adamw8bit", "adafactor", "muon", "sgd")
RECOMPUTE = ("none", "selective", "full")

#: `heads --top`, where it isn't given.
DEFAULT_TOP = 10

#: `heads --by`.
UNITS = ("token", "word", "line")

#: `tokenize --check`: all models make the same tokens; there is nothing to mend in a text.
CHECKS = ("same", "lint")

#: `compare --pool` and `--adjust`.
POOLS = ("mean", "first", "last")
ADJUSTMENTS = ("none", "baseline", "standardize", "abtt")

#: Options of every verb.
COLORS = ("auto", "always", "never")
ERRORS = ("strict", "replace")
#: And `cuda:N`.
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")

#: What stands for stdin where a text, a file or ids are named.
STDIN = "-"
#: The variable that a shell sets when it asks for completions instead of a run.
COMPLETION = "_ATTN_COMPLETE"
