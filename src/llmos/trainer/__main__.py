"""`python -m llmos.trainer RECIPE.toml [name=value ...]`: the worker program that launchers start."""

import sys

from llmos.core.errors import LlmosError
from llmos.trainer.entry import train_file


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        result = train_file(arguments[0], dict(a.split("=", 1) for a in arguments[1:]), progress=True)
    except LlmosError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the state is saved", file=sys.stderr)
        return 130
    print(result.model)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
