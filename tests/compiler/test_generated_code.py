"""A change of the code that is generated is meant, and seen."""

import json

from tests.compiler.generated_code import HASHES, WHOLE, hashes, whole

AGAIN = "if that is meant: python -m tests.compiler.generated_code"


def test_the_code_of_a_model_is_what_was_kept():
    assert whole() == WHOLE.read_text(encoding="utf-8"), AGAIN


def test_the_code_of_every_family_has_the_hash_that_was_kept():
    kept, found = json.loads(HASHES.read_text(encoding="utf-8")), hashes()
    changed = [name for name in sorted({*kept, *found}) if kept.get(name) != found.get(name)]
    assert not changed, f"{len(changed)} of {len(found)} are others: {', '.join(changed)}; {AGAIN}"
