"""Fetches the open sources of llmos-mini and writes them as the records that llmos_mini_documents.py reads.

Usage: python recipes/fetch_data.py --out DIR          (needs git and the network; about 1 GB of downloads)
       python recipes/llmos_mini_documents.py --sources DIR --out .work/documents

Every source is fetched by git commit, and a git commit id is the hash of all its content: git refuses anything else.

What this does not reproduce bit for bit:
- Books: the titles are the ones trained on (llmos-mini-books.tsv), but the cleaning of Markdown was richer than `plain` here.
- Stories: texts with a non-commercial licence are left out as in the original; page breaks are joined by rule.
- Translations: the original kept 1,500 English sentences of each language apart by a hash; none is kept apart here.
- Trivia and dialogues: a few per cent had been kept apart as held-out sets; they are included here.
- Small talk and reading tasks (0.9 % of the training tokens together) are not fetched, as their mirrors state no licence
  or one that is only known from memory: take these two sources out of the recipe.
A model derived from this data is therefore close to, not equal to, the shipped one.
"""

import argparse
import csv
import io
import json
import lzma
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

BOOKS = ("mlschmitt/classic-books-markdown", "944882722e9a96fa6cf2739dc2ea757e101f412f")
STORIES = ("global-asp/asp-source", "99e022369a980bd52bce8c6f86d5f24e9a4ada9d")
DICTIONARY = ("wordset/wordset-dictionary", "4503bfafbe4556361a296b9d368c18168dfb56c3")
DOLLY = ("mosaicml/llm-foundry", "8c8dd48f72168c5d51e2f7b151595892a8fba43d")
FACTBOOK = ("factbook/factbook.json", "8662a8b17a784841ab4528631b04090eb2f183eb")
TRIVIA = ("uberspot/OpenTriviaQA", "dd31530bfbb19f9505b160b89c9df4b1127e3c70")
DIALOGUES = ("google-research-datasets/dstc8-schema-guided-dialogue", "e852981ae34990f4358979625854259302feaa78")
SEED_TASKS = ("yizhongw/self-instruct", "0b26ccaa415992100fa32df62d41b994cf928e23")
GERMAN = ("jhamburg/dats6450_nlp", "fc38d83c4353d753fb9b34d98e945cbc5fab2811")
FRENCH = ("modelexlab/data", "adddaf33ac35572bcfeb421efec29435e7ea9332")

