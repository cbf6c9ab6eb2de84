"""What goes along with a release: recipes, metadata and the archive of results, which agree with the project.

Those marked `release` ask each format's own validator, in the environment that `make release` makes.
"""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parent.parent
TOOLS = Path(sys.prefix) / "release" / "bin"


def tool(name: str):
    """A module of tools/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name: str) -> dict:
    return json.loads((ROOT / name).read_text())


def ask(program: str, *arguments: object, cwd: Path = ROOT) -> tuple[int, str]:
    """The status and the words of a validator."""
    if not (TOOLS / program).exists():
        pytest.fail(f"{program} is missing: make release installs it")
    command = [str(TOOLS / program), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    return done.returncode, done.stdout + done.stderr


# --- metadata of the software


TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "array", "items": TEXT, "minItems": 1}
# The properties of CodeMeta 3.0 that are used here, each with its type; another name is a mistake.
CODEMETA = {
    "type": "object",
    "required": ["@context", "@type", "name", "author", "license", "version", "description"],
    "additionalProperties": False,
    "properties": {
        "@context": {"const": "https://w3id.org/codemeta/3.0"},
        "@type": {"const": "SoftwareSourceCode"},
        **dict.fromkeys(("name", "description", "version", "programmingLanguage", "runtimePlatform"), TEXT),
        **dict.fromkeys(("softwareRequirements", "readme", "buildInstructions"), TEXT),
        "license": {"type": "string", "pattern": "^https://spdx.org/licenses/"},
        "developmentStatus": {"enum": ["concept", "wip", "suspended", "abandoned", "active", "inactive"]},
        "keywords": TEXTS,
        "operatingSystem": TEXTS,
        "author": {"type": "array", "minItems": 1, "items": {
            "type": "object", "required": ["@type", "name"],
            "properties": {"@type": {"enum": ["Person", "Organization"]}, "name": TEXT}}},
        "referencePublication": {"type": "array", "items": {
            "type": "object", "required": ["@type", "name", "url"],
            "properties": {"@type": {"const": "ScholarlyArticle"}}}},
    },
}  # fmt: skip
# What Zenodo's deposit takes (developers.zenodo.org, "Representation"), as far as it is used.
ZENODO = {
    "type": "object",
    "required": ["upload_type", "title", "creators", "description", "access_right", "license"],
    "additionalProperties": False,
    "properties": {
        "upload_type": {"enum": ["publication", "poster", "presentation", "dataset", "image", "video", "software"]},
        **dict.fromkeys(("title", "description", "version", "license"), TEXT),
        "access_right": {"enum": ["open", "embargoed", "restricted", "closed"]},
        "keywords": {"type": "array", "items": TEXT},
        "creators": {"type": "array", "minItems": 1, "items": {
            "type": "object", "required": ["name"], "additionalProperties": False,
            "properties": {"name": TEXT, "affiliation": TEXT, "orcid": TEXT}}},
        "related_identifiers": {"type": "array", "items": {
            "type": "object", "required": ["identifier", "relation"], "additionalProperties": False,
            "properties": {"identifier": TEXT, "resource_type": TEXT, "relation": {"enum": [
                "isCitedBy", "cites", "isSupplementTo", "isSupplementedBy", "references", "isDerivedFrom"]}}}},
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "schema"), [("codemeta.json", CODEMETA), (".zenodo.json", ZENODO)])
def test_the_metadata_has_the_properties_of_its_format(name, schema):
    jsonschema.Draft202012Validator(schema).validate(read(name))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(read(name) | {"titel": "a mistake"})


def test_all_metadata_tells_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    codemeta, zenodo, croissant = read("codemeta.json"), read(".zenodo.json"), read("published/croissant.json")
    authors = [author["name"] for author in citation["authors"]]
    paper = citation["preferred-citation"]
    assert {project["version"], citation["version"], codemeta["version"], zenodo["version"], croissant["version"]} == {
        "0.1.0"
    }
    assert citation["title"] == codemeta["name"] == zenodo["title"]
    assert project["description"] == codemeta["description"] == zenodo["description"]
    assert project["keywords"] == codemeta["keywords"] == zenodo["keywords"]
    assert authors == [a["name"] for a in codemeta["author"]] == [c["name"] for c in zenodo["creators"]]
    assert authors == [croissant["creator"]["name"]]
    assert project["license"] == citation["license"] == "MIT"
    assert codemeta["license"] == croissant["license"] == "https://spdx.org/licenses/MIT"
    assert zenodo["license"] == "mit"
    assert codemeta["referencePublication"][0]["url"] == paper["url"] == project["urls"]["Paper"]
    assert codemeta["referencePublication"][0]["name"] == paper["title"]
    assert zenodo["related_identifiers"][0]["identifier"] == paper["identifiers"][0]["value"]
    assert all((ROOT / codemeta[name]).exists() for name in ("softwareRequirements", "readme", "buildInstructions"))


# --- recipes of containers


def definition() -> tuple[dict[str, str], dict[str, str]]:
    """(header, sections) of apptainer.def."""
    head, *parts = re.split(r"^%(\w+)\n", (ROOT / "apptainer.def").read_text(), flags=re.MULTILINE)
    lines = [line.split(": ", 1) for line in head.splitlines() if line and not line.startswith("#")]
    return dict(lines), dict(zip(parts[::2], parts[1::2]))


def test_both_recipes_call_make_env_on_one_image():
    header, sections = definition()
    container = (ROOT / "Containerfile").read_text()
    assert header == {"Bootstrap": "docker", "From": re.search(r"^FROM (\S+)$", container, re.MULTILINE).group(1)}
    assert re.match(r"python:3\.1[1-4]-", header["From"])
    assert list(sections) == ["files", "post", "runscript", "test"]
    assert "make env" in sections["post"]
    assert "\nRUN make env\n" in container
    for recipe in (container, *sections.values()):
        assert "pip install" not in recipe  # what is installed is said in one place


@pytest.mark.parametrize("section", ["post", "runscript", "test"])
def test_the_scripts_of_the_apptainer_definition_are_shell(section):
    script = definition()[1][section]
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.release
def test_hadolint_accepts_the_containerfile(tmp_path):
    assert ask("hadolint", "Containerfile") == (0, "")
    (tmp_path / "bad").write_text("FROM python\nRUN cd /x && pip install torch\n")
    status, said = ask("hadolint", tmp_path / "bad")
    assert status == 1
    assert "DL3006" in said


# --- the published evaluations


def test_the_published_evaluations_are_described_as_they_are():
    """python tools/croissant.py was run after the last publication."""
    for path, text in tool("croissant").written(ROOT / "published").items():
        assert path.read_text() == text, f"{path.name} is out of date: python tools/croissant.py"


def test_each_row_counts_the_flags_of_its_file():
    rows = list(csv.DictReader((ROOT / "published" / "evaluations.csv").open()))
    assert len(rows) > 300
    for row in rows:
        with np.load(ROOT / "published" / row["flags"], allow_pickle=False) as arrays:
            flags = arrays["correct"]
        assert (str(flags.size), str(flags.sum())) == (row["images"], row["correct"]), row["flags"]
        assert float(row["accuracy"]) == pytest.approx(100 * flags.mean(), abs=0.006)


def test_croissant_metadata_names_every_column_and_the_files_hash():
    croissant = read("published/croissant.json")
    header = (ROOT / "published" / "evaluations.csv").read_text().splitlines()[0].split(",")
    assert [field["name"] for field in croissant["recordSet"][0]["field"]] == header


@pytest.mark.release
def test_mlcroissant_reads_the_published_evaluations():
    status, said = ask("mlcroissant", "validate", "--jsonld", "published/croissant.json")
    assert status == 0, said
    assert "error" not in said.lower()
    code = (
        "import json, mlcroissant\n"
        "rows = mlcroissant.Dataset(jsonld='published/croissant.json').records('evaluations')\n"
        "print(json.dumps([{k.split('/')[1]: v.decode() if isinstance(v, bytes) else v for k, v in row.items()}"
        " for row in rows]))\n"
    )
    status, said = ask("python", "-c", code)
    assert status == 0, said
    rows = json.loads(next(line for line in said.splitlines() if line.startswith("[{")))
    ours = csv.DictReader((ROOT / "published" / "evaluations.csv").open())
    assert [{k: str(v) for k, v in row.items() if k != "accuracy"} for row in rows] == [
        {k: v for k, v in row.items() if k != "accuracy"} for row in ours
    ]


# --- the archive of results


@pytest.fixture
def results(monkeypatch, tmp_path):
    """The results of a tiny demo, with what must not be packed."""
    root = tmp_path / "scratch"
    monkeypatch.setenv("ADVDPNP_RESULTS", str(root))
    kept = ("runs/a-s0/train.json", "runs/a-s0/model.pt", "evals/a-s0/clean.json", "evals/a-s0/clean.npz",
            "tables/table1.csv", "figures/figure2.png", "report.md")  # fmt: skip
    dropped = ("runs/a-s0/last.pt", "runs/a-s0/.run.lock", "runs/a-s0/run.holder", "logs/train.log", ".tmp/x",
               "evals/a-s0/aa.part.npz")  # fmt: skip
    for name in (*kept, *dropped):
        (root / "demo" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "demo" / name).write_text("{}")
    return {f"results/demo/{name}" for name in kept}


def test_the_archive_holds_results_workflow_and_what_they_were_made_from(results, tmp_path, capsys):
    archive = tool("archive")
    assert archive.main(["--tier", "demo", str(tmp_path / "out.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "out.zip") as crate:
        names = set(crate.namelist())
        graph = {item["@id"]: item for item in json.loads(crate.read("ro-crate-metadata.json"))["@graph"]}
    assert {name for name in names if name.startswith("results/")} == results
    assert {"Snakefile", "config/demo.toml", "data/paper/table1.csv", "requirements.lock", "README.md"} <= names
    parts = {part["@id"] for part in graph["./"]["hasPart"]}
    assert parts == names - {"ro-crate-metadata.json"}
    assert parts <= graph.keys()
    run = graph["#run-demo"]
    assert run["instrument"] == {"@id": "Snakefile"} == graph["./"]["mainEntity"]
    assert {part["@id"] for part in run["result"]} == results
    assert {"config/demo.toml", "requirements.lock"} <= {part["@id"] for part in run["object"]}
    assert run["startTime"] <= run["endTime"]
    assert str(tmp_path) not in json.dumps(graph)


def test_a_tier_without_results_is_refused_in_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("ADVDPNP_RESULTS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert tool("archive").main(["--tier", "demo"]) == 2
    said = capsys.readouterr().err
    assert said == f"error: {tmp_path}/demo: holds no results to pack; run snakemake --cores 1 demo first\n"
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_cannot_be_written_is_one_sentence(results, tmp_path, capsys):
    (tmp_path / "a file").touch()
    assert tool("archive").main(["--tier", "demo", str(tmp_path / "a file" / "out.zip")]) == 2
    assert "a file/out.zip: could not be written (" in capsys.readouterr().err


# What needs the network: the context's address. That it is the right one is compared here.
SKIPPED = "ro-crate-1.1_3.1,ro-crate-1.1_3.2"


@pytest.mark.release
@pytest.mark.parametrize("published", [True, False], ids=["published short", "results"])
def test_rocrate_validator_accepts_the_archive(results, tmp_path, published):
    crate = tmp_path / "out.zip"
    words = ["--tier", "short", "--published"] if published else ["--tier", "demo"]
    assert tool("archive").main([*words, str(crate)]) == 0
    with zipfile.ZipFile(crate) as content:
        metadata = json.loads(content.read("ro-crate-metadata.json"))
    assert metadata["@context"] == "https://w3id.org/ro/crate/1.1/context"
    validate = (ROOT / "tests" / "crate_validator.py", "-y", "validate", "-p", "workflow-run-crate", "-f", "json")
    offline = ("--skip-availability-check", "-s", SKIPPED, "--no-paging", "-o", tmp_path / "report.json")
    status, said = ask("python", *validate, *offline, crate)
    assert status == 0, said
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["passed"], report["issues"]) == (True, [])


@pytest.mark.release
def test_rocrate_validator_refuses_an_archive_without_its_workflow(results, tmp_path):
    archive = tool("archive")
    archive.workflow = lambda about: []
    crate = tmp_path / "out.zip"
    assert archive.main(["--tier", "demo", str(crate)]) == 0
    validate = (ROOT / "tests" / "crate_validator.py", "-y", "validate", "-p", "workflow-run-crate", "--no-paging")
    status, _ = ask("python", *validate, "--skip-availability-check", "-s", SKIPPED, crate)
    assert status == 1


# --- the oldest and the newest Python


@pytest.fixture
def pythons():
    return tool("pythons")


HERE = {(3, 11, 2): "/a", (3, 11, 7): "/b", (3, 13, 0): "/c"}


@pytest.mark.parametrize(
    ("here", "covered", "tried"),
    [
        (HERE, None, ["/a", "/c"]),
        (HERE, (3, 11, 2), ["/c"]),
        (HERE, (3, 11, 7), ["/a", "/c"]),
        ({(3, 12, 1): "/d"}, None, ["/d"]),
        ({(3, 12, 1): "/d"}, (3, 12, 1), []),
    ],
)
def test_the_oldest_and_the_newest_python_are_tried_once(pythons, here, covered, tried):
    assert list(pythons.to_try(here, covered).values()) == tried


def test_only_supported_pythons_count(pythons):
    found = {(3, 10, 13): "/x", (3, 14, 1): "/z", (3, 11, 0): "/y", (3, 15, 0): "/w"}
    assert list(pythons.supported(found).values()) == ["/y", "/z"]


def test_what_cannot_make_an_environment_is_no_python(pythons, tmp_path):
    bare = tmp_path / "python3.11"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -c "raise ImportError"\n')
    bare.chmod(0o755)
    assert pythons.version(str(bare)) is None
    assert pythons.version(str(tmp_path / "none")) is None
    assert pythons.version(sys.executable) == sys.version_info[:3]


def test_a_copy_holds_the_checkout_and_nothing_that_was_made(pythons, tmp_path, monkeypatch):
    if not (ROOT / ".git").exists():
        pytest.skip("asks git")
    pythons.copy_checkout(tmp_path / "a b")
    assert (tmp_path / "a b" / "Makefile").exists()
    assert not any((tmp_path / "a b" / name).exists() for name in (".venv", "results", ".git"))
    assert os.access(tmp_path / "a b" / ".ci" / "run", os.X_OK) == os.access(ROOT / ".ci" / "run", os.X_OK)
