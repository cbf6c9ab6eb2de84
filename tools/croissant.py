"""Write published/evaluations.csv, one line per published evaluation with flags, and published/croissant.json, which
describes it and the flags in the Croissant format (mlcommons.org/croissant).

    python tools/croissant.py

Flags (one bool per test image: whether the network still classified it correctly) are NumPy files, which the format can
describe but no reader of it opens; numpy.load does. `--check` ends with status 1 where the two files are not what this
would write, as after a publication.
"""

import csv
import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np

from advdpnp.config import ROOT
from advdpnp.store import sha256_file, write_text

PUBLISHED = ROOT / "published"
SCHEMA = {"sc": "https://schema.org/", "cr": "http://mlcommons.org/croissant/", "dct": "http://purl.org/dc/terms/"}
# The terms of Croissant 1.0, as its specification asks for them in every file.
CONTEXT = {
    "@language": "en", "@vocab": SCHEMA["sc"], **SCHEMA, "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract", "field": "cr:field", "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet", "format": "cr:format", "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path",
    "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated",
    "replace": "cr:replace", "samplingRate": "cr:samplingRate", "separator": "cr:separator", "source": "cr:source",
    "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip
COLUMNS = {
    "tier": ("sc:Text", "the protocol that it was trained and attacked under"),
    "run": ("sc:Text", "the training: data set, backbone, defense and seed"),
    "attack": ("sc:Text", "the evaluation's name"),
    "images": ("sc:Integer", "how many test images were attacked"),
    "correct": ("sc:Integer", "how many of them were still classified correctly"),
    "accuracy": ("sc:Float", "their share in per cent"),
    "flags": ("sc:Text", "the file that holds a flag per image"),
    "sha256": ("sc:Text", "of the file of flags"),
}
# Of the JSON beside the flags; the rest is known from its place.
MEASURED = ("images", "correct", "accuracy")


def holds_flags(path: Path) -> bool:
    """Whether an .npz holds one flag per image."""
    with np.load(path, allow_pickle=False) as arrays:
        return "correct" in arrays and arrays["correct"].dtype == bool and arrays["correct"].ndim == 1


def evaluations(published: Path) -> list[dict]:
    """One row per evaluation with flags, sorted by place."""
    rows = []
    for path in sorted(published.glob("*/evals/*/*.npz")):
        if not holds_flags(path):
            continue
        tier, _, run, _ = path.relative_to(published).parts
        result = json.loads(path.with_suffix(".json").read_text())
        rows.append({
            "tier": tier, "run": run, "attack": path.stem, **{name: result[name] for name in MEASURED},
            "flags": path.relative_to(published).as_posix(),
            "sha256": sha256_file(path),
        })  # fmt: skip
    return rows


def table(rows: list[dict]) -> str:
    """The rows as CSV."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def field(name: str) -> dict:
    """A column as Croissant describes it."""
    kind, text = COLUMNS[name]
    source = {"fileObject": {"@id": "evaluations.csv"}, "extract": {"column": name}}
    return {"@type": "cr:Field", "@id": f"evaluations/{name}", "name": name, "description": text, "dataType": kind,
            "source": source}  # fmt: skip


def croissant(content: str) -> dict:
    """The metadata of evaluations.csv, which holds `content`, and of the flags that it names."""
    about = json.loads((ROOT / "codemeta.json").read_text())
    index = {
        "@type": "cr:FileObject", "@id": "evaluations.csv", "name": "evaluations.csv", "contentUrl": "evaluations.csv",
        "description": "One line per evaluation", "encodingFormat": "text/csv",
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
    }  # fmt: skip
    flags = {
        "@type": "cr:FileSet", "@id": "flags", "name": "flags", "encodingFormat": "application/x-npz",
        "includes": "*/evals/*/*.npz",
        "description": "`correct` of each file that evaluations.csv names: one bool per image, in the test set's order",
    }  # fmt: skip
    records = {
        "@type": "cr:RecordSet", "@id": "evaluations", "name": "evaluations",
        "description": "One record per network and attack", "field": [field(name) for name in COLUMNS],
    }  # fmt: skip
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": "adv-dpnp-evaluations",
        "description": "Which test images the networks of the Adv-DPNP companion classify correctly under each attack.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": about["license"],
        "url": about["referencePublication"][0]["url"],
        "creator": {"@type": "Organization", "name": about["author"][0]["name"]},
        "version": about["version"],
        "distribution": [index, flags],
        "recordSet": [records],
    }


def written(published: Path) -> dict[Path, str]:
    """{file: what it is to hold}."""
    content = table(evaluations(published))
    return {
        published / "evaluations.csv": content,
        published / "croissant.json": json.dumps(croissant(content), indent=1) + "\n",
    }


def main(words: list[str]) -> int:
    files = written(PUBLISHED)
    if words == ["--check"]:
        stale = [path.name for path, text in files.items() if not path.exists() or path.read_text() != text]
        if stale:
            print(f"published/: {', '.join(stale)} out of date; run python tools/croissant.py", file=sys.stderr)
        return 1 if stale else 0
    if words:
        print(f"error: expected nothing or --check, got {' '.join(words)}", file=sys.stderr)
        return 2
    for path, text in files.items():
        write_text(path, text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
