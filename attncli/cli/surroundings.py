"""What surrounds a run of `attn`, as the help says it: variables of the environment, and exit codes."""

from __future__ import annotations

VARIABLES = {
    "ATTN_MODEL": "The model where -m names none.",
    "ATTN_CACHE": "Folder of what attn works out once: shapes, reference samples. Empty: keep nothing.",
    "HF_HOME, HF_HUB_CACHE": "Where models of the hub are cached.",
    "HF_HUB_OFFLINE": "1: ask no hub, use what is cached.",
    "HF_ENDPOINT, HF_TOKEN": "Another hub; a token for models behind a gate.",
    "NO_COLOR, FORCE_COLOR": "Never colour the text; colour it in pipes too.",
    "COLUMNS": "Width of the text where --width says none.",
}

EXIT_CODES = {
    0: "It worked.",
    1: "It failed: a file can't be read or written, memory ran out, an input is broken.",
    2: "Wrong usage: an option, layer, head, position or word that is not there.",
    3: "The model is not to be had: missing, refused, or broken.",
    4: "A --check does not hold.",
    130: "Interrupted.",
    141: "Whoever read the output stopped, as head does.",
}
