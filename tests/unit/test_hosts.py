"""The files for hosts: each can be read, names what exists, and starts the same commands as the others."""

import json
import re
import tomllib
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import click
import kubernetes_validate
import pytest

from ingest.cli.main import main
from ingest.settings import Settings
from tests.support.hosts import (
    DEPLOY,
    KUBERNETES,
    ROOT,
    commands,
    containers,
    documents,
    manifests,
    pods,
    procfile,
    settings,
)

ALL_PARTS = ("ingest", "all")
#: Names in env files that are for the host itself.
NOT_OURS = {"POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}
#: The oldest Kubernetes that docs/hosts/kubernetes.md promises, and a recent one.
VERSIONS = ("1.30.0", "1.37.0")


@pytest.mark.parametrize("host", sorted(commands()))
def test_every_host_runs_the_commands_of_the_procfile(host: str) -> None:
    assert commands()[host] - {ALL_PARTS} == set(procfile().values())


def test_every_command_exists() -> None:
    for words in {*procfile().values(), ALL_PARTS}:
        assert words[0] == "ingest"
        command: click.Command = main
        for word in words[1:]:
            if isinstance(command, click.Group):
                command = command.commands[word]
            elif word.startswith("--"):
                option = next(parameter for parameter in command.params if word in parameter.opts)
            else:
                assert word in option.type.choices  # type: ignore[attr-defined]  # a choice, or it has none


def test_every_setting_exists() -> None:
    known = {field.alias for field in Settings.model_fields.values()} | NOT_OURS
    named = sorted(settings())
    assert len({file for file, _ in named}) >= 8
    assert [(file, name) for file, name in named if name not in known] == []


def test_every_setting_that_a_page_names_exists() -> None:
    known = {field.alias for field in Settings.model_fields.values()}
    pages = [DEPLOY / "README.md", *(ROOT / "docs" / "hosts").glob("*.md")]
    named = {(page.name, name) for page in pages for name in re.findall(r"\bINGEST_[A-Z_]+\b", page.read_text())}
    # An example of what Kubernetes puts into the environment.
    found = {one for one in named if one[1] not in known}
    assert found == {(page, "INGEST_WEB_PORT") for page in ("kubernetes.md", "kubernetes.nl.md")}


def test_every_host_has_a_page_that_is_linked() -> None:
    pages = {page.name for page in (ROOT / "docs" / "hosts").glob("*.md") if ".nl." not in page.name}
    for page in (DEPLOY / "README.md", ROOT / "docs" / "how-to" / "run-for-real.md"):
        assert set(re.findall(r"/hosts/([\w-]+\.md)", page.read_text())) == pages, page


@pytest.mark.slow  # each schema is compiled anew
@pytest.mark.parametrize("name", sorted(manifests()))
def test_every_manifest_fits_the_schemas_of_kubernetes(name: str) -> None:
    manifest = manifests()[name]
    if "keda" in manifest["apiVersion"]:
        pytest.skip("KEDA's own kinds have no schema there")
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_pods_have_limits_and_no_more_rights_than_they_need() -> None:
    every = [(name, pod) for name, manifest in manifests().items() for pod in pods(manifest)]
    assert len(every) >= 5
    for name, pod in every:
        # With service links, a Service called `ingest…` would put unknown INGEST_… names into the environment.
        assert pod["enableServiceLinks"] is False, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        for container in containers(pod):
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name
            if container["image"] == "copernica-ingest":
                assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
                mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
                assert mounted == {"/data", "/tmp"}, name


def test_what_a_kustomization_names_is_there() -> None:
    for file in KUBERNETES.rglob("kustomization.yaml"):
        [kustomization] = documents(file)
        named = [*kustomization["resources"]]
        for made in [*kustomization.get("configMapGenerator", []), *kustomization.get("secretGenerator", [])]:
            named += [
                *made.get("files", []),
                *(f"{env}.example" for env in made.get("envs", []) if env == "secret.env"),
            ]
        assert [name for name in named if not (file.parent / name).exists()] == [], file


def test_the_valkey_in_kubernetes_has_the_same_configuration() -> None:
    assert (KUBERNETES / "overlays/complete/redis.conf").read_text() == (DEPLOY / "redis.conf").read_text()


def test_parts_in_compose_only_read_their_image_and_have_time_to_stop() -> None:
    [compose] = documents(DEPLOY / "compose.yaml")
    services = compose["services"]
    ours = [part for part in services.values() if part["image"] == "copernica-ingest"]
    assert len(ours) == 5
    for part in ours:
        assert (part["read_only"], part["cap_drop"], part["init"]) == (True, ["ALL"], True)
        assert part["stop_grace_period"] == "15s"
    for name in ("valkey", "postgres"):
        assert services[name]["networks"] == ["inside"]
        assert "ports" not in services[name]
    named = {volume.partition(":")[0] for part in services.values() for volume in part.get("volumes", [])}
    assert {name for name in named if not name.startswith((".", "/"))} == set(compose["volumes"])


def test_what_the_image_is_built_from_is_there_and_not_hidden() -> None:
    shown = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE):
        copied |= set(line.split()[:-1])
    assert len(copied) > 5
    assert copied == shown
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_image_is_pinned_and_started_without_a_shell() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE=\S+:\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE}"}
    assert json.loads(re.findall(r"^CMD (.*)$", text, re.MULTILINE)[0]) == ["ingest", "serve"]
    assert re.search(r"^HEALTHCHECK .*CMD \[", text, re.MULTILINE)
    user = re.findall(r"^USER (.*)$", text, re.MULTILINE)
    assert user == ["10001:10001"]
    tools = (DEPLOY / "build-requirements.txt").read_text()
    assert tools.count("==") < tools.count("--hash=sha256:")
    assert {"uv", "hatchling", "hatch-fancy-pypi-readme"} <= set(re.findall(r"^([\w-]+)==", tools, re.MULTILINE))


