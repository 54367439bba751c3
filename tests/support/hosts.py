"""What the files for hosts say: the commands that each host runs, and the settings that it names."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
#: What a line of a Procfile, an env file or a Dockerfile may set before or instead of a command.
ASSIGNMENT = re.compile(r"^#? ?([A-Z][A-Z0-9_]*)=")


@cache
def documents(file: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file."""
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def manifests() -> dict[str, dict[str, Any]]:
    """Every object for Kubernetes in our files, by file and kind; kustomize's own files are none."""
    found = {}
    for file in sorted(KUBERNETES.rglob("*.yaml")):
        for number, document in enumerate(documents(file)):
            if document["kind"] != "Kustomization":
                found[f"{file.relative_to(KUBERNETES)}:{number}:{document['kind']}"] = document
    return found


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The specification of the pods that it makes."""
    template = manifest.get("spec", {}).get("template")
    return [template["spec"]] if template else []


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers of a pod."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def without_settings(command: str) -> tuple[str, ...]:
    """The words of a shell command, without what it puts into the environment."""
    words = shlex.split(command)
    while words and ASSIGNMENT.match(words[0]):
        words.pop(0)
    return tuple(words)


def procfile() -> dict[str, tuple[str, ...]]:
    """The command of each process of the Procfile."""
    lines = (line.partition(":") for line in (ROOT / "Procfile").read_text().splitlines())
    return {name: without_settings(command) for name, _, command in lines}


def commands() -> dict[str, set[tuple[str, ...]]]:
    """All commands of ours that each host runs."""
    compose = documents(DEPLOY / "compose.yaml")[0]["services"].values()
    render = documents(ROOT / "render.yaml")[0]["services"]
    fly = tomllib.loads((ROOT / "fly.toml").read_text())
    systemd = "\n".join(file.read_text() for file in (DEPLOY / "systemd").glob("*.service"))
    return {
        "compose": {tuple(part["command"]) for part in compose if part["image"] == "copernica-ingest"},
        "kubernetes": {
            tuple(container["args"])
            for manifest in manifests().values()
            for pod in pods(manifest)
            for container in containers(pod)
            if container["image"] == "copernica-ingest"
        },
        "render": {
            tuple(shlex.split(service[key]))
            for service in render
            for key in ("dockerCommand", "preDeployCommand")
            if key in service
        },
        "fly": {
            tuple(shlex.split(line)) for line in [*fly["processes"].values(), fly["deploy"]["release_command"]]
        },
        "systemd": {
            tuple(shlex.split(line.replace("/opt/ingest/bin/", "")))
            for line in re.findall(r"^ExecStart(?:Pre)?=(.*)$", systemd, re.MULTILINE)
        },
    }


def settings() -> Iterator[tuple[str, str]]:
    """Each file and a name that it puts into the environment of ours."""
    for file in (DEPLOY / "ingest.env", DEPLOY / "compose.env", *KUBERNETES.rglob("*.env*")):
        yield from ((str(file.relative_to(ROOT)), name) for name in _assigned(file.read_text()))
    for file in KUBERNETES.rglob("kustomization.yaml"):
        for generator in ("configMapGenerator", "secretGenerator"):
            for made in documents(file)[0].get(generator, []):
                if made["name"].startswith("ingest-"):
                    lines = "\n".join(made.get("literals", []))
                    yield from ((str(file.relative_to(ROOT)), name) for name in _assigned(lines))
    for part in documents(DEPLOY / "compose.yaml")[0]["services"].values():
        if part["image"] == "copernica-ingest":
            yield from (("compose.yaml", name) for name in part["environment"])
    render = documents(ROOT / "render.yaml")[0]
    for service in [*render["services"], *render["envVarGroups"]]:
        yield from (("render.yaml", entry["key"]) for entry in service.get("envVars", []) if "key" in entry)
    yield from (("fly.toml", name) for name in tomllib.loads((ROOT / "fly.toml").read_text())["env"])
    yield from (("app.json", name) for name in json.loads((ROOT / "app.json").read_text())["env"])


def _assigned(lines: str) -> list[str]:
    return [found[1] for line in lines.splitlines() if (found := ASSIGNMENT.match(line))]
