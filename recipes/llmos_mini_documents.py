"""Turns the collected sources of llmos-mini into documents: one JSON line {"text": ...} each, in the model's formats.

Usage: python recipes/llmos_mini_documents.py --sources DIR --out DIR

The special tokens below are the model's prompt formats; the chat template of the tokenizer writes the same strings.
Everything is deterministic: no sampling happens here, the recipe's weights do that.
"""

import argparse
import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path

TRANSLATIONS = ("de", "fr")

# Books in simple prose, most of them for children. They are a source of their own, so that the recipe can weigh them up.
SIMPLE_BOOKS = {
    "A Little Princess", "Aladdin and the Magic Lamp", "Alice's Adventures in Wonderland",
    "Andersen's Fairy Tales", "Black Beauty", "Dorothy and the Wizard in Oz", "Five Children and It",
    "Great Big Treasury of Beatrix Potter", "Grimms' Fairy Tales", "Heidi", "Irish Fairy Tales", "Ozma of Oz", "Peter Pan",
    "The Adventures of Pinocchio", "The Book of Dragons", "The Boxcar Children", "The Christmas Angel",
    "The Happy Prince & Other Tales", "The Jungle Book", "The King of the Golden River",
    "The Life and Adventures of Santa Claus", "The Little Mermaid", "The Marvelous Land of Oz",
    "The Princess and the Goblin", "The Railway Children", "The Rose and the Ring", "The Secret Garden",
    "The Story of Doctor Dolittle", "The Wind in the Willows", "The Wonderful Wizard of Oz", "Through the Looking-Glass",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sources", type=Path, required=True, help="folder with *.jsonl.xz and *.tsv.xz")
    parser.add_argument("--out", type=Path, required=True, help="folder that receives one .jsonl per source")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, documents in sources(args.sources).items():
        count = write_documents(args.out / f"{name}.jsonl", documents)
        print(f"{name}: {count} documents")


def sources(folder: Path) -> dict[str, Iterator[str]]:
    """The document stream of each source, by the name that the recipe uses."""
    return {
        "books": (text for title, text in books(folder) if title not in SIMPLE_BOOKS),
        "simple_books": (text for title, text in books(folder) if title in SIMPLE_BOOKS),
        "stories": (f"{tidy(r['title'])}\n\n{tidy(r['text'])}" for r in records(folder / "stories_simple_en.jsonl.xz")),
        "dialogues": (chat(r["turns"]) for r in records(folder / "sgd_dialogues.jsonl.xz")),
        "smalltalk": (chat([r["q"], r["a"]]) for r in records(folder / "chitchat_microsoft.jsonl.xz")),
        "trivia": (trivia(i, r) for i, r in enumerate(records(folder / "opentriviaqa.jsonl.xz"))),
        "instructions": instructions(folder),
        "reading": (
            instruction(r["prompt"], r["completion"]) for r in records(folder / "t0_tasks_permissive.jsonl.xz")
        ),
        "translation": translation(folder),
        "dictionary": (definition(*r) for r in records(folder / "dictionary_wordset.jsonl.xz")),
        "countries": (country(r) for r in records(folder / "factbook.jsonl.xz")),
    }


def books(folder: Path) -> Iterator[tuple[str, str]]:
    """(title, text) of every book."""
    for path in sorted(folder.glob("books_en_*.jsonl.xz")):
        for record in records(path):
            yield record["title"], tidy(record["text"])


def chat(turns: list[str]) -> str:
    roles = ("<|user|>", "<|assistant|>")
    return "".join(f"{roles[i % 2]}{turn.strip()}<|end|>" for i, turn in enumerate(turns))


def trivia(index: int, record: dict) -> str:
    """Every second question states its choices, so that both formats are learnt."""
    choices = "<|choices|>" + "\n".join(record["choices"]) if index % 2 and record["choices"] else ""
    return f"<|question|>{record['question'].strip()}{choices}<|answer|>{record['answer'].strip()}"


def instruction(task: str, response: str, given: str = "") -> str:
    given = f"<|input|>{given.strip()}" if given.strip() else ""
    return f"<|instruction|>{task.strip()}{given}<|response|>{response.strip()}"


def instructions(folder: Path) -> Iterator[str]:
    for record in records(folder / "dolly_hhrlhf_small.jsonl.xz"):
        match = re.search(r"### Instruction:\n(.*?)\n\n### Response:", record["prompt"], re.S)
        if match:
            yield instruction(match[1], record["response"])
    for record in records(folder / "self_instruct_seed_tasks.jsonl.xz"):
        for case in record["instances"]:
            yield instruction(record["instruction"], case["output"], case["input"])


def translation(folder: Path) -> Iterator[str]:
    """Pairs in both directions in turn, in the order of a fixed stride so that sentence lengths mix."""
    for language in TRANSLATIONS:
        with lzma.open(folder / f"tatoeba_en-{language}.tsv.xz", "rt", encoding="utf-8") as file:
            pairs = [line.rstrip("\n").split("\t")[:2] for line in file]
        stride = 7919  # a prime that divides no line count here: i * stride visits every line once
        for i in range(len(pairs)):
            english, other = pairs[i * stride % len(pairs)]
            a, b = (f"<|en|>{english}", f"<|{language}|>{other}")[:: 1 if i % 2 else -1]
            yield f"<|translate|>{a}{b}"


def definition(word: str, senses: list[list[str]]) -> str:
    lines = [f"{part}: {meaning}" + (f' "{example}"' if example else "") for part, meaning, example in senses]
    return f"<|question|>What does {word} mean?<|answer|>" + "\n".join(lines)


def country(record: dict) -> str:
    return "\n".join([record["country"] or "", *(f"{field}: {text.strip()}" for field, text in record["facts"])])


def records(path: Path) -> Iterator:
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def tidy(text: str) -> str:
    """Strips trailing blanks and collapses longer gaps to one empty line."""
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip()


def write_documents(path: Path, documents: Iterator[str]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for text in documents:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            count += 1
    return count


if __name__ == "__main__":
    main()
