"""Limits on what files and servers of others may ask for, each with its reason. Every reader of such data uses these.

A limit is far above everything that is published and far below what would exhaust memory or patience. What exceeds one
is refused with a ModelError that says so. (Chat templates, which are programs, have limits of their own:
models/chat/program.py.)
"""

from __future__ import annotations

# --- JSON: config.json, tokenizer_config.json, indices, headers

#: The largest tokenizer.json and index have under 50 MB.
MAX_JSON_BYTES = 1 << 28
#: Published files nest at most a dozen levels; code that walks values by recursion fails at some hundreds.
MAX_JSON_DEPTH = 64

# --- Headers of weight files

#: The limit of the safetensors library: a file that claims a longer header is no safetensors file.
MAX_HEADER_BYTES = 100_000_000
#: Objects and commas in a safetensors header: about 50,000 tensors. The largest models have a tenth of that in a file.
MAX_HEADER_VALUES = 300_000
#: A tensor's name is a path of modules. Published ones have under 200 characters and a dozen parts; each part becomes a
#: place in the tree of modules, and the work of a name grows with them.
MAX_NAME_CHARACTERS = 1_000
MAX_NAME_PARTS = 50
#: ggml allows four axes and keys of 65,535 bytes; vocabularies have under 10^6 strings.
MAX_GGUF_AXES = 8
MAX_GGUF_KEY_BYTES = 65_535
MAX_GGUF_STRINGS = 4_000_000
MAX_GGUF_TENSORS = 200_000
MAX_GGUF_KEYS = 100_000
MAX_GGUF_NESTING = 4
MAX_TENSOR_ELEMENTS = 1 << 62
#: A GGUF header on the hub holds the vocabulary: it is downloaded in growing pieces, up to this.
MAX_GGUF_HEADER_BYTES = 1 << 28

# --- Numbers in a configuration

#: The deepest published models have a few hundred layers. Each layer is built.
MAX_LAYERS = 2_000
MAX_EXPERTS = 100_000
#: transformers makes and checks a name for every label. The largest classifiers have some ten thousand.
MAX_LABELS = 100_000
#: Other numbers of modules (groups, stages, codebooks, …): each of them is built, too.
MAX_MODULES = 10_000
#: Far above every width, vocabulary and context; products of two stay within 64 bits.
MAX_SIZE = 1 << 31
#: Tensors that a module may make while it is built, whatever its configuration says: the largest published ones, with a
#: matrix for each expert, make a tenth.
MAX_BUILT_TENSORS = 500_000

# --- Tokenizers

#: How often a tokenizer.json may multiply the bytes of a text before its model sees it: Unicode's normal forms do that
#: 11 times at most, and marks for spaces 5 times.
MAX_TEXT_GROWTH = 64
#: Bytes up to which it may be more: the library keeps about 100 bytes beside each of them.
MAX_NORMALIZED_BYTES = 1 << 22
#: The longest published tokens, runs of one character, have some hundred.
MAX_TOKEN_CHARACTERS = 4096

# --- The hub

#: Seconds within which the headers of an answer must be complete, and seconds over which the rate of its body is taken.
HUB_HEADER_SECONDS = 60.0
HUB_RATE_SECONDS = 30.0
#: Bytes a second below which a download counts as stalled: a slow modem has three times as much.
MIN_HUB_RATE = 1024.0
