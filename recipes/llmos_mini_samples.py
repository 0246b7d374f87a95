"""Prints the twenty samples of the model card, as Markdown: the first attempt at each prompt, nothing picked.

Usage: python recipes/llmos_mini_samples.py [MODEL]     (a folder or a name; the embedded model by default)
"""

import sys

import llm

PROMPTS = (
    "Once upon a time",
    "The old man looked at the sea and",
    "The quick brown fox jumps over the lazy dog.",
    "One morning, the little girl",
    "It was a dark night, and",
    "The king said to his daughter",
    "When the train came into the station,",
    '"Where are you going?" asked',
    "A lion and a mouse",
    "My mother was",
    "They walked through the forest until",
    "There was once a poor farmer who",
    "The captain ordered",
    "In the summer of that year",
    "He opened the door and",
    "<|user|>Hello, how are you?<|end|><|assistant|>",
    "<|user|>I need a restaurant in San Jose.<|end|><|assistant|>",
    "<|question|>Which animal is the largest?<|answer|>",
    "<|translate|><|en|>I am hungry.<|fr|>",
    "<|instruction|>Name three fruits.<|response|>",
)
MAX_TOKENS = 60


def main() -> None:
    with llm.load_model(sys.argv[1] if len(sys.argv) > 1 else "llmos-mini") as model:
        for number, prompt in enumerate(PROMPTS, start=1):
            text = model.generate_text(prompt, seed=number, max_tokens=MAX_TOKENS)
            quoted = "\n".join(f"    > {line}".rstrip() for line in text.strip().split("\n"))
            print(f"{number}. `{prompt}`\n\n{quoted}\n")


if __name__ == "__main__":
    main()