Source = tuple[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder that receives the records")
    parser.add_argument("--clones", type=Path, default=Path(".work/clones"), help="folder for the fetched repositories")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, records in converters(args.clones).items():
        write(args.out / f"{name}.jsonl.xz", records)
    for language, source, member in (("de", GERMAN, "deu-eng.zip"), ("fr", FRENCH, "fra-eng.zip")):
        write_pairs(args.out / f"tatoeba_en-{language}.tsv.xz", fetch(source, args.clones), member)


def converters(clones: Path) -> dict[str, Iterator]:
    """Record streams by file name; each fetches its repository when it is read."""
    return {
        "books_en_00": books(clones, "train"),
        "books_heldout": books(clones, "heldout"),
        "stories_simple_en": stories(clones),
        "dictionary_wordset": dictionary(clones),
        "dolly_hhrlhf_small": lines(DOLLY, "scripts/data_prep/dolly_hhrlhf_train_small.jsonl", clones),
        "self_instruct_seed_tasks": lines(SEED_TASKS, "data/seed_tasks.jsonl", clones),
        "factbook": factbook(clones),
        "opentriviaqa": trivia(clones),
        "sgd_dialogues": dialogues(clones),
    }


def fetch(source: Source, clones: Path) -> Path:
    """A folder with the files of one commit of a GitHub repository."""
    repository, commit = source
    folder = clones / repository.replace("/", "--")
    if not (folder / ".git" / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        git = ["git", "-C", str(folder)]
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run(
            [*git, "fetch", "-q", "--depth", "1", f"https://github.com/{repository}.git", commit], check=True
        )
        subprocess.run([*git, "checkout", "-q", "--detach", commit], check=True)
        (folder / ".git" / "complete").touch()
        print(f"fetched {repository} at {commit}")
    return folder


def books(clones: Path, part: str) -> Iterator[dict]:
    listing = (Path(__file__).parent / "llmos-mini-books.tsv").read_text(encoding="utf-8")
    for row in csv.reader(io.StringIO(listing), delimiter="\t", quoting=csv.QUOTE_NONE):
        path = fetch(BOOKS, clones) / row[1] / f"{row[2]}.md"
        if row[0] == part and path.exists():
            yield {"author": row[1], "title": row[2], "text": plain(path.read_text(encoding="utf-8"))}


def stories(clones: Path) -> Iterator[dict]:
    for path in sorted((fetch(STORIES, clones) / "en").glob("*.md")):
        title, _, rest = path.read_text(encoding="utf-8").removeprefix("# ").partition("\n")
        body, _, notice = rest.rpartition("License:")
        if body and "NC" not in notice.split("\n")[0]:
            pages = [re.sub(r"\s*\n\s*", " ", page).strip() for page in re.split(r"^##", body, flags=re.M)]
            yield {
                "title": title.strip(),
                "license": notice.split("\n")[0].strip(" []"),
                "text": "\n\n".join(filter(None, pages)),
            }


def dictionary(clones: Path) -> Iterator[list]:
    for path in sorted((fetch(DICTIONARY, clones) / "data").glob("?.json")):
        for word, entry in json.loads(path.read_text(encoding="utf-8")).items():
            senses = [
                [m.get("speech_part", ""), m.get("def", ""), m.get("example") or ""] for m in entry.get("meanings", [])
            ]
            if senses:
                yield [word, senses[:4]]


def factbook(clones: Path) -> Iterator[dict]:
    for path in sorted(fetch(FACTBOOK, clones).glob("*/*.json")):
        raw = json.loads(path.read_text(encoding="utf-8"))
        facts = list(texts(raw, ()))
        country = next((text for field, text in facts if "conventional short form" in field), None)
        yield {"country": country, "facts": facts}


def texts(node: dict, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if key == "text" and isinstance(value, str):
            yield " / ".join(names), value
        elif isinstance(value, dict):
            yield from texts(value, (*names, key))


def trivia(clones: Path) -> Iterator[dict]:
    for path in sorted((fetch(TRIVIA, clones) / "categories").iterdir()):
        for block in path.read_text(encoding="utf-8", errors="ignore").split("#Q ")[1:]:
            question, _, rest = block.partition("\n^ ")
            answer, *choices = rest.strip().split("\n")
            yield {
                "question": " ".join(question.split()),
                "answer": answer,
                "choices": [c[2:] for c in choices if c[1:2] == " "],
            }


def dialogues(clones: Path) -> Iterator[dict]:
    for path in sorted((fetch(DIALOGUES, clones) / "train").glob("dialogues_*.json")):
        for dialogue in json.loads(path.read_text(encoding="utf-8")):
            yield {"id": dialogue["dialogue_id"], "turns": [turn["utterance"] for turn in dialogue["turns"]]}


def lines(source: Source, path: str, clones: Path) -> Iterator[dict]:
    with (fetch(source, clones) / path).open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def plain(markdown: str) -> str:
    """Text without emphasis marks, links and images; headings stay."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", markdown)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"(\*\*|__|\*|(?<!\w)_|_(?!\w))", "", text).strip()


def write(path: Path, records: Iterator) -> None:
    with lzma.open(path, "wt", encoding="utf-8") as file:
        count = sum(bool(file.write(json.dumps(record, ensure_ascii=False) + "\n")) for record in records)
    print(f"{path.name}: {count} records")


def write_pairs(path: Path, folder: Path, archive: str) -> None:
    with zipfile.ZipFile(folder / archive) as file:
        member = next(name for name in file.namelist() if name.endswith(("deu.txt", "fra.txt")))
        rows = [line.split("\t")[:2] for line in file.read(member).decode("utf-8").splitlines()]
    with lzma.open(path, "wt", encoding="utf-8") as out:
        out.writelines(f"{a}\t{b}\n" for a, b in dict.fromkeys((row[0], row[1]) for row in rows if len(row) == 2))
    print(f"{path.name}: {len(rows)} pairs")


if __name__ == "__main__":
    main()
