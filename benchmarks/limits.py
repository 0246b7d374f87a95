"""The limits of the machine at this moment, as one JSON line: a child of its own, so that it can run under a prefix."""

import json
import sys
from dataclasses import asdict

from llmos.api import measure_roofs

if __name__ == "__main__":
    print(json.dumps(asdict(measure_roofs(threads=int(sys.argv[1])))))
