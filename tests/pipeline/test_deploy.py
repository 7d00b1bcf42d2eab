"""What is in deploy/ fits the program: configurations load, metric names exist, units and manifests hold together."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.metrics import metrics
from stages.options import RedisSinkOptions
from stages.source.state import FINAL
from stages.types import State
from tests.support.statuses import READY, a_status
from vedette.cli.main import EXIT_OWN_FAULT
from vedette.cli.run import EXIT_LEDGER, EXIT_STREAM_FAILED
from vedette.errors import ConfigError

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ENVIRONMENT = {"VEDETTE_HTTP_TOKEN": "t0ken", "GATE_PASSWORD": "p4ssword"}

# What Prometheus has of its own about a target.
OF_PROMETHEUS = {"up"}


def exposed() -> dict[str, set[str]]:
    """Every series name that /metrics can have, with its labels."""
    return {
        sample.name: {label for other in metric.samples if other.name == sample.name for label in other.labels}
        for metric in metrics(a_status(), READY)
        for sample in metric.samples
    }


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/vedette.json").read_text())
    return loaded


def expressions() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]
    for rule in alerts().values():
        yield rule["expr"]


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def kept_labels(expression: str) -> set[str]:
    """What tells one alert of an expression from another: what it groups by, else all that its series have."""
    grouped = re.findall(r"\bby \(([^)]*)\)", expression)
    if grouped:
        return set.union(*({label.strip() for label in labels.split(",")} for labels in grouped))
    series = exposed()
    return {"instance", "job"}.union(*(series.get(name, set()) for name in re.findall(r"\w+", expression)))


def documents(name: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all((DEPLOY / name).read_text()) if document]


# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("expression", list(expressions()))
def test_dashboard_and_alerts_use_metrics_and_labels_that_exist(expression: str) -> None:
    series = exposed()
    names = set(re.findall(r"\b(?:vedette|process|up)\w*(?=[\s{\[)<>=,]|$)", re.sub(r'"[^"]*"', '""', expression)))
    assert names
    assert names <= set(series) | OF_PROMETHEUS
    for name, matchers in re.findall(r"\b((?:vedette|process)_\w+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert labels <= series[name] | {"instance", "job"}
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        given = {label for name in names & set(series) for label in series[name]}
        assert {label.strip() for label in grouped.split(",")} <= given | {"instance", "job"}
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")


def test_states_and_reasons_in_queries_exist() -> None:
    words: dict[str, set[str]] = {}
    for metric in metrics(a_status(), READY):
        for sample in metric.samples:
            for label, word in sample.labels.items():
                words.setdefault(label, set()).add(word)
    words["stage"] |= {"decode", "total"}
    for expression in expressions():
        for label, pattern in re.findall(
            r'\b(state|outcome|reason|stage|quantile|kind)(?:=~|!~|!=|=)"([^"$]*)"', expression
        ):
            assert set(pattern.split("|")) <= words[label]


@pytest.mark.parametrize("name", list(alerts()))
def test_an_alert_waits_on_a_series_that_trouble_does_not_change(name: str) -> None:
    """`for` counts a series at a time: a camera that times out goes to and fro between `connecting` (10 s) and
    `waiting` (1 to 30 s), and with one series a state the alert that waited for two minutes never came."""
    rule = alerts()[name]
    told = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))

    assert told <= kept_labels(rule["expr"])
    if "for" in rule:
        assert "state" not in kept_labels(rule["expr"])


def test_a_stream_is_away_in_every_state_in_which_it_may_come_back() -> None:
    rule = alerts()["VedetteStreamAway"]
    (states,) = re.findall(r'state=~"([^"]*)"', rule["expr"])

    assert set(states.split("|")) == {state.value for state in set(State) - FINAL - {State.STREAMING}}


def test_the_documentation_lists_exactly_the_metrics_that_exist() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    rows = dict(re.findall(r"^\| `((?:vedette|process)_\w+)` \|([^|]*)\|", text, re.MULTILINE))
    families = {
        metric.name + ("_total" if metric.type == "counter" else ""): metric for metric in metrics(a_status(), READY)
    }

    assert set(rows) == set(families)
    for name, labels in rows.items():
        samples = families[name].samples
        assert set(re.findall(r"`(\w+)`", labels)) == {label for sample in samples for label in sample.labels}


def test_the_dashboard_shows_what_matters_and_is_provisioned() -> None:
    board = dashboard()
    shown = " ".join(expressions())
    for needed in ("vedette_frames_total", "vedette_stream_latency_seconds", "vedette_sink_dropped_total",
                   "vedette_stream_state", "vedette_sink_spooled_messages"):  # fmt: skip
        assert needed in shown
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])

    (provider,) = documents("grafana/provisioning/dashboards/vedette.yaml")
    (source,) = documents("grafana/provisioning/datasources/prometheus.yaml")
    grafana = documents("compose.yaml")[0]["services"]["grafana"]
    assert f"./grafana/dashboards:{provider['providers'][0]['options']['path']}:ro" in grafana["volumes"]
    assert source["datasources"][0]["uid"] == board["templating"]["list"][0]["current"]["value"]


def test_prometheus_scrapes_the_service_of_compose_with_its_token() -> None:
    (config,) = documents("prometheus/prometheus.yml")
    (compose,) = documents("compose.yaml")
    (scrape,) = config["scrape_configs"]

    assert scrape["static_configs"][0]["targets"] == ["vedette:8080"]
    assert scrape["job_name"] == "vedette"
    assert config["rule_files"] == ["rules.yml"]
    (secret,) = compose["services"]["prometheus"]["secrets"]
    assert scrape["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    assert compose["secrets"][secret] == {"environment": "VEDETTE_HTTP_TOKEN"}


# ── configurations ───────────────────────────────────────────────────────────────────────────────────────────────────


def check_deployed(config: Config) -> None:
    (sink,) = config.sinks
    assert isinstance(sink, RedisSinkOptions)
    assert sink.spool.path == "/var/lib/vedette/spool"
    assert config.http is not None
    assert config.http.listen == "0.0.0.0:8080"
    assert config.http.token is not None


def test_the_configuration_of_compose_loads_and_its_model_is_there() -> None:
    config = load_config(DEPLOY / "vedette.yaml", ENVIRONMENT)

    check_deployed(config)
    assert Path(config.model.path).is_file()
    # The image keeps the same layout, so that the relative path holds there, too.
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert "COPY engines/weights /opt/vedette/engines/weights" in dockerfile
    mounts = documents("compose.yaml")[0]["services"]["vedette"]["volumes"]
    assert "./vedette.yaml:/opt/vedette/deploy/vedette.yaml:ro" in mounts
    assert '["run", "/opt/vedette/deploy/vedette.yaml"]' in dockerfile


def test_the_configuration_in_the_kubernetes_manifest_loads(tmp_path: Path) -> None:
    maps = [document for document in documents("kubernetes.yaml") if document["kind"] == "ConfigMap"]
    file = tmp_path / "vedette.yaml"
    file.write_text(maps[0]["data"]["vedette.yaml"])

    config = load_config(file, ENVIRONMENT)

    check_deployed(config)
    assert Path(config.model.path).name in {path.name for path in (ROOT / "engines/weights").iterdir()}


# ── containers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)(s|m)?", text)
    assert match
    return int(match[1]) * (60 if match[2] == "m" else 1)


def test_whatever_stops_it_waits_longer_than_it_drains() -> None:
    shutdown_s = load_config(DEPLOY / "vedette.yaml", ENVIRONMENT).shutdown_s
    deployment = next(document for document in documents("kubernetes.yaml") if document["kind"] == "Deployment")

    assert seconds(documents("compose.yaml")[0]["services"]["vedette"]["stop_grace_period"]) > shutdown_s
    assert seconds(unit()["Service"]["TimeoutStopSec"]) > shutdown_s
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > shutdown_s


def test_compose_publishes_on_loopback_only_and_gives_no_rights() -> None:
    (compose,) = documents("compose.yaml")
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).exists()
    assert compose["services"]["vedette"]["read_only"] is True
    assert "--appendonly" in compose["services"]["redis"]["command"]
    build = compose["services"]["vedette"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def test_variables_of_compose_are_in_the_example_and_no_secret_is_in_any_file() -> None:
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / ".env.example").read_text().splitlines()
        if "=" in line and line[0] != "#"
    )
    used = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))

    assert used == set(example)
    assert set(example.values()) == {""}


def test_the_dockerfile_copies_what_is_there_and_drops_its_rights() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    allowed = {
        line.removeprefix("!")
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }

    for source in (source for sources in copies for source in sources):
        assert (ROOT / source).exists()
        assert source.split("/")[0] in allowed
    assert all((ROOT / name).exists() for name in allowed)
    user = next(line for line in lines if line.startswith("USER "))
    assert user == "USER 10001:10001"
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert 'ENTRYPOINT ["vedette"]' in lines
    assert not [line for line in lines if re.match(r"(ARG|ENV)\b.*(PASSWORD|TOKEN|SECRET)", line)]


def test_kubernetes_runs_without_rights_and_with_probes() -> None:
    deployment = next(document for document in documents("kubernetes.yaml") if document["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    compile(container["readinessProbe"]["exec"]["command"][-1], "readinessProbe", "exec")
    assert deployment["spec"]["strategy"]["type"] == "Recreate"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


# ── systemd ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((DEPLOY / "vedette.service").read_text())
    return parser


def test_the_unit_starts_again_after_just_those_statuses_that_the_documentation_says() -> None:
    """A missing file (status 3) was tried again every five seconds, and all other files of the run with it."""
    text = (ROOT / "docs/operations.md").read_text()
    rows = re.findall(r"^\| (\d+) \|[^|]*\| ([^|]*) \|$", text, re.MULTILINE)
    again = {int(status): answer.startswith("yes") for status, answer in rows}
    service = unit()["Service"]

    assert set(again) == {0, ConfigError.exit_status, EXIT_STREAM_FAILED, EXIT_OWN_FAULT, EXIT_LEDGER}
    assert service["Restart"] == "on-failure"  # which 0 is not
    kept_down = {int(status) for status in service["RestartPreventExitStatus"].split()}
    assert kept_down == {status for status, yes in again.items() if not yes} - {0}


def test_the_unit_gives_no_rights() -> None:
    service = unit()["Service"]

    assert service["EnvironmentFile"] == "-/etc/vedette/secrets.env"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert "vedette run" in service["ExecStart"]


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:  # a container without systemd; what matters to us is checked above all the same
        return
    copy = tmp_path / "vedette.service"
    # verify wants the command to exist on this machine.
    copy.write_text((DEPLOY / "vedette.service").read_text().replace("/opt/vedette/venv/bin/vedette", sys.executable))

    done = subprocess.run([analyze, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False)

    assert "vedette.service" not in done.stdout + done.stderr
