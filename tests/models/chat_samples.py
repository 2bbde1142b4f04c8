"""Chat templates as models bring them, the special tokens that they write, and conversations that they take."""

from __future__ import annotations

from typing import Any, NamedTuple


class Sample(NamedTuple):
    template: str
    tokens: dict[str, str]
    messages: list[dict[str, Any]]
    more: dict[str, Any] = {}  # noqa: RUF012


LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)

LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim"
    " + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

CHATML = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

#: With tools, and with a system message of its own where there is none.
QWEN = r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are a helpful assistant.' }}
    {%- endif %}
    {{- "\n\n# Tools\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- message.content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""  # noqa: E501

MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
    "{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)

#: With content in parts, a date, a namespace, a macro, loop controls, and the part that the assistant wrote marked.
GENERATION = """{%- macro text(content) -%}
  {%- if content is string -%}{{ content }}{%- else -%}
    {%- for part in content -%}{%- if part.type != 'text' -%}<image>{%- continue -%}{%- endif -%}{{ part.text }}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- set ns = namespace(turn=0) -%}
{{ bos_token }}Year: {{ strftime_now('%Y') }}
{% for message in messages %}
{% set ns.turn = ns.turn + 1 %}
<|{{ message.role }}|>
{% if message.role == 'assistant' %}
{% generation %}
{{ text(message.content) }}{{ eos_token }}
{% endgeneration %}
{% else %}
{{ text(message.content) }}{{ eos_token }}
{% endif %}
{% endfor %}
{% for document in documents or [] %}[{{ document.title }}] {{ document | tojson(indent=1) }}
{% endfor %}
{% if add_generation_prompt %}
<|assistant|>
{% endif %}
"""

#: Leaves the thoughts of earlier answers out, so that the beginnings of a conversation aren't the beginning of it.
THINKING = (
    "{% for message in messages %}<|{{ message.role }}|>{% if message.role == 'assistant' and loop.last and"
    " message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}{{ message.content }}<|end|>"
    "{% endfor %}"
)

TURNS = [
    {"role": "user", "content": " Where do moles live? "},
    {"role": "assistant", "content": "In tunnels."},
    {"role": "user", "content": "And <b>shrews</b>, été 👍?"},
]
SYSTEM = {"role": "system", "content": "Be brief."}
EDGES = {"bos_token": "<s>", "eos_token": "</s>"}
TOOL = {"type": "function", "function": {"name": "dig", "description": "Dig <deep>", "parameters": {"type": "object"}}}
CALLED = [
    {"role": "user", "content": "Dig!"},
    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "dig", "arguments": {"depth": 3}}}]},
    {"role": "tool", "content": "done"},
    {"role": "tool", "content": "done again"},
    {"role": "assistant", "content": "Dug."},
]

SAMPLES = {
    "Llama 2": Sample(LLAMA_2, EDGES, [SYSTEM, *TURNS]),
    "Llama 2 without a system message": Sample(LLAMA_2, EDGES, TURNS),
    "Llama 3": Sample(LLAMA_3, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}, [SYSTEM, *TURNS]),
    "ChatML": Sample(CHATML, {}, [SYSTEM, *TURNS]),
    "Qwen": Sample(QWEN, {"eos_token": "<|im_end|>"}, TURNS),
    "Qwen with a system message": Sample(QWEN, {"eos_token": "<|im_end|>"}, [SYSTEM, *TURNS]),
    "Qwen with tools": Sample(QWEN, {"eos_token": "<|im_end|>"}, CALLED, {"tools": [TOOL]}),
    "Mistral": Sample(MISTRAL, EDGES, TURNS),
    "Gemma": Sample(GEMMA, {"bos_token": "<bos>", "eos_token": "<eos>"}, TURNS),
    "generation blocks": Sample(GENERATION, EDGES, TURNS, {"documents": [{"title": "Ünder", "text": "<x> & y"}]}),
    "content in parts": Sample(
        GENERATION,
        EDGES,
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": "this"}, {"type": "image"}, {"type": "text", "text": "that"}],
            }
        ],
    ),
    "thoughts": Sample(
        THINKING,
        {},
        [
            TURNS[0],
            {"role": "assistant", "content": "In tunnels.", "reasoning_content": "Hm"},
            TURNS[2],
            {"role": "assistant", "content": "Too.", "reasoning_content": "Hm hm"},
        ],
    ),
    "variables of its own": Sample(
        "{{ mood }}{% for m in messages %}{{ m.content }}{% endfor %}", {}, TURNS, {"mood": "!"}
    ),
}
