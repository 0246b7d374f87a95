"""Text and tokens: tokenizers, the prompt format, chat templates, incremental decoding, stop strings."""

from llmos.text.chat import check_templates, render_chat
from llmos.text.decoder import Decoder
from llmos.text.lowered import lowered
from llmos.text.prompt_format import PromptFormat
from llmos.text.stops import StopMatcher
from llmos.text.tokenizer import Tokenizer
from llmos.text.tokenizer_folder import tokenizer_files

__all__ = [
    "Decoder",
    "PromptFormat",
    "StopMatcher",
    "Tokenizer",
    "check_templates",
    "lowered",
    "render_chat",
    "tokenizer_files",
]
