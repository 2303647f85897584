"""How many real files convert exactly as the front end did: python -m benchmarks.bench_conversion ANSWERS

ANSWERS is a table of lines "UI FILE<tab>API FILE", the second being what the front end sent for the first. Files with a
class that neither the schemas nor the browser knows are counted apart: the front end needs their node packs as well.
Writes benchmarks/results/conversion.json: per set of schemas the counts, what differs by class and input, what was
refused and why, and the time of a conversion.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from graphs.errors import WorkflowError
from graphs.reading.virtual_nodes import VIRTUAL
from graphs.schemas import SERVER, Schemas, builtin
from graphs.workflow import parse_json, parse_ui, to_api

Json = Any

RESULTS = Path(__file__).parent / "results" / "conversion.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--object-info", type=Path)
    parser.add_argument("--front-end", default="1.58.1", help="the version that the answers are of")
    args = parser.parse_args()
    pairs = [(Path(ui), Path(api)) for ui, api in _table(args.answers)]
    found = {"front_end": args.front_end, f"schemas of {SERVER}": _measured(pairs, builtin())}
    if args.object_info is not None:
        dump = json.loads(args.object_info.read_text("utf-8"))
        found["schemas of the server"] = _measured(pairs, builtin().with_object_info(dump))
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(RESULTS.read_text("utf-8"))


def _table(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text("utf-8").splitlines() if line]


def _measured(pairs: list[tuple[Path, Path]], schemas: Schemas) -> dict[str, Json]:
    counts: Counter[str] = Counter()
    causes: Counter[str] = Counter()
    times = []
    for ui_file, api_file in pairs:
        ui = parse_json(ui_file.read_bytes())
        if not _known(ui, schemas):
            counts["unknown classes"] += 1
            continue
        began = time.process_time()
        try:
            ours = to_api(parse_ui(ui, schemas))
        except WorkflowError as error:
            counts["refused"] += 1
            causes.update({f"refused: {p.type} {p.class_type}.{p.input_name}" for p in error.problems})
            continue
        times.append(time.process_time() - began)
        different = _differences(json.loads(api_file.read_text("utf-8")), ours)
        counts["differs" if different else "exact"] += 1
        causes.update(different)
    known = sum(counts.values()) - counts["unknown classes"]
    return {
        "files": len(pairs),
        **dict(counts),
        "exact_of_known": round(counts["exact"] / known, 4) if known else None,
        "milliseconds": {"median": round(1e3 * statistics.median(times), 2), "most": round(1e3 * max(times), 2)},
        "files_by_cause": dict(causes.most_common()),
    }


def _known(ui: Json, schemas: Schemas) -> bool:
    definitions = (ui.get("definitions") or {}).get("subgraphs") or []
    own = {entry["id"] for entry in definitions}
    types = {str(node.get("type")) for graph in (ui, *definitions) for node in graph["nodes"]}
    return all(
        t in VIRTUAL or t in own or t.startswith(("workflow/", "workflow>")) or schemas.lookup(t) is not None
        for t in types
    )


def _differences(theirs: Json, ours: Json) -> set[str]:
    """ "Class.input" of everything that is not the same, "Class" of nodes that only one side has."""
    found = set()
    for node_id in theirs.keys() | ours.keys():
        a, b = theirs.get(node_id), ours.get(node_id)
        if a is None or b is None or a.get("class_type") != b["class_type"]:
            found.add(f"{(a or b).get('class_type')}: the node")
            continue
        for name in a["inputs"].keys() | b["inputs"].keys():
            if not _same(a["inputs"].get(name, _NOTHING), b["inputs"].get(name, _NOTHING)):
                found.add(f"{b['class_type']}.{name}")
    return found


_NOTHING = object()


def _same(a: Json, b: Json) -> bool:
    """Equality of JSON values as JavaScript has them: true is no number, and large whole numbers are rounded."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or float(a) == float(b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return type(a) is type(b) and bool(a == b)


if __name__ == "__main__":
    main()