def test_heroku_gets_the_python_of_the_image() -> None:
    hook = (ROOT / "bin" / "pre_compile").read_text()
    [version] = re.findall(r"^echo (\S+) > \.python-version$", hook, re.MULTILINE)
    assert f"python:{version}-slim" in (DEPLOY / "Dockerfile").read_text()
    assert not (ROOT / ".python-version").exists(), "pyenv and uv would obey it on developers' machines"
    assert not (ROOT / "requirements.txt").exists(), "Heroku refuses two files of dependencies"


def test_the_extras_that_hosts_ask_for_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    files = (DEPLOY / "Dockerfile", ROOT / "bin" / "post_compile", *(ROOT / "docs" / "hosts").glob("*.md"))
    named = {name for file in files for name in re.findall(r"--extra (\w+)", file.read_text())}
    assert "postgres" in named
    assert named <= set(extras)


def test_heroku_is_asked_for_processes_that_the_procfile_has() -> None:
    app = json.loads((ROOT / "app.json").read_text())
    assert set(app["formation"]) == set(procfile()) - {"release"}


def test_fly_and_render_reach_the_image_and_its_port() -> None:
    fly = tomllib.loads((ROOT / "fly.toml").read_text())
    assert (ROOT / fly["build"]["dockerfile"]).exists()
    assert f" PORT={fly['http_service']['internal_port']} " in (DEPLOY / "Dockerfile").read_text()
    assert set(fly["vm"][0]["processes"]) == set(fly["processes"])
    for service in documents(ROOT / "render.yaml")[0]["services"]:
        if "dockerfilePath" in service:
            assert (ROOT / PurePosixPath(service["dockerfilePath"])).exists()
            assert service["dockerContext"] == "."


def test_files_of_settings_mean_the_same_to_systemd_docker_and_us() -> None:
    for file in (DEPLOY / "ingest.env", DEPLOY / "compose.env"):
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        # Quotes, blanks, `$` and `#` are where they differ.
        assert [line for line in lines if not re.fullmatch(r"[A-Z_]+=[\w.:/,-]*", line)] == [], file


def test_the_wrapper_for_a_persons_shell_reads_the_file_of_the_units() -> None:
    wrapper = (DEPLOY / "systemd" / "ingest").read_text()
    [(option, file)] = re.findall(r"^exec /opt/ingest/bin/ingest (--\S+) (\S+) ", wrapper, re.MULTILINE)
    assert any(option in parameter.opts for parameter in main.params)
    for unit in (DEPLOY / "systemd").glob("*.service"):
        assert f"EnvironmentFile={file}\n" in unit.read_text()
        assert "User=ingest\n" in unit.read_text()
        assert "UMask=0077\n" in unit.read_text()


def test_keda_asks_a_service_that_is_there() -> None:
    [scaled] = documents(KUBERNETES / "overlays/production/scaled-object.yaml")
    [trigger] = scaled["spec"]["triggers"]
    url = urlsplit(trigger["metadata"]["url"])
    name, namespace, _ = str(url.hostname).split(".")
    assert documents(KUBERNETES / "overlays/production/kustomization.yaml")[0]["namespace"] == namespace
    services = {one["metadata"]["name"]: one for one in manifests().values() if one["kind"] == "Service"}
    assert services[name]["spec"]["ports"][0]["port"] == url.port
    assert f"INGEST_METRICS_PORT={url.port}\n" in (KUBERNETES / "base" / "settings.env").read_text()
    targets = {one["metadata"]["name"] for one in manifests().values() if one["kind"] == "Deployment"}
    assert scaled["spec"]["scaleTargetRef"]["name"] in targets


def test_the_connections_that_pages_add_up_are_those_of_the_table() -> None:
    table = (ROOT / "docs" / "redis.md").read_text().split("<!-- connections: begin -->")[1].split("<!--")[0]
    endpoint, worker, handlers, _ = (int(most) for most in re.findall(r"\| (\d+) \|$", table, re.MULTILINE))
    total = 2 * endpoint + worker + handlers + 1
    for page in ("redis.md", "hosts/README.md", "hosts/heroku.md"):
        said = re.search(r"(?:come\s+to|command\s+hold)\s+(\d+)", (ROOT / "docs" / page).read_text())
        assert said is not None, page
        assert int(said[1]) == total, page


@pytest.mark.parametrize("page", sorted(ROOT.glob("examples/*/README.md")), ids=lambda page: page.parent.name)
def test_examples_call_the_endpoint_where_it_listens_by_default(page: Path) -> None:
    ports = re.findall(r"http://127\.0\.0\.1:(\d+)/copernica\b(?!\.)", page.read_text())
    assert set(ports) <= {str(Settings.model_fields["port"].default)}
